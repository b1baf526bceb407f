"""Presigned URLs: what their holder may add, how long they are good, and how they are read."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from api.s3.presigned import hoisted_headers
from cluster.errors import Refused
from tests.api.s3.examples import (
    EMPTY,
    GET_OBJECT,
    HOST,
    NOW,
    PRESIGNED,
    PRESIGNED_QUERY,
    check,
    code,
    with_headers,
)
from tests.api.s3.messages import message


def test_a_presigned_url_covers_content_md5_and_leaves_the_type_to_its_holder() -> None:
    assert code(with_headers(PRESIGNED, {"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="})) == "AccessDenied"
    check(with_headers(PRESIGNED, {"content-type": "text/plain", "range": "bytes=0-1", "if-match": "*"}))


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


def test_headers_that_a_presigned_url_carries_cannot_be_dropped_by_writing_its_signature_another_way() -> None:
    query = f"{PRESIGNED_QUERY}&x-amz-copy-source=b%2Fk".replace("X-Amz-Signature", "X-Amz-Signatur%65")
    assert "%65" in query
    assert hoisted_headers(message("PUT", f"/k?{query}", HOST)) == {"x-amz-copy-source": "b/k"}
