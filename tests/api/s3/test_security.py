"""Attacks on access control that comparable stores have had, each of which must stay refused. Over a whole cluster,
with real signatures: Ann attacks what is Bob's, or somebody who has less than Ann's key what is Ann's.

The names S1 to S30 are those of the project's list of advisories.
"""

import re

from api.s3 import xml
from tests.api.s3 import browser_forms
from tests.api.s3.attacking import CHUNKS, HERS, HIS, SPOILED, UNSIGNED_TRAILER, Client, Stage, code, stage
from tests.api.s3.storing import completion, crc32, md5
from tests.api.test_users import ANN_SECRET

DATA = bytes(range(256)) * 300
FORM = {"content-type": browser_forms.CONTENT_TYPE}


# ---- signatures (S7 to S11)


async def test_a_signed_request_takes_no_header_that_changes_what_it_does() -> None:
    """S9."""
    async with stage() as on:
        for name, value in (
            ("x-amz-copy-source", "/bobs/k"),
            ("x-amz-meta-a", "b"),
            ("x-amz-tagging", "a=b"),
            ("x-amz-expected-bucket-owner", "ann-id"),
        ):
            answer = await on.ann("PUT", "/anns/new", b"x", added={name: value})
            assert (answer.status, code(answer)) == (403, "AccessDenied"), name
        assert (await on.ann("GET", "/anns/new")).status == 404


async def test_a_presigned_url_is_good_for_what_was_signed_and_no_more() -> None:
    """S8, S9."""
    async with stage() as on:
        put, get = on.ann.presign("PUT", "/anns/new"), on.ann.presign("GET", "/anns/k")
        for name, value in (
            ("x-amz-copy-source", "/anns/k"),
            ("x-amz-meta-a", "b"),
            ("content-md5", md5(b"x")),
            ("x-amz-date", "20200101T000000Z"),
            ("x-amz-content-sha256", UNSIGNED_TRAILER),
            ("authorization", "AWS4-HMAC-SHA256 Credential=a"),
        ):
            answer = await on.cluster.call("PUT", put, b"x", {name: value}, key=None)
            assert answer.status in (400, 403), name
        for target in (
            f"{get}&versionId=null",
            f"{get}&tagging",
            f"{get}&X-Amz-Signature=0",
            f"{get}&X-Amz-Signatur%65=0",
            f"{get}&X-Amz-Expires=604800",
            get.replace("/anns/k", "/anns/%6b").replace("%6b", "n"),
            get.replace("Expires=300", "Expires=3000"),
        ):
            assert (await on.anonymous("GET", target)).status in (400, 403), target
        for method in ("PUT", "DELETE", "HEAD"):
            assert (await on.anonymous(method, get)).status == 403
        assert (await on.anonymous("GET", get)).body == HERS
        assert (await on.anonymous("GET", on.ann.presign("GET", "/bobs/k"))).status == 403


async def test_a_presigned_copy_stays_a_copy_however_its_signature_is_written() -> None:
    """S9: no signature covers the parameter that it stands in, so that may be written in many ways."""
    async with stage() as on:
        copy = on.ann.presign("PUT", "/anns/copy", {"x-amz-copy-source": "anns/k"})
        for written in ("X-Amz-Signature", "X-Amz-Signatur%65", "%58-Amz-Signature"):
            await on.anonymous("PUT", copy.replace("X-Amz-Signature", written), b"bytes of the URL's holder")
            assert (await on.ann("GET", "/anns/copy")).body == HERS


async def test_a_body_whose_chunks_are_not_as_signed_leaves_nothing() -> None:
    """S8, S10."""
    async with stage() as on:
        chunks = (DATA[:65536], DATA[65536:])
        for spoiled, change in SPOILED.items():
            answer = await on.ann.chunks("/anns/new", chunks, size=len(DATA), change=change)
            assert 400 <= answer.status < 500, spoiled
            assert (await on.ann("GET", "/anns/new")).status == 404, spoiled
        assert (await on.ann.chunks("/anns/new", chunks, size=len(DATA))).status == 200
        assert (await on.ann("GET", "/anns/new")).body == DATA


