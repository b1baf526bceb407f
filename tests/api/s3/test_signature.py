"""Signature Version 4 in header and query: AWS's documented examples, and what each refusal is for."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from api.messages import Request
from api.s3.claims import ClaimV4
from api.s3.payload import Chunked, Unsigned, Whole
from api.s3.presigned import hoisted_headers
from api.s3.signature import Verified, parse, verify
from api.s3.sigv4 import Scope, SigningKeys, signature, signing_key, string_to_sign
from cluster.errors import Refused
from tests.api.s3.messages import ACCESS_KEY, SECRET, message

NOW = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
EMPTY = hashlib.sha256().hexdigest()
CREDENTIAL = f"{ACCESS_KEY}/20130524/us-east-1/s3/aws4_request"
HOST = {"host": "examplebucket.s3.amazonaws.com"}


def authorization(signed_headers: str, value: str) -> dict[str, str]:
    return {
        "authorization": f"AWS4-HMAC-SHA256 Credential={CREDENTIAL},SignedHeaders={signed_headers},Signature={value}"
    }


def dated(sha256: str = EMPTY) -> dict[str, str]:
    return {**HOST, "x-amz-date": "20130524T000000Z", "x-amz-content-sha256": sha256}


GET_OBJECT = message(
    "GET",
    "/test.txt",
    {
        **dated(),
        "range": "bytes=0-9",
        **authorization(
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
    },
)
PUT_OBJECT = message(
    "PUT",
    "/test$file.text",
    {
        **dated(hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()),
        "date": "Fri, 24 May 2013 00:00:00 GMT",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
        **authorization(
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
    },
)
GET_LIFECYCLE = message(
    "GET",
    "/?lifecycle",
    {
        **dated(),
        **authorization(
            "host;x-amz-content-sha256;x-amz-date", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        ),
    },
)
LIST_OBJECTS = message(
    "GET",
    "/?max-keys=2&prefix=J",
    {
        **dated(),
        **authorization(
            "host;x-amz-content-sha256;x-amz-date", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        ),
    },
)
PRESIGNED_QUERY = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
)
PRESIGNED = message("GET", f"/test.txt?{PRESIGNED_QUERY}", HOST)
CHUNKED_HEADERS = {
    "host": "s3.amazonaws.com",
    "x-amz-date": "20130524T000000Z",
    "x-amz-storage-class": "REDUCED_REDUNDANCY",
    "content-encoding": "aws-chunked",
    "x-amz-decoded-content-length": "66560",
}
CHUNKED = message(
    "PUT",
    "/examplebucket/chunkObject.txt",
    {
        **CHUNKED_HEADERS,
        "content-length": "66824",
        "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        **authorization(
            "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
            "x-amz-storage-class",
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        ),
    },
)
TRAILER = message(
    "PUT",
    "/examplebucket/chunkObject.txt",
    {
        **CHUNKED_HEADERS,
        "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "x-amz-trailer": "x-amz-checksum-crc32c",
        **authorization(
            "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;"
            "x-amz-trailer",
            "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        ),
    },
)
EXAMPLES = {
    "GET object": GET_OBJECT,
    "PUT object": PUT_OBJECT,
    "GET bucket lifecycle": GET_LIFECYCLE,
    "list objects": LIST_OBJECTS,
    "presigned URL": PRESIGNED,
    "chunked upload": CHUNKED,
    "chunked upload with a trailer": TRAILER,
}
"""The requests of the S3 API Reference that it signs."""


def check(request: Request, *, secret: str = SECRET, now: float = NOW, v2: bool = False) -> Verified:
    claim = parse(request, v2=v2)
    assert claim is not None
    assert claim.access_key == ACCESS_KEY
    return verify(claim, request, secret, now)


def code(request: Request, *, secret: str = SECRET, now: float = NOW) -> str:
    with pytest.raises(Refused) as caught:
        check(request, secret=secret, now=now)
    return caught.value.code


def with_headers(request: Request, changes: Mapping[str, str | None]) -> Request:
    """The request with headers set, or (None) without them."""
    headers = {**request.headers, **changes}
    return replace(request, headers={name: value for name, value in headers.items() if value is not None})


def replaced(request: Request, name: str, old: str, new: str) -> Request:
    assert old in request.headers[name]
    return with_headers(request, {name: request.headers[name].replace(old, new)})


def signed(request: Request, signed_headers: str, payload: str = "UNSIGNED-PAYLOAD") -> Request:
    """The request, signed over the path and query as they are."""
    headers = {**request.headers, "x-amz-date": "20130524T000000Z", "x-amz-content-sha256": payload}
    names = signed_headers.split(";")
    lines = "".join(f"{name}:{headers[name]}\n" for name in names)
    canonical = (
        f"{request.method}\n{request.path.decode()}\n{request.query.decode()}\n{lines}\n{signed_headers}\n{payload}"
    )
    scope = Scope("20130524", "us-east-1")
    value = signature(signing_key(SECRET, scope), string_to_sign("20130524T000000Z", scope, canonical))
    return replace(request, headers={**headers, **authorization(signed_headers, value)})


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


def test_a_presigned_url_covers_content_md5_and_leaves_the_type_to_its_holder() -> None:
    assert code(with_headers(PRESIGNED, {"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="})) == "AccessDenied"
    check(with_headers(PRESIGNED, {"content-type": "text/plain", "range": "bytes=0-1", "if-match": "*"}))


def test_the_host_is_always_signed() -> None:
    assert code(replaced(GET_OBJECT, "authorization", "host;", "")) == "AccessDenied"
    assert code(replace(PRESIGNED, query=PRESIGNED.query.replace(b"=host", b"=range"))) == "AccessDenied"


def test_a_presigned_url_may_be_used_with_the_hash_it_covers_and_no_other() -> None:
    check(with_headers(PRESIGNED, {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}))
    assert code(with_headers(PRESIGNED, {"x-amz-content-sha256": EMPTY})) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    "form",
    [
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    ],
)
def test_framing_cannot_be_added_to_a_presigned_url(form: str) -> None:
    assert code(with_headers(PRESIGNED, {"x-amz-content-sha256": form})) == "AccessDenied"
    query = PRESIGNED.query + b"&X-Amz-Content-Sha256=" + form.encode()
    assert code(replace(PRESIGNED, query=query)) == "AccessDenied"


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


def test_a_presigned_url_is_good_from_its_date_for_as_long_as_it_says() -> None:
    check(PRESIGNED, now=NOW + 86400)
    check(PRESIGNED, now=NOW - 900)
    with pytest.raises(Refused) as caught:
        check(PRESIGNED, now=NOW + 86401)
    assert (caught.value.code, caught.value.message) == ("AccessDenied", "Request has expired")
    assert caught.value.detail == {
        "X-Amz-Expires": "86400",
        "Expires": "2013-05-25T00:00:00Z",
        "ServerTime": "2013-05-25T00:00:01Z",
    }
    assert code(PRESIGNED, now=NOW - 901) == "AccessDenied"


@pytest.mark.parametrize(
    ("value", "message_"),
    [
        ("0", "at least 1"),
        ("-1", "non-negative"),
        ("604801", "less than a week"),
        ("99999999999999999999", "should be a number"),
        ("1e3", "should be a number"),
        ("٣", "should be a number"),
    ],
)
def test_a_lifetime_is_one_second_to_seven_days(value: str, message_: str) -> None:
    query = PRESIGNED.query.replace(b"86400", value.encode())
    with pytest.raises(Refused, match=message_) as caught:
        check(replace(PRESIGNED, query=query))
    assert caught.value.code == "AuthorizationQueryParametersError"


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


@pytest.mark.parametrize(
    "name",
    ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"],
)
@pytest.mark.parametrize(
    "change",
    [lambda name: b"a=", lambda name: name + b"=", lambda name: name.lower() + b"="],
    ids=["", "empty", "lower"],
)
def test_half_a_signature_is_not_none(name: str, change: Callable[[bytes], bytes]) -> None:
    query = b"&".join(
        change(name.encode()) if item.startswith(name.encode()) else item for item in PRESIGNED.query.split(b"&")
    )
    assert code(replace(PRESIGNED, query=query)) == "AuthorizationQueryParametersError"


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", "AuthorizationQueryParametersError"),
        ("%2Fs3%2F", "%2Fiam%2F", "AuthorizationQueryParametersError"),
        ("20130524%2F", "20130523%2F", "AuthorizationQueryParametersError"),
        ("T000000Z", "", "AuthorizationQueryParametersError"),
        ("SignedHeaders=host", "SignedHeaders=host%0Arange", "AuthorizationQueryParametersError"),
        ("us-east-1", "us-east-2", "SignatureDoesNotMatch"),
        ("SignedHeaders=host", "SignedHeaders=host%3Brange", "SignatureDoesNotMatch"),
        ("86400", "86399", "SignatureDoesNotMatch"),
        ("T000000Z", "T000001Z", "SignatureDoesNotMatch"),
        ("aeee", "aeef", "SignatureDoesNotMatch"),
        ("X-Amz-Signature=", "acl&X-Amz-Signature=", "SignatureDoesNotMatch"),
        ("X-Amz-Signature=", "X-Amz-Signature=a&X-Amz-Signature=", "InvalidArgument"),
        ("X-Amz-Signature=", "versionId=1&X-Amz-Signature=", "SignatureDoesNotMatch"),
    ],
)
def test_a_presigned_url_is_read_strictly(old: str, new: str, refused: str) -> None:
    assert old.encode() in PRESIGNED.query
    assert code(replace(PRESIGNED, query=PRESIGNED.query.replace(old.encode(), new.encode()))) == refused


def test_parameters_of_a_presigned_url_that_stand_for_headers_are_told() -> None:
    query = f"{PRESIGNED_QUERY}&x-amz-meta-A=b%20c&X-Amz-Acl=private&x-amz-content-sha256=UNSIGNED-PAYLOAD&prefix=x"
    assert hoisted_headers(message("PUT", f"/k?{query}", HOST)) == {"x-amz-meta-a": "b c", "x-amz-acl": "private"}
    assert hoisted_headers(message("PUT", "/k?x-amz-acl=private", HOST)) == {}
    assert hoisted_headers(GET_OBJECT) == {}


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
