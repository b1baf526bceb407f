"""Signature Version 2 in header and query: AWS's documented examples, and what it must not let through."""

import base64
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from api.messages import Request
from api.s3.presigned import hoisted_headers
from api.s3.signature import Verified, parse, verify
from api.s3.signature_v2 import COVERED, UNCOVERED
from api.s3.table import OPERATIONS
from cluster.errors import Refused
from tests.api.s3.messages import ACCESS_KEY, SECRET, message

HOST = "awsexamplebucket1.us-west-1.s3.amazonaws.com"
BUCKET = "awsexamplebucket1"
NOW = datetime(2007, 3, 27, 19, 36, 42, tzinfo=UTC).timestamp()
DATE = "Tue, 27 Mar 2007 19:36:42 +0000"


def check(request: Request, bucket: str | None = BUCKET, *, now: float | None = None, secret: str = SECRET) -> Verified:
    claim = parse(request, v2=True)
    assert claim is not None
    assert claim.access_key == ACCESS_KEY
    return verify(claim, request, secret, NOW if now is None else now, virtual_bucket=bucket)


def code(request: Request, bucket: str | None = BUCKET, *, now: float | None = None) -> str:
    with pytest.raises(Refused) as caught:
        check(request, bucket, now=now)
    return caught.value.code


def sign(to_sign: str) -> str:
    return base64.b64encode(hmac.digest(SECRET.encode(), to_sign.encode(), "sha1")).decode()


def header(
    method: str, target: str, value: str, headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()
) -> Request:
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    return message(method, target, [("host", HOST), ("authorization", f"AWS {ACCESS_KEY}:{value}"), *pairs])


UPLOAD_HEADERS = [
    ("date", "Tue, 27 Mar 2007 21:06:08 +0000"),
    ("x-amz-acl", "public-read"),
    ("content-type", "application/x-download"),
    ("Content-MD5", "4gJE4saaMU4BqNR0kLY+lw=="),
    ("X-Amz-Meta-ReviewedBy", "joe@example.com"),
    ("X-Amz-Meta-ReviewedBy", "jane@example.com"),
    ("X-Amz-Meta-FileChecksum", "0x02661779"),
    ("X-Amz-Meta-ChecksumAlgorithm", "crc32"),
    ("Content-Length", "5913339"),
]


@pytest.mark.parametrize(
    ("request_", "bucket", "date"),
    [
        (header("GET", "/photos/puppy.jpg", "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=", {"date": DATE}), BUCKET, DATE),
        (
            header(
                "PUT",
                "/photos/puppy.jpg",
                "iqRzw+ileNPu1fhspnRs8nOjjIA=",
                {"date": "Tue, 27 Mar 2007 21:15:45 +0000", "content-type": "image/jpeg", "content-length": "94328"},
            ),
            BUCKET,
            "Tue, 27 Mar 2007 21:15:45 +0000",
        ),
        (
            header(
                "GET",
                "/?prefix=photos&max-keys=50&marker=puppy",
                "m0WP8eCtspQl5Ahe6L1SozdX9YA=",
                {"date": "Tue, 27 Mar 2007 19:42:41 +0000", "user-agent": "Mozilla/5.0"},
            ),
            BUCKET,
            "Tue, 27 Mar 2007 19:42:41 +0000",
        ),
        (
            header("GET", "/?acl", "82ZHiFIjc+WbcwFKGUVEQspPn+0=", {"date": "Tue, 27 Mar 2007 19:44:46 +0000"}),
            BUCKET,
            "Tue, 27 Mar 2007 19:44:46 +0000",
        ),
        (
            header(
                "DELETE",
                "/awsexamplebucket1/photos/puppy.jpg",
                "XbyTlbQdu9Xw5o8P4iMwPktxQd8=",
                {"date": "Tue, 27 Mar 2007 21:20:26 +0000"},
            ),
            None,
            "Tue, 27 Mar 2007 21:20:26 +0000",
        ),
        (header("PUT", "/db-backup.dat.gz", "jtBQa0Aq+DkULFI8qrpwIjGEx0E=", UPLOAD_HEADERS), "static.example.com", ""),
        (
            header("GET", "/", "qGdzdERIC03wnaRNKh6OqZehG9s=", {"date": "Wed, 28 Mar 2007 01:29:59 +0000"}),
            None,
            "Wed, 28 Mar 2007 01:29:59 +0000",
        ),
        (
            header(
                "GET",
                "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re",
                "DNEZGsoieTZ92F3bUfSPQcbGmlM=",
                {"date": "Wed, 28 Mar 2007 01:49:49 +0000"},
            ),
            None,
            "Wed, 28 Mar 2007 01:49:49 +0000",
        ),
    ],
)
def test_the_documented_signatures_are_right(request_: Request, bucket: str | None, date: str) -> None:
    sent = datetime.strptime(date or UPLOAD_HEADERS[0][1], "%a, %d %b %Y %H:%M:%S +0000").replace(tzinfo=UTC)
    assert check(request_, bucket, now=sent.timestamp()).chunk_key is None