async def test_a_trailer_counts_only_as_it_was_announced_and_signed() -> None:
    """S8, S10."""
    async with stage() as on:
        name, value = "x-amz-checksum-crc32", crc32(HERS)

        def without_signature(framed: list[bytes]) -> list[bytes]:
            return [each.partition(b"x-amz-trailer-signature")[0] or each for each in framed]

        def other(framed: list[bytes]) -> list[bytes]:
            return [each.replace(value.encode(), crc32(b"other").encode()) for each in framed]

        for change in (without_signature, other):
            sent = on.ann.chunks("/anns/new", (HERS,), size=len(HERS), change=change, trailer=(name, value))
            assert (await sent).status in (400, 403)
        sent = on.ann.chunks("/anns/new", (HERS,), size=len(HERS), trailer=(name, crc32(b"other")))
        assert (await sent).status == 400
        assert (await on.ann("GET", "/anns/new")).status == 404
        assert (await on.ann.chunks("/anns/new", (HERS,), size=len(HERS), trailer=(name, value))).status == 200


async def test_a_body_in_unsigned_framing_makes_nobody_somebody() -> None:
    """S8."""
    async with stage() as on:
        for form in (UNSIGNED_TRAILER, CHUNKS):
            answer = await on.anonymous(
                "PUT",
                "/anns/new",
                b"1\r\nx\r\n0\r\n\r\n",
                {
                    "x-amz-content-sha256": form,
                    "x-amz-decoded-content-length": "1",
                    "x-amz-trailer": "x-amz-checksum-crc32",
                },
            )
            assert answer.status in (400, 403)
        assert (await on.ann("GET", "/anns/new")).status == 404


def anns_form(
    fields: dict[str, str], conditions: list[browser_forms.Condition] | None = None, *, minutes: float = 600
) -> dict[str, str]:
    """The fields of a form for Ann's bucket, signed with her key."""
    return browser_forms.signed("anns", fields, conditions, access_key="ANNKEY", secret_key=ANN_SECRET, minutes=minutes)


async def test_a_form_is_good_for_its_bucket_key_and_fields_and_no_others() -> None:
    """S11."""
    async with stage() as on:
        good = anns_form({"key": "from a form"})
        exact: list[browser_forms.Condition] = [
            {"bucket": "anns"},
            ["starts-with", "$key", "allowed/"],
            ["content-length-range", 0, 3],
        ]
        attacks = (
            ("bobs", good, b"x"),
            ("bobs", browser_forms.signed("bobs", {"key": "stolen"}, access_key="ANNKEY", secret_key=ANN_SECRET), b"x"),
            ("anns", {**good, "key": "other"}, b"x"),
            ("anns", {**good, "acl": "public-read"}, b"x"),
            ("anns", {**good, "x-amz-meta-a": "b"}, b"x"),
            ("anns", {**good, "x-amz-signature": "0" * 64}, b"x"),
            ("anns", {name: value for name, value in good.items() if name != "x-amz-signature"}, b"x"),
            ("anns", {"key": "from nobody"}, b"x"),
            ("anns", anns_form({"key": "old"}, minutes=-1), b"x"),
            ("anns", anns_form({"key": "elsewhere"}, exact), b"x"),
            ("anns", anns_form({"key": "allowed/x"}, exact), b"four"),
        )
        for bucket, fields, file in attacks:
            body = browser_forms.body(fields, file)
            answer = await on.anonymous("POST", f"/{bucket}", body, FORM)
            assert answer.status in (400, 403), (bucket, fields)
        listed = xml.parse((await on.ann("GET", "/anns")).body, "ListBucketResult")
        assert [node.value("Key") for node in listed.all("Contents")] == ["k"]
        await on.check()


