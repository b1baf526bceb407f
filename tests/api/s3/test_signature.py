"""Signature Version 4: AWS's documented examples, and what each refusal is for."""

import hashlib
from dataclasses import replace

import pytest

from api.messages import Request
from api.s3.claims import ClaimV4
from api.s3.payload import Chunked, Unsigned, Whole
from api.s3.signature import parse
from api.s3.sigv4 import Scope, SigningKeys, signature, signing_key
from cluster.errors import Refused
from tests.api.s3.examples import (
    CHUNKED,
    EMPTY,
    EXAMPLES,
    GET_OBJECT,
    HOST,
    NOW,
    PRESIGNED,
    TRAILER,
    check,
    code,
    replaced,
    signed,
    with_headers,
)
from tests.api.s3.messages import ACCESS_KEY, SECRET, message


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_documented_signatures_are_right(name: str) -> None:
    verified = check(EXAMPLES[name])
    assert verified.access_key == ACCESS_KEY
    assert (verified.chunk_key is not None) == name.startswith("chunked")


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_wrong_secret_is_refused_with_what_was_signed(name: str) -> None:
    with pytest.raises(Refused) as caught:
        check(EXAMPLES[name], secret=SECRET.lower())
    error = caught.value
    assert error.code == "SignatureDoesNotMatch"
    assert error.detail is not None
    assert error.detail["AWSAccessKeyId"] == ACCESS_KEY
    assert error.detail["StringToSign"].startswith(
        "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_requ"
    )
    assert error.detail["CanonicalRequest"].startswith(EXAMPLES[name].method)
    scope = Scope("20130524", "us-east-1")
    right = signature(signing_key(SECRET.lower(), scope), error.detail["StringToSign"])
    assert right not in repr(error.detail) + error.message


def test_a_request_that_claims_nothing_is_anonymous() -> None:
    assert parse(message("GET", "/b/k?versionId=1&Expires=5&X-Amz-Date=now", HOST)) is None
    assert parse(message("GET", "/b/k", {**HOST, "authorization": ""})) is None