@pytest.mark.parametrize(
    "change",
    [
        {"method": "HEAD"},
        {"path": b"/photos/Puppy.jpg"},
        {"path": b"/photos%2Fpuppy.jpg"},
        {"query": b"acl"},
        {"query": b"versionId=1"},
        {"query": b"response-content-type=text/html"},
    ],
)
def test_what_it_covers_cannot_be_changed(change: dict[str, Any]) -> None:
    request = header("GET", "/photos/puppy.jpg", "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=", {"date": DATE})
    check(request)
    assert code(replace(request, **change)) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("name", "value"),
    [("x-amz-acl", "private"), ("content-md5", "AAAA"), ("content-type", "a/b"), ("x-amz-date", DATE)],
)
def test_no_header_that_it_covers_can_be_added(name: str, value: str) -> None:
    request = header("GET", "/photos/puppy.jpg", "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=", {"date": DATE, name: value})
    assert code(request) == "SignatureDoesNotMatch"


def test_a_bucket_in_the_host_is_covered() -> None:
    request = header("GET", "/photos/puppy.jpg", "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=", {"date": DATE})
    assert code(request, "other") == "SignatureDoesNotMatch"
    assert code(request, None) == "SignatureDoesNotMatch"
    check(replace(request, path=b"/awsexamplebucket1/photos/puppy.jpg"), None)


@pytest.mark.parametrize(("signed", "good"), [("/b", True), ("/b/", True), ("/b//", False), ("/", False), ("", False)])
def test_a_bucket_alone_in_the_path_is_signed_with_a_slash_behind_it_or_without(signed: str, good: bool) -> None:
    request = header("GET", "/b", sign(f"GET\n\n\n{DATE}\n{signed}"), {"date": DATE})
    if good:
        check(request, None)
    else:
        assert code(request, None) == "SignatureDoesNotMatch"


@pytest.mark.parametrize("query", ["retention-x", "x-amz-acl=private", "prefix=a&unheard=1", "Acl"])
def test_a_parameter_it_does_not_know_is_refused(query: str) -> None:
    request = header("GET", f"/?{query}", sign(f"GET\n\n\n{DATE}\n/{BUCKET}/"), {"date": DATE})
    assert code(request) == "InvalidRequest"


def test_no_parameter_that_chooses_an_operation_is_left_uncovered() -> None:
    chosen = {name for operation in OPERATIONS for name in operation.query}
    assert not UNCOVERED & chosen
    assert not UNCOVERED & COVERED


@pytest.mark.parametrize("written", ["acl", "acl=", "acl=&prefix=x", "&acl"])
@pytest.mark.parametrize("signed", ["acl", "acl="])
def test_a_parameter_without_a_value_is_signed_in_both_ways(written: str, signed: str) -> None:
    request = header("GET", f"/?{written}", sign(f"GET\n\n\n{DATE}\n/{BUCKET}/?{signed}"), {"date": DATE})
    if signed == "acl=" and "acl=" not in written:
        assert code(request) == "SignatureDoesNotMatch"
    else:
        check(request)


def test_parameters_are_signed_decoded_and_cannot_hide_in_one_another() -> None:
    honest = "response-content-type=a&versionId=7"
    value = sign(f"GET\n\n\n{DATE}\n/{BUCKET}/k?{honest}")
    check(header("GET", f"/k?{honest}", value, {"date": DATE}))
    check(header("GET", "/k?versionId=%37&response-content-type=%61", value, {"date": DATE}))
    hidden = header("GET", "/k?response-content-type=a%26versionId%3D7", value, {"date": DATE})
    assert code(hidden) == "InvalidRequest"
    harmless = sign(f"GET\n\n\n{DATE}\n/{BUCKET}/k?response-content-disposition=a&b.txt")
    check(header("GET", "/k?response-content-disposition=a%26b.txt", harmless, {"date": DATE}))


def test_the_date_is_checked() -> None:
    request = header("GET", "/photos/puppy.jpg", "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=", {"date": DATE})
    check(request, now=NOW + 900)
    assert code(request, now=NOW + 901) == "RequestTimeTooSkewed"
    assert code(request, now=NOW - 901) == "RequestTimeTooSkewed"
    assert code(header("GET", "/", "x")) == "AccessDenied"
    assert code(header("GET", "/", "x", {"date": "once"})) == "AccessDenied"