# ---- names (S12, S30)


NAMES = (
    "..",
    "../bobs/k",
    "a/../../bobs/k",
    "%2e%2e%2fbobs%2fk",
    "%252e%252e%252fbobs%252fk",
    "..%5Cbobs%5Ck",
    "%2Fbobs%2Fk",
    "/bobs/k",
    "./k",
    "a//b",
    "%5c",
    "+",
    "%2B",
    "k%3FversionId=null",
)


async def test_what_was_authorised_is_what_is_stored_whatever_a_key_looks_like() -> None:
    """S12: in the path, in a copy's source, in DeleteObjects, in a form."""
    async with stage() as on:
        for name in NAMES:
            data = name.encode()
            assert (await on.ann("PUT", f"/anns/{name}", data)).status == 200, name
            source = f"anns/{name.replace('+', '%2B')}"  # where a plus is a space
            assert (await on.ann("PUT", "/anns/copy", headers={"x-amz-copy-source": source})).status == 200
            assert (await on.ann("GET", "/anns/copy")).body == data
        listed = xml.parse((await on.ann("GET", "/anns")).body, "ListBucketResult")
        keys = {node.value("Key") or "" for node in listed.all("Contents")} - {"k", "copy"}
        assert "../bobs/k" in keys
        assert "%2e%2e%2fbobs%2fk" in keys
        for key in keys:
            fields = anns_form({"key": key})
            body = browser_forms.body(fields, b"form")
            answer = await on.anonymous("POST", "/anns", body, FORM)
            assert answer.status == 204
        await on.check()
        objects = "".join(f"<Object><Key>{xml.escape(key)}</Key></Object>" for key in keys)
        document = f"<Delete>{objects}</Delete>".encode()
        assert (await on.ann("POST", "/anns?delete", document, {"content-md5": md5(document)})).status == 200
        listed = xml.parse((await on.ann("GET", "/anns")).body, "ListBucketResult")
        assert {node.value("Key") for node in listed.all("Contents")} == {"k", "copy"}
        await on.check()


async def test_no_spelling_of_a_path_or_host_leads_to_another_bucket_than_the_one_decided_on() -> None:
    """S12, S30."""
    async with stage() as on:
        for host, target in (
            ("test", "/anns/../bobs/k"),
            ("test", "/anns%2F..%2Fbobs/k"),
            ("test", "/./bobs/k"),
            ("test", "//bobs/k"),
            ("test", "/%62obs/k"),
            ("test", "/BOBS/k"),
            ("test", "/bobs%00/k"),
            ("bobs.s3.localhost", "/k"),
            ("BOBS.s3.localhost:9000", "/k"),
            ("bobs.s3.localhost.", "/k"),
            ("bobs.s3.localhost:", "/k"),
            ("anns.s3.localhost", "/../bobs/k"),
            ("anns.s3.localhost.", "/bobs/k"),
            ("anns.s3.localhost:", "/bobs/k"),
            (".s3.localhost", "/bobs/k"),
            ("anns,bobs.s3.localhost", "/k"),
            ("objects.s3.localhost", "/bobs/k"),
        ):
            for method in ("GET", "HEAD", "PUT", "DELETE"):
                answer = await on.ann(method, target, host=host)
                assert HIS not in answer.body, (host, target)
        await on.check()


async def test_a_host_with_the_roots_dot_or_an_empty_port_names_the_same_bucket() -> None:
    """S12: else what was meant for one bucket goes to the one that the path begins with."""
    async with stage() as on:
        assert (await on.ann("PUT", "/other")).status == 200
        for number, host in enumerate(("anns.s3.localhost.", "anns.s3.localhost:", "ANNS.S3.localhost.:80")):
            assert (await on.ann("PUT", f"/other/{number}", b"x", host=host)).status == 200
            assert (await on.ann("GET", f"/anns/other/{number}")).body == b"x"
        assert (await on.ann("GET", "/minio/health/live", host="anns.s3.localhost")).status == 404
        assert (await on.ann("PUT", "/minio/health/live", b"x", host="anns.s3.localhost")).status == 200
        assert (await on.ann("GET", "/anns/minio/health/live")).body == b"x"
        assert (await on.anonymous("GET", "/minio/health/live")).status == 200