@pytest.mark.parametrize(
    ("request_", "payload"),
    [
        (GET_OBJECT, Whole(hashlib.sha256().digest())),
        (PRESIGNED, Unsigned()),
        (CHUNKED, Chunked(signed=True, trailer=False)),
        (TRAILER, Chunked(signed=True, trailer=True)),
        (
            signed(
                message("PUT", "/b/k", HOST),
                "host;x-amz-content-sha256;x-amz-date",
                "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            ),
            Chunked(signed=False, trailer=True),
        ),
    ],
)
def test_the_form_of_the_body_is_what_was_signed(request_: Request, payload: object) -> None:
    assert check(request_).payload == payload


@pytest.mark.parametrize("request_", [CHUNKED, TRAILER])
def test_the_chunks_chain_begins_with_the_heads_signature(request_: Request) -> None:
    key = check(request_).chunk_key
    assert key is not None
    assert request_.headers["authorization"].endswith(key.seed)
    assert (key.timestamp, key.scope) == ("20130524T000000Z", "20130524/us-east-1/s3/aws4_request")
    assert key.key == signing_key(SECRET, Scope("20130524", "us-east-1"))


@pytest.mark.parametrize("request_", [GET_OBJECT, PRESIGNED], ids=["header", "query"])
@pytest.mark.parametrize("path", [b"/test.txt/", b"/Test.txt", b"//test.txt", b"/./test.txt", b"/", b"/a/../test.txt"])
def test_a_signature_names_one_key(request_: Request, path: bytes) -> None:
    assert code(replace(request_, path=path)) == "SignatureDoesNotMatch"


@pytest.mark.parametrize("path", [b"/test.txt", b"/%74est.txt", b"/test%2Etxt", b"/test%2etxt"])
def test_the_same_key_may_be_written_in_other_ways(path: bytes) -> None:
    check(replace(GET_OBJECT, path=path))


@pytest.mark.parametrize("path", ["/a+b", "/a b'(x)!*", "/a%2fb", "/%7E~", "/100%", "/é"])
def test_a_path_may_be_signed_as_it_is_sent(path: str) -> None:
    path = path.replace(" ", "%20").replace("é", "%c3%a9")
    request = signed(message("GET", path, HOST), "host;x-amz-content-sha256;x-amz-date")
    check(request)
    assert code(replace(request, path=request.path + b"x")) == "SignatureDoesNotMatch"


@pytest.mark.parametrize("query", ["a=b+c", "a=%2f", "prefix=a/b", "acl=", "a=b=c", "marker=é%20"])
def test_a_query_may_be_signed_as_it_is_sent(query: str) -> None:
    request = message("GET", f"/b?{query.replace('é', '%C3%A9')}", HOST)
    check(signed(request, "host;x-amz-content-sha256;x-amz-date"))


def test_a_plus_in_a_query_is_a_space_for_the_signature_too() -> None:
    request = signed(message("GET", "/b?prefix=a%2Bb", HOST), "host;x-amz-content-sha256;x-amz-date")
    check(request)
    assert code(replace(request, query=b"prefix=a+b")) == "SignatureDoesNotMatch"
    spaced = signed(message("GET", "/b?prefix=a%20b", HOST), "host;x-amz-content-sha256;x-amz-date")
    check(replace(spaced, query=b"prefix=a+b"))


def test_spaces_in_a_header_are_folded() -> None:
    sent = message("GET", "/b/k", {**HOST, "x-amz-meta-a": "one two"})
    request = signed(sent, "host;x-amz-content-sha256;x-amz-date;x-amz-meta-a")
    check(with_headers(request, {"x-amz-meta-a": "one \t  two"}))
    assert code(with_headers(request, {"x-amz-meta-a": "onetwo"})) == "SignatureDoesNotMatch"


def test_a_header_given_twice_is_signed_as_one() -> None:
    twice = message("GET", "/b/k", [("host", "h"), ("x-amz-meta-a", "one"), ("X-Amz-Meta-A", "two")])
    assert twice.headers["x-amz-meta-a"] == "one,two"
    check(signed(twice, "host;x-amz-content-sha256;x-amz-date;x-amz-meta-a"))


def test_the_date_header_serves_where_there_is_no_other() -> None:
    plain = signed(message("GET", "/b/k", HOST), "host;x-amz-content-sha256")
    check(with_headers(plain, {"x-amz-date": None, "date": "Fri, 24 May 2013 00:00:00 GMT"}))
    check(with_headers(plain, {"x-amz-date": None, "date": "Fri, 24 May 2013 00:00:00 +0000"}))


# ---- what is there and not signed


@pytest.mark.parametrize(
    "name",
    ["x-amz-copy-source", "x-amz-acl", "x-amz-meta-a", "x-amz-tagging", "x-amz-date", "x-amz-decoded-content-length"],
)
@pytest.mark.parametrize("request_", [GET_OBJECT, PRESIGNED], ids=["header", "query"])
def test_nothing_can_be_added_that_changes_the_request(request_: Request, name: str) -> None:
    if name in request_.headers:
        request_ = replaced(request_, "authorization", ";x-amz-date,", ",")
    changed = with_headers(request_, {name: request_.headers.get(name, "1")})
    with pytest.raises(Refused) as caught:
        check(changed)
    assert caught.value.code == "AccessDenied"
    assert caught.value.message == "There were headers present in the request which were not signed"
    assert caught.value.detail == {"HeadersNotSigned": name}


def test_the_host_is_always_signed() -> None:
    assert code(replaced(GET_OBJECT, "authorization", "host;", "")) == "AccessDenied"
    assert code(replace(PRESIGNED, query=PRESIGNED.query.replace(b"=host", b"=range"))) == "AccessDenied"


@pytest.mark.parametrize(
    "request_",
    [
        with_headers(PRESIGNED, {"authorization": GET_OBJECT.headers["authorization"]}),
        with_headers(PRESIGNED, {"authorization": "AWS AKIAIOSFODNN7EXAMPLE:abc="}),
        replace(GET_OBJECT, query=b"Signature=a"),
        replace(GET_OBJECT, query=b"X-Amz-Credential=a"),
        replace(GET_OBJECT, query=b"x-amz-algorithm="),
        replace(PRESIGNED, query=PRESIGNED.query + b"&AWSAccessKeyId=a&Signature=b&Expires=5"),
    ],
)
def test_there_is_one_mechanism_and_not_two(request_: Request) -> None:
    with pytest.raises(Refused) as caught:
        parse(request_, v2=True)
    assert caught.value.code == "InvalidArgument"
    assert caught.value.message.startswith("Only one auth mechanism allowed")


@pytest.mark.parametrize("request_", [GET_OBJECT, PRESIGNED], ids=["header", "query"])
@pytest.mark.parametrize("where", ["header", "query"])
def test_a_security_token_is_refused(request_: Request, where: str) -> None:
    if where == "header":
        changed = with_headers(request_, {"x-amz-security-token": "t"})
    else:
        changed = replace(request_, query=request_.query + b"&X-Amz-Security-Token=t")
    assert code(changed) == "InvalidToken"


# ---- times


def test_a_clock_may_be_a_quarter_of_an_hour_off() -> None:
    check(GET_OBJECT, now=NOW + 900)
    check(GET_OBJECT, now=NOW - 900)
    with pytest.raises(Refused) as caught:
        check(GET_OBJECT, now=NOW + 901)
    assert caught.value.code == "RequestTimeTooSkewed"
    assert caught.value.detail == {
        "RequestTime": "20130524T000000Z",
        "ServerTime": "2013-05-24T00:15:01Z",
        "MaxAllowedSkewMilliseconds": "900000",
    }
    assert code(GET_OBJECT, now=NOW - 901) == "RequestTimeTooSkewed"


# ---- malformed


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        ("Credential=", "Credentials=", "AuthorizationHeaderMalformed"),
        (",Signature", " Signature", "AuthorizationHeaderMalformed"),
        (",SignedHeaders", ",SignedHeaders=host,SignedHeaders", "AuthorizationHeaderMalformed"),
        ("host;range", "Host;range", "AuthorizationHeaderMalformed"),
        ("host;range", "", "AuthorizationHeaderMalformed"),
        ("AKIAIOSFODNN7EXAMPLE/", "", "AuthorizationHeaderMalformed"),
        ("AKIAIOSFODNN7EXAMPLE", "", "AuthorizationHeaderMalformed"),
        ("20130524/", "20130523/", "AuthorizationHeaderMalformed"),
        ("20130524/", "2013052/", "AuthorizationHeaderMalformed"),
        ("us-east-1", "", "AuthorizationHeaderMalformed"),
        ("/s3/", "/iam/", "AuthorizationHeaderMalformed"),
        ("aws4_request", "aws5_request", "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "InvalidRequest"),
        ("AWS4-HMAC-SHA256", "aws4-hmac-sha256", "InvalidArgument"),
        ("AWS4-HMAC-SHA256 Credential=", "Bearer ", "InvalidArgument"),
        ("AWS4-HMAC-SHA256 Credential=", "AWS ", "InvalidRequest"),
        ("us-east-1", "us-east-2", "SignatureDoesNotMatch"),
        ("f0e8", "F0E8", "SignatureDoesNotMatch"),
        ("f0e8bdb87", "", "SignatureDoesNotMatch"),
        ("f0e8bdb87", "é", "SignatureDoesNotMatch"),
    ],
)
def test_an_authorization_header_is_read_strictly(old: str, new: str, refused: str) -> None:
    assert code(replaced(GET_OBJECT, "authorization", old, new)) == refused