def test_x_amz_date_takes_the_place_of_date() -> None:
    value = sign(f"GET\n\n\n\nx-amz-date:{DATE}\n/{BUCKET}/k")
    check(header("GET", "/k", value, {"x-amz-date": DATE, "date": "whenever"}))
    check(header("GET", "/k", value, {"x-amz-date": DATE}))


@pytest.mark.parametrize("text", ["", "HAHAHA", ":abc", "AK:", " "])
def test_a_malformed_header_is_refused(text: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(message("GET", "/b/k", {"host": HOST, "authorization": f"AWS {text}"}), v2=True)
    assert caught.value.code == "InvalidArgument"


def test_it_is_off_unless_it_is_switched_on() -> None:
    for request in (
        header("GET", "/photos/puppy.jpg", "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=", {"date": DATE}),
        presigned("k", int(NOW)),
    ):
        with pytest.raises(Refused) as caught:
            parse(request)
        assert caught.value.code == "InvalidRequest"
        assert caught.value.message == (
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
        )


# ---- in the query


def presigned(
    key: str, expires: int, more: str = "", headers: Mapping[str, str] | None = None, lines: str = ""
) -> Request:
    value = sign(f"GET\n\n\n{expires}\n{lines}/{BUCKET}/{key}").replace("+", "%2B")
    query = f"AWSAccessKeyId={ACCESS_KEY}&Expires={expires}&Signature={value}{more}"
    return message("GET", f"/{key}?{query}", {"host": HOST, **(headers or {})})


def test_a_url_is_good_until_it_expires() -> None:
    request = presigned("photos/puppy.jpg", int(NOW) + 10)
    check(request, now=NOW + 10)
    assert code(request, now=NOW + 11) == "AccessDenied"
    assert code(replace(request, query=request.query.replace(b"Expires=", b"Expires=1"))) == "SignatureDoesNotMatch"


def test_a_signature_may_be_put_in_a_url_as_it_is() -> None:
    plus = next(key for key in map(str, range(1000)) if b"%2B" in presigned(key, int(NOW)).query)
    request = presigned(plus, int(NOW))
    check(replace(request, query=request.query.replace(b"%2B", b"+")))


@pytest.mark.parametrize("name", [b"AWSAccessKeyId", b"Signature"])
@pytest.mark.parametrize("new", [b"x", b"awsaccesskeyid"])
def test_half_a_signature_is_not_none(name: bytes, new: bytes) -> None:
    request = presigned("k", int(NOW))
    assert code(replace(request, query=request.query.replace(name, new))) == "AccessDenied"


@pytest.mark.parametrize("expires", [b"", b"tomorrow", b"-1", b"1e9", b"9" * 30])
def test_an_expiry_is_a_number_of_seconds(expires: bytes) -> None:
    request = presigned("k", int(NOW))
    assert code(replace(request, query=request.query.replace(b"%d" % int(NOW), expires))) == "AccessDenied"


def test_parameters_that_stand_for_headers_are_covered_and_told() -> None:
    request = presigned("k", int(NOW), "&x-amz-acl=private", lines="x-amz-acl:private\n")
    check(request)
    assert hoisted_headers(request) == {"x-amz-acl": "private"}
    assert code(replace(request, query=request.query.replace(b"private", b"public-read"))) == "SignatureDoesNotMatch"
    assert code(replace(request, headers={**request.headers, "x-amz-meta-a": "b"})) == "SignatureDoesNotMatch"


def test_headers_cannot_hide_in_one_another() -> None:
    lines = "x-amz-acl:private\nx-amz-tagging:a=b\n"
    check(presigned("k", int(NOW), "&x-amz-acl=private&x-amz-tagging=a%3Db", lines=lines))
    hidden = presigned("k", int(NOW), "&x-amz-acl=private%0Ax-amz-tagging:a%3Db", lines=lines)
    assert code(hidden) == "InvalidArgument"


@pytest.mark.parametrize("form", ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"])
def test_it_carries_no_body_in_chunks(form: str) -> None:
    lines = f"x-amz-content-sha256:{form}\n"
    headers = {"x-amz-content-sha256": form}
    assert code(presigned("k", int(NOW), headers=headers, lines=lines)) == "AccessDenied"
    value = sign(f"PUT\n\n\n{DATE}\n{lines}/{BUCKET}/k")
    assert code(header("PUT", "/k", value, {"date": DATE, **headers})) == "AccessDenied"