async def test_no_spelling_of_the_native_paths_is_the_native_dialect_or_one_of_its_names_a_bucket() -> None:
    """S12: a request is judged by the dialect that answers it."""
    async with stage() as on:
        for target in ("/%6fbjects", "/%6Fbjects/k", "/objects%2Fk", "/%62uckets/anns", "/minio"):
            for method in ("PUT", "GET", "DELETE"):
                assert (await on.ann(method, target)).status in (400, 404), target
        for target in ("/objects/k", "/buckets/anns/objects/k"):
            assert (await on.ann("GET", target)).status == 401  # its signature is no native key
            assert (await on.anonymous("GET", target)).status == 401
        assert (await on.ann("GET", "//objects/k")).status == 404


# ---- what is somebody else's (S13, S20)


async def test_a_refusal_without_a_key_is_the_same_to_the_byte_whatever_there_is() -> None:
    """S13."""
    conditions: tuple[dict[str, str], ...] = (
        {},
        {"if-match": "*"},
        {"if-none-match": "*"},
        {"if-modified-since": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"if-unmodified-since": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"range": "bytes=900-"},
        {"x-amz-expected-bucket-owner": "ann-id"},
    )
    async with stage() as on:
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            seen = set()
            for target in ("/anns/k", "/anns/n", "/nobd/k", "/anns/k?versionId=null"):
                for condition in conditions:
                    answer = await on.anonymous(method, target, headers=condition)
                    body = re.sub(rb"<(Resource|RequestId)>[^<]*</\1>", b"", answer.body)
                    headers = {
                        name: value
                        for name, value in answer.headers.items()
                        if not name.endswith("request-id") and name != "content-length"
                    }
                    seen.add((answer.status, tuple(sorted(headers.items())), body))
            assert len(seen) == 1, method
            assert next(iter(seen))[0] == 403


async def test_what_may_not_be_read_may_not_be_copied() -> None:
    """S20: CopyObject and UploadPartCopy, by name and by version."""
    async with stage() as on:
        upload = await on.begin(on.ann, "/anns/parts")
        for source in (
            "/bobs/k",
            "bobs/k",
            "bobs/%6B",
            "%62obs/k",
            "bobs/k?versionId=null",
            "bobs//k",
            "bobs%2Fk",
            "bobs/n",
        ):
            headers = {"x-amz-copy-source": source}
            for answer in (
                await on.ann("PUT", "/anns/stolen", headers=headers),
                await on.ann("PUT", f"/anns/parts?partNumber=1&uploadId={upload}", headers=headers),
                await on.ann(
                    "PUT",
                    f"/anns/parts?partNumber=1&uploadId={upload}",
                    headers=headers | {"x-amz-copy-source-range": "bytes=0-1"},
                ),
            ):
                assert (answer.status, code(answer)) == (403, "AccessDenied"), source
        for source in ("", "/", "bobs", "//bobs/k", "anns/k?versionId=", "anns/k?versionId=x", "a\\k"):
            answer = await on.ann("PUT", "/anns/stolen", headers={"x-amz-copy-source": source})
            assert 400 <= answer.status < 500, source
        assert (await on.ann("GET", "/anns/stolen")).status == 404