def test_no_secret_of_another_scheme_is_repeated() -> None:
    with pytest.raises(Refused) as caught:
        parse(message("GET", "/b/k", {**HOST, "authorization": "Bearer hunter2:hunter3"}))
    assert "hunter" not in repr((caught.value.message, caught.value.detail))


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"x-amz-date": None}, "AccessDenied"),
        ({"x-amz-date": "Fri, 24 May 2013 00:00:00 GMT"}, "AccessDenied"),
        ({"x-amz-date": "20130524T000000Z, 20130524T000000Z"}, "AccessDenied"),
        ({"x-amz-date": "20130532T000000Z"}, "AccessDenied"),
        ({"x-amz-date": None, "date": "yesterday"}, "AccessDenied"),
        ({"x-amz-content-sha256": None}, "InvalidRequest"),
        ({"x-amz-content-sha256": ""}, "InvalidArgument"),
        ({"x-amz-content-sha256": "unsigned-payload"}, "InvalidArgument"),
        ({"x-amz-content-sha256": EMPTY[:-1]}, "InvalidArgument"),
        ({"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}, "SignatureDoesNotMatch"),
        ({"range": None}, "SignatureDoesNotMatch"),
        ({"range": "bytes=0-8"}, "SignatureDoesNotMatch"),
        ({"host": "other.s3.amazonaws.com"}, "SignatureDoesNotMatch"),
        ({"host": None}, "SignatureDoesNotMatch"),
    ],
)
def test_the_headers_that_signing_needs_must_be_right(changes: dict[str, str | None], refused: str) -> None:
    assert code(with_headers(GET_OBJECT, changes)) == refused


# ---- keys


def test_an_access_key_may_have_slashes() -> None:
    claim = parse(replaced(GET_OBJECT, "authorization", f"{ACCESS_KEY}/", "a/b/"))
    assert isinstance(claim, ClaimV4)
    assert (claim.access_key, claim.scope) == ("a/b", Scope("20130524", "us-east-1"))


def test_keys_are_remembered_up_to_a_bound_and_the_idle_one_goes_first() -> None:
    keys = SigningKeys(2)
    scopes = [Scope("20130524", region) for region in "abc"]
    for scope in scopes[:2]:
        keys.keep(SECRET, scope, signing_key(SECRET, scope))
    keys.keep(SECRET, scopes[0], b"known")
    keys.keep(SECRET, scopes[2], b"new")
    assert len(keys) == 2
    assert keys.get(SECRET, scopes[0]) == b"known"
    assert keys.get(SECRET, scopes[1]) == signing_key(SECRET, scopes[1])
    assert keys.get("other", scopes[0]) == signing_key("other", scopes[0])
