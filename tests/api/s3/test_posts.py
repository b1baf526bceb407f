"""PostObject over a whole cluster: what a signed form stores, what it is answered, and what it can not do."""

import base64
import hashlib
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import trio

from api.access.decisions import Principal
from api.access.gate import Gate
from api.access.keys import KnownKey
from api.messages import Request
from api.operations.calls import Call
from api.ranges import Span
from api.s3.address import object_url
from api.s3.errors import STATUS
from api.s3.posts import FormPosts
from cluster.errors import Refused
from metaraft.model import Version
from tests.api.s3.asks import TAGS
from tests.api.s3.browser_forms import BOUNDARY, CONTENT_TYPE, Condition, body, part, signed, signed_v2
from tests.api.whole import ACCESS, SECRET, Answer, Whole, whole

ROOT = Principal(ACCESS, "root")
LARGE = random.Random(2).randbytes(9 * 1024 * 1024 + 17)
NAME = {"key": "a"}
TRACE = "00" * 8


def call() -> Call:
    return Call(ROOT, trio.current_time() + 10, TRACE)


async def post(cluster: Whole, form: bytes | list[bytes], bucket: str = "default", **headers: str) -> Answer:
    sent = {"content-type": CONTENT_TYPE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await cluster.call("POST", f"/{bucket}", form, sent, key=None)


async def stored(cluster: Whole, key: str, bucket: str = "default") -> tuple[Version, bytes]:
    """A version and its bytes."""
    objects = cluster.apps.operations.objects
    found = await objects.find(bucket, key, call(), with_holders=True)
    content = objects.content(found, Span(0, found.version.size), call())
    if isinstance(content, bytes):
        return found.version, content
    async with content() as pieces:
        return found.version, b"".join([bytes(piece) async for piece in pieces])


async def nothing_stored(cluster: Whole, bucket: str = "default") -> bool:
    """Whether a bucket is empty."""
    return not (await cluster.apps.operations.listing.page(bucket, "", "", "", 10, call())).objects


def refused(answer: Answer, status: int, code: str) -> dict[str, str]:
    """The elements of the error, which must be S3's XML."""
    assert (answer.status, answer.headers["x-error-code"]) == (status, code), (answer.status, answer.body)
    root = ElementTree.fromstring(answer.body)
    assert root.tag == "Error"
    found = {child.tag: child.text or "" for child in root}
    assert found["Code"] == code
    return found


async def test_a_signed_form_stores_its_file_with_all_that_its_fields_say() -> None:
    fields = {
        "key": "dir/blé.txt",
        "acl": "private",
        "Content-Type": "text/x",
        "Cache-Control": "no-cache",
        "content-disposition": "inline",
        "x-amz-meta-Colour": "blé",
        "x-amz-storage-class": "STANDARD",
        "x-amz-website-redirect-location": "/elsewhere",
        "tagging": "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>",
    }
    async with whole() as cluster:
        for file in (b"", b"hello", LARGE):
            form = body(signed("default", fields), file)
            answer = await post(cluster, [form[at : at + 100_000] for at in range(0, len(form), 100_000)])
            assert (answer.status, answer.body) == (204, b"")
            etag = hashlib.md5(file).hexdigest()
            assert answer.headers["etag"] == f'"{etag}"'
            assert answer.headers["location"] == "http://test/default/dir%2Fbl%C3%A9.txt"
            assert "x-amz-checksum-crc64nvme" in answer.headers
            version, content = await stored(cluster, "dir/blé.txt")
            assert content == file
            assert (version.etag, version.owner, version.content_type) == (etag, ACCESS, "text/x")
            assert version.user_metadata == {"colour": "blé"}
            assert version.tags == {"k": "v"}
            assert version.headers == {
                "cache-control": "no-cache",
                "content-disposition": "inline",
                "x-amz-website-redirect-location": "/elsewhere",
            }


async def test_a_form_chooses_its_answer() -> None:
    async with whole() as cluster:
        for status, expected in (("200", 200), ("201", 201), ("204", 204), ("404", 204), ("", 204)):
            form = body(signed("default", {"key": "a&b", "success_action_status": status}), b"hi")
            answer = await post(cluster, form)
            assert answer.status == expected
            assert answer.headers["location"] == "http://test/default/a%26b"
            if expected != 201:
                assert answer.body == b""
                continue
            root = ElementTree.fromstring(answer.body)
            assert root.tag == "PostResponse"
            assert [(child.tag, child.text) for child in root] == [
                ("Location", "http://test/default/a%26b"),
                ("Bucket", "default"),
                ("Key", "a&b"),
                ("ETag", f'"{hashlib.md5(b"hi").hexdigest()}"'),
            ]
            assert answer.headers["content-type"] == "application/xml"


async def test_a_form_sends_the_browser_on_with_what_was_stored() -> None:
    told = f"bucket=default&key=a%2Fb%20%26c&etag=%22{hashlib.md5(b'hi').hexdigest()}%22"
    async with whole() as cluster:
        for field in ("success_action_redirect", "redirect"):
            for target, location in (
                ("https://page.example/done", f"https://page.example/done?{told}"),
                ("http://page.example:81/?x=1#y", f"http://page.example:81/?x=1&{told}#y"),
            ):
                form = body(signed("default", {"key": "a/b &c", field: target, "success_action_status": "200"}), b"hi")
                answer = await post(cluster, form)
                assert (answer.status, answer.headers["location"], answer.body) == (303, location, b"")


NO_URLS: list[str] = [
    "",
    "/relative",
    "page.example",
    "ftp://page.example/",
    "javascript:alert(1)",
    "http:///path",
    "http://page.example:port/",
    "http://[bad/",
    "http://page.example/\r\nset-cookie: a=b",
    "http://page.example/ü",
]


async def test_a_redirect_that_is_no_url_is_as_if_it_was_not_there() -> None:
    async with whole(chunkds=0) as cluster:
        for target in NO_URLS:
            answer = await post(cluster, body(signed("default", {**NAME, "success_action_redirect": target}), b"hi"))
            assert answer.status == 204
            assert answer.headers["location"] == "http://test/default/a"
            assert "set-cookie" not in answer.headers


async def test_the_name_of_the_file_stands_for_its_variable_in_the_key() -> None:
    conditions: list[Condition] = [{"bucket": "default"}, ["starts-with", "$key", "user/"]]
    async with whole() as cluster:
        for filename in ("my file.txt", "C:\\docs\\my file.txt", "docs/my file.txt"):
            form = body(
                signed("default", {"key": "user/${filename}"}, conditions), filename.encode(), filename=filename
            )
            assert (await post(cluster, form)).status == 204
            assert (await stored(cluster, "user/my file.txt"))[1] == filename.encode()
        refused(
            await post(cluster, body(signed("default", {"key": "${filename}"}, conditions), b"")), 403, "AccessDenied"
        )
        climbing = body(signed("default", {"key": "user/${filename}"}, conditions), b"up", filename="../../other")
        assert (await post(cluster, climbing)).status == 204
        assert (await stored(cluster, "user/other"))[1] == b"up"


async def test_a_versioned_bucket_tells_the_version() -> None:
    async with whole() as cluster:
        await cluster.apps.operations.buckets.set_versioning("default", "enabled", call())
        form = body(signed("default", NAME), b"hi")
        first, second = await post(cluster, form), await post(cluster, form)
        assert first.headers["x-amz-version-id"] != second.headers["x-amz-version-id"]


FOREIGN: list[Condition] = [{"bucket": "other"}, NAME]
NO_BUCKET: list[Condition] = [NAME]
NO_KEY: list[Condition] = [{"bucket": "default"}]
MORE: list[Condition] = [{"bucket": "default"}, NAME, {"x-amz-meta-a": "b"}]


SIGNED_FOR_ELSE: list[tuple[dict[str, str], str]] = [
    (signed("default", NAME, FOREIGN), "AccessDenied"),
    (signed("default", NAME, NO_BUCKET), "AccessDenied"),
    (signed("default", NAME, NO_KEY), "AccessDenied"),
    (signed("default", NAME, MORE), "AccessDenied"),
    ({**signed("default", NAME), "x-amz-meta-a": "b"}, "AccessDenied"),
    ({**signed("default", NAME), "key": "b"}, "AccessDenied"),
    (signed("default", NAME, minutes=-1), "AccessDenied"),
    (signed("default", NAME, secret_key="wrong"), "SignatureDoesNotMatch"),
    (signed("default", NAME, access_key="NOBODY"), "InvalidAccessKeyId"),
    ({**signed("default", NAME), "policy": signed("default", {"key": "b"})["policy"]}, "SignatureDoesNotMatch"),
    (NAME, "AccessDenied"),
    ({**NAME, "policy": signed("default", NAME)["policy"]}, "AccessDenied"),
    (signed_v2("default", NAME), "InvalidRequest"),
    (signed("default", NAME, [["near", "$key", "a"]]), "InvalidPolicyDocument"),
]


async def test_a_form_can_do_only_what_was_signed() -> None:
    async with whole(chunkds=0) as cluster:
        for fields, code in SIGNED_FOR_ELSE:
            answer = await post(cluster, body(fields, b"hi"))
            refused(answer, STATUS[code], code)
            assert await nothing_stored(cluster)


async def test_a_policy_is_good_for_its_bucket_only_whatever_that_is_called() -> None:
    async with whole(chunkds=0) as cluster:
        form = body(signed("default", NAME), b"hi")
        for bucket in ("other", "minio", "missing", "DEFAULT", "default2", "%64efault%32", "default%00"):
            refused(await post(cluster, form, bucket), 403, "AccessDenied")
        for bucket in ("minio", "missing"):
            refused(await post(cluster, body(signed(bucket, NAME), b"hi"), bucket), 404, "NoSuchBucket")
        assert await nothing_stored(cluster)
        named = body({**signed("default", NAME), "bucket": "other"}, b"hi")
        for bucket in ("default", "default/", "%64efault"):  # a field of that name changes nothing
            assert (await post(cluster, named, bucket)).status == 204


async def test_a_form_is_not_stored_in_a_bucket_of_another_owner_than_is_expected() -> None:
    form = body(signed("default", NAME), b"hi")
    async with whole(chunkds=0) as cluster:
        refused(await post(cluster, form, x_amz_expected_bucket_owner="another"), 403, "AccessDenied")
        assert await nothing_stored(cluster)
        assert (await post(cluster, form, x_amz_expected_bucket_owner=ACCESS)).status == 204


async def test_who_has_no_key_learns_nothing_of_buckets() -> None:
    async with whole(chunkds=0) as cluster:
        answers = [await post(cluster, body(NAME, b"hi"), bucket) for bucket in ("default", "missing")]
        there, missing = ({**refused(answer, 403, "AccessDenied"), "RequestId": ""} for answer in answers)
        assert {**there, "Resource": ""} == {**missing, "Resource": ""}


IMPOSSIBLE: list[tuple[dict[str, str], int, str]] = [
    ({**NAME, "acl": "public-read"}, 400, "AccessControlListNotSupported"),
    ({**NAME, "x-amz-acl": "public-read"}, 400, "AccessControlListNotSupported"),
    ({**NAME, "x-amz-grant-read": "id=a"}, 400, "AccessControlListNotSupported"),
    ({**NAME, "x-amz-server-side-encryption": "AES256"}, 501, "NotImplemented"),
    ({**NAME, "x-amz-server-side-encryption-customer-algorithm": "AES256"}, 501, "NotImplemented"),
    ({**NAME, "x-amz-object-lock-mode": "GOVERNANCE"}, 501, "NotImplemented"),
    ({**NAME, "x-amz-storage-class": "GLACIER"}, 400, "InvalidStorageClass"),
    ({**NAME, "x-amz-tagging": "k=v"}, 400, "InvalidArgument"),
    ({**NAME, "tagging": "k=v"}, 400, "MalformedXML"),
    ({**NAME, "tagging": "<Tagging><TagSet><Tag/></TagSet></Tagging>"}, 400, "MalformedXML"),
    ({**NAME, "tagging": TAGS.format("aws:a")}, 400, "InvalidTag"),
    ({**NAME, "x-amz-meta-a": "v" * 2048}, 400, "MetadataTooLarge"),
    ({**NAME, "x-amz-meta-a b": "v"}, 400, "InvalidArgument"),
    ({**NAME, "x-amz-meta-a": "v\r\nset-cookie: a=b"}, 400, "InvalidArgument"),
    ({**NAME, "Content-Type": "text/x\nset-cookie: a=b"}, 400, "InvalidArgument"),
    ({**NAME, "Cache-Control": "\0"}, 400, "InvalidArgument"),
    ({**NAME, "x-amz-website-redirect-location": "javascript:alert(1)"}, 400, "InvalidRedirectLocation"),
    ({**NAME, "Content-MD5": "x"}, 400, "InvalidDigest"),
    ({**NAME, "Content-MD5": base64.b64encode(bytes(16)).decode()}, 400, "BadDigest"),
    ({**NAME, "x-amz-checksum-crc32": "AAAAAA=="}, 400, "BadDigest"),
    ({**NAME, "x-amz-checksum-sha256": "x"}, 400, "InvalidRequest"),
    ({"key": ""}, 400, "InvalidArgument"),
    ({"key": "k" * 1025}, 400, "KeyTooLongError"),
    ({"key": "a\0b"}, 400, "InvalidURI"),
    ({}, 400, "InvalidArgument"),
]


async def test_what_is_not_possible_is_refused_and_leaves_nothing() -> None:
    async with whole(chunkds=0) as cluster:
        for fields, status, code in IMPOSSIBLE:
            refused(await post(cluster, body(signed("default", fields), b"hi")), status, code)
            assert await nothing_stored(cluster)


async def test_a_checksum_in_a_field_is_verified_and_kept() -> None:
    async with whole(chunkds=0) as cluster:
        checksum = base64.b64encode(hashlib.sha256(b"hi").digest()).decode()
        answer = await post(cluster, body(signed("default", {**NAME, "x-amz-checksum-sha256": checksum}), b"hi"))
        assert (answer.status, answer.headers["x-amz-checksum-sha256"]) == (204, checksum)


async def test_what_follows_the_file_is_not_looked_at() -> None:
    form = body({}, b"hi", *(part(name, value.encode()) for name, value in signed("default", NAME).items()))
    async with whole(chunkds=0) as cluster:
        refused(await post(cluster, form), 403, "AccessDenied")  # it is signed by nobody
        assert (await post(cluster, body(signed("default", NAME), b"hi", part("key", b"b")))).status == 204
        assert (await stored(cluster, "a"))[1] == b"hi"


NOT_WHOLE: list[tuple[bytes, str]] = [
    (body(signed("default", NAME), None), "IncorrectNumberOfFilesInPostRequest"),
    (body(signed("default", NAME), b"a", part("file", b"b")), "IncorrectNumberOfFilesInPostRequest"),
    (body(signed("default", NAME), b"hi")[:-6], "IncompleteBody"),
    (body(signed("default", NAME), b"hi")[: -len(BOUNDARY) - 8], "IncompleteBody"),
    (body({**signed("default", NAME), "KEY": "a"}, b"hi"), "InvalidArgument"),
    (body({**signed("default", NAME), "pad": "x" * 20_480}, b"hi"), "MaxPostPreDataLengthExceededError"),
    (b"key=a&file=hi", "MalformedPOSTRequest"),
    (b"", "MalformedPOSTRequest"),
]


async def test_what_is_no_whole_form_is_refused_and_leaves_nothing() -> None:
    async with whole(chunkds=0) as cluster:
        for form, code in NOT_WHOLE:
            answer = await post(cluster, form)
            refused(answer, 400, code)
            assert await nothing_stored(cluster)


async def test_the_size_must_be_what_the_policy_allows() -> None:
    conditions: list[Condition] = [{"bucket": "default"}, NAME, ["content-length-range", 2, 4]]
    async with whole(chunkds=0) as cluster:
        for size in (0, 1, 5, 6000):
            answer = await post(cluster, body(signed("default", NAME, conditions), bytes(size)))
            refused(answer, 400, "EntityTooSmall" if size < 2 else "EntityTooLarge")
            assert await nothing_stored(cluster)
        for size in (2, 4):
            assert (await post(cluster, body(signed("default", NAME, conditions), bytes(size)))).status == 204


class OneKey:
    """A keyring with one key."""

    def __init__(self, principal: Principal) -> None:
        self._principal = principal

    async def find(self, access_key: str, *, deadline: float, trace_id: str = "") -> KnownKey | None:
        return KnownKey(self._principal, SECRET) if access_key == ACCESS else None

    async def match(
        self, access_key: str, matches: Callable[[str], bool], *, deadline: float, trace_id: str = ""
    ) -> KnownKey | None:
        known = await self.find(access_key, deadline=deadline, trace_id=trace_id)
        return known if known is not None and matches(known.secret) else None


def posts(cluster: Whole, principal: Principal = ROOT, *, v2: bool = False) -> FormPosts:
    operations = cluster.apps.operations
    return FormPosts(
        OneKey(principal),
        Gate(operations.buckets),
        operations.buckets,
        operations.objects,
        cluster.config.limits,
        v2=v2,
        domains=("s3.localhost",),
    )


class Pieces:
    """A body that comes in these pieces, `wait_s` before each; `taken` counts them."""

    def __init__(self, pieces: Iterable[bytes], *, wait_s: float = 0) -> None:
        self._pieces = iter(pieces)
        self._wait_s = wait_s
        self.taken = 0

    def __aiter__(self) -> "Pieces":
        return self

    async def __anext__(self) -> bytes:
        await trio.sleep(self._wait_s)  # the client's own slowness
        for piece in self._pieces:
            self.taken += 1
            return piece
        raise StopAsyncIteration


def request(pieces: Pieces) -> Request:
    headers = {"content-type": CONTENT_TYPE, "host": "default.s3.localhost:9000"}
    return Request("POST", b"/", b"", headers, pieces, None, "127.0.0.1", TRACE, trio.current_time() + 10, "https")


async def test_a_file_that_is_too_large_is_refused_as_soon_as_that_shows() -> None:
    conditions: list[Condition] = [{"bucket": "default"}, NAME, ["content-length-range", 0, 1_000_000]]
    form = body(signed("default", NAME, conditions), b"")
    pieces = Pieces(itertools.chain([form[: form.rindex(b"\r\n--")]], itertools.repeat(bytes(65536))))
    async with whole() as cluster:
        with pytest.raises(Refused) as caught:
            await posts(cluster).answer(request(pieces), "default")
        assert caught.value.code == "EntityTooLarge"
        assert pieces.taken == 1 + 16
        assert await nothing_stored(cluster)


async def test_an_old_signature_is_good_where_that_is_switched_on() -> None:
    form = Pieces([body(signed_v2("default", NAME), b"hi")])
    async with whole(chunkds=0) as cluster:
        answer = await posts(cluster, v2=True).answer(request(form), "default")
        assert (answer.status, dict(answer.headers)["location"]) == (204, "https://default.s3.localhost:9000/a")


async def test_a_client_may_take_longer_for_its_form_than_a_request_has_for_the_metadata() -> None:
    form = body(signed("default", NAME), b"hi")
    slow = Pieces([form[:500], form[500:1000], form[1000:]], wait_s=0.2)
    async with whole(chunkds=0) as cluster:
        in_time = replace(request(slow), deadline=trio.current_time() + 0.3)
        assert (await posts(cluster).answer(in_time, "default")).status == 204


async def test_a_form_can_do_no_more_than_who_signed_it() -> None:
    async with whole(chunkds=0) as cluster:
        for bucket, code in (("default", "AccessDenied"), ("missing", "NoSuchBucket")):
            form = Pieces([body(signed(bucket, NAME), b"hi")])
            with pytest.raises(Refused) as caught:
                await posts(cluster, Principal("someone", "user")).answer(request(form), bucket)
            assert caught.value.code == code
        assert await nothing_stored(cluster)


async def test_a_request_whose_form_is_refused_is_not_read_to_its_end() -> None:
    pieces = Pieces([body(signed("default", NAME, secret_key="wrong"), b""), b"more"])
    async with whole(chunkds=0) as cluster:
        with pytest.raises(Refused) as caught:
            await posts(cluster).answer(request(pieces), "default")
        assert (caught.value.code, pieces.taken) == ("SignatureDoesNotMatch", 1)
        unbounded = replace(request(pieces), headers={"content-type": "multipart/form-data"})
        with pytest.raises(Refused) as caught:
            await posts(cluster).answer(unbounded, "default")
        assert (caught.value.code, pieces.taken) == ("MalformedPOSTRequest", 1)


def test_an_objects_url_is_in_the_style_of_the_request() -> None:
    domains = ("s3.localhost", "s3.example")
    for host, url in (
        ("127.0.0.1:9000", "http://127.0.0.1:9000/bucket/a%2Fb%20c"),
        ("s3.localhost:9000", "http://s3.localhost:9000/bucket/a%2Fb%20c"),
        ("bucket.s3.localhost:9000", "http://bucket.s3.localhost:9000/a%2Fb%20c"),
        ("bucket.s3.example", "http://bucket.s3.example/a%2Fb%20c"),
    ):
        assert object_url("http", host, domains, "bucket", "a/b c") == url