async def test_every_call_on_a_version_needs_the_right_to_it() -> None:
    """S20."""
    document = b"<Delete><Object><Key>k</Key><VersionId>null</VersionId></Object></Delete>"
    async with stage() as on:
        for method, target, body in (
            ("GET", "/bobs/k?versionId=null", b""),
            ("HEAD", "/bobs/k?versionId=null", b""),
            ("DELETE", "/bobs/k?versionId=null", b""),
            ("GET", "/bobs/k?attributes&versionId=null", b""),
            ("GET", "/bobs/k?tagging&versionId=null", b""),
            ("PUT", "/bobs/k?tagging&versionId=null", b"<Tagging><TagSet/></Tagging>"),
            ("GET", "/bobs?versions", b""),
            ("POST", "/bobs?delete", document),
        ):
            headers = {"content-md5": md5(body)} if method == "POST" else {}
            answer = await on.ann(method, target, body, headers)
            assert (answer.status, code(answer)) == (403, "AccessDenied"), target
        await on.check()


async def test_ids_of_versions_and_uploads_are_good_in_their_own_bucket_only() -> None:
    """S20: an id that has leaked is no key."""
    async with stage() as on:
        enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        for client, bucket in ((on.ann, "anns"), (on.bob, "bobs")):
            assert (await client("PUT", f"/{bucket}?versioning", enabled)).status == 200
        version = (await on.bob("PUT", "/bobs/k", HIS)).headers["x-amz-version-id"]
        upload = await on.begin(on.bob, "/bobs/u")
        part = await on.bob("PUT", f"/bobs/u?partNumber=1&uploadId={upload}", HIS)
        complete = completion((1, part.headers["etag"])).encode()
        for bucket in ("anns", "bobs"):
            for method, target, body in (
                ("GET", f"/{bucket}/k?versionId={version}", b""),
                ("PUT", f"/{bucket}/u?partNumber=1&uploadId={upload}", b"x"),
                ("GET", f"/{bucket}/u?uploadId={upload}", b""),
                ("POST", f"/{bucket}/u?uploadId={upload}", complete),
                ("DELETE", f"/{bucket}/u?uploadId={upload}", b""),
            ):
                answer = await on.ann(method, target, body)
                assert answer.status == (404 if bucket == "anns" else 403), target
                assert HIS not in answer.body
        source = {"x-amz-copy-source": f"anns/k?versionId={version}"}
        assert (await on.ann("PUT", "/anns/stolen", headers=source)).status == 404
        assert (await on.ann("DELETE", f"/anns/k?versionId={version}")).status == 204  # of a version that is not there
        assert (await on.bob("POST", f"/bobs/u?uploadId={upload}", complete)).status == 200
        assert (await on.bob("GET", f"/bobs/k?versionId={version}")).body == HIS


async def test_an_upload_ends_with_its_bucket() -> None:
    async with stage() as on:
        assert (await on.ann("PUT", "/shared")).status == 200
        upload = await on.begin(on.ann, "/shared/u")
        assert code(await on.ann("DELETE", "/shared")) == "BucketNotEmpty"
        assert (await on.ann("DELETE", f"/shared/u?uploadId={upload}")).status == 204
        assert (await on.ann("DELETE", "/shared")).status == 204
        assert (await on.bob("PUT", "/shared")).status == 200
        for client, status in ((on.ann, 403), (on.bob, 404)):
            assert (await client("PUT", f"/shared/u?partNumber=1&uploadId={upload}", b"x")).status == status


async def test_the_name_of_a_call_is_its_callers_own() -> None:
    """The result that is kept for one principal's invocation id is given to no other."""
    async with stage() as on:
        named = {"amz-sdk-invocation-id": "the same"}
        assert (await on.ann("PUT", "/anns/new", b"x", named)).status == 200
        answer = await on.bob("PUT", "/anns/new", b"x", named)
        assert (answer.status, code(answer)) == (403, "AccessDenied")
        ids = {await _begun(on, client, bucket, named) for client, bucket in ((on.ann, "anns"), (on.bob, "bobs"))}
        assert len(ids) == 2
        assert await _begun(on, on.ann, "anns", named) in ids


async def _begun(on: Stage, client: Client, bucket: str, headers: dict[str, str]) -> str:
    answer = await client("POST", f"/{bucket}/u?uploads", b"", headers)
    return xml.parse(answer.body, "InitiateMultipartUploadResult").value("UploadId") or ""


# ---- what answers carry (S22, S27, S28)


async def test_nothing_that_is_stored_or_asked_for_breaks_out_of_a_header() -> None:
    async with stage() as on:
        for value in ("a\r\nset-cookie: x", "a\nb", "a\rb", "a\x00b", "\x7f"):
            for name in ("response-content-type", "response-content-disposition", "response-expires"):
                answer = await on.anonymous("GET", on.ann.presign("GET", "/anns/k", {name: value}))
                assert (answer.status, code(answer)) == (400, "InvalidArgument"), (name, value)
            presigned = on.ann.presign("PUT", "/anns/new", {"x-amz-meta-a": value})
            assert (await on.anonymous("PUT", presigned, b"x")).status == 400
            fields = {"key": "new", "content-type": value, "success_action_redirect": f"http://a/{value}"}
            signed = anns_form(fields)
            body = browser_forms.body(signed, b"x")
            answer = await on.anonymous("POST", "/anns", body, FORM)
            assert answer.status == 400
        assert (await on.ann("GET", "/anns/new")).status == 404


async def test_what_is_shown_of_a_request_is_text_in_xml() -> None:
    async with stage() as on:
        for target in (
            "/anns/%3Cb%3E%26%22?tagging",
            "/%3Cb%3E%26/k",
            "/anns?list-type=2&prefix=%3Cb%3E%26&max-keys=%3Cb%3E",
        ):
            answer = await on.ann("GET", target)
            assert answer.status in (400, 404)
            assert b"<b>" not in answer.body
            xml.parse(answer.body, "Error")


async def test_objects_are_never_sniffed_and_overrides_need_a_key() -> None:
    """S28."""
    async with stage() as on:
        answer = await on.ann("GET", "/anns/k")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-type"] == "binary/octet-stream"
        assert (await on.anonymous("GET", "/anns/k?response-content-type=text/html")).status == 403


async def test_an_origin_that_no_rule_names_is_never_repeated() -> None:
    """S28."""
    rules = (
        b"<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>"
        b"<CORSRule><AllowedMethod>PUT</AllowedMethod><AllowedOrigin>https://good.example</AllowedOrigin></CORSRule>"
        b"</CORSConfiguration>"
    )
    async with stage() as on:
        assert (await on.ann("PUT", "/anns?cors", rules)).status == 200
        for origin in ("https://evil.example", "null", "https://good.example.evil.example"):
            answer = await on.ann("GET", "/anns/k", added={"origin": origin})
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in answer.headers
            answer = await on.ann("PUT", "/anns/new", b"x", added={"origin": origin})
            assert "access-control-allow-origin" not in answer.headers
            answer = await on.cluster.call(
                "OPTIONS", "/anns/k", None, {"origin": origin, "access-control-request-method": "PUT"}, key=None
            )
            assert answer.status == 403
            assert (
                (await on.bob("GET", "/bobs/k", added={"origin": origin}))
                .headers.keys()
                .isdisjoint({"access-control-allow-origin", "vary"})
            )


async def test_no_refusal_tells_the_right_signature_or_a_secret() -> None:
    """S27."""
    async with stage() as on:
        liar = Client(on.cluster, "ANNKEY", "not-anns-secret")
        right = on.ann.sign("GET", "/anns/k", hashes := "0" * 64, {}, "test").seed
        answer = await on.cluster.call("GET", "/anns/k", None, liar.sign("GET", "/anns/k", hashes, {}, "test").headers)
        assert answer.status == 403
        assert right.encode() not in answer.body
        assert ANN_SECRET.encode() not in answer.body
