"""Signatures of HTML forms: AWS's documented example, botocore's, and what is refused."""

import base64
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import HmacV1PostAuth, S3SigV4PostAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from api.s3.post_policy import parse_policy
from api.s3.post_signature import PostClaim, parse_post, verify_post
from cluster.errors import Refused
from tests.api.s3.messages import ACCESS_KEY, SECRET

NOW = datetime(2015, 12, 29, tzinfo=UTC).timestamp()
DOCUMENT = (
    '{ "expiration": "2015-12-30T12:00:00.000Z",\r\n'
    '  "conditions": [\r\n'
    '    {"bucket": "sigv4examplebucket"},\r\n'
    '    ["starts-with", "$key", "user/user1/"],\r\n'
    '    {"acl": "public-read"},\r\n'
    '    {"success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},\r\n'
    '    ["starts-with", "$Content-Type", "image/"],\r\n'
    '    {"x-amz-meta-uuid": "14365123651274"},\r\n'
    '    {"x-amz-server-side-encryption": "AES256"},\r\n'
    '    ["starts-with", "$x-amz-meta-tag", ""],\r\n'
    "\r\n"
    '    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},\r\n'
    '    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},\r\n'
    '    {"x-amz-date": "20151229T000000Z" }\r\n'
    "  ]\r\n"
    "}"
)
"""The policy of the example in the S3 API Reference, with the line ends that it asks for."""

FORM = {
    "key": "user/user1/photo.jpg",
    "acl": "public-read",
    "success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html",
    "content-type": "image/jpeg",
    "x-amz-meta-uuid": "14365123651274",
    "x-amz-server-side-encryption": "AES256",
    "x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request",
    "x-amz-algorithm": "AWS4-HMAC-SHA256",
    "x-amz-date": "20151229T000000Z",
    "x-amz-meta-tag": "",
    "policy": base64.b64encode(DOCUMENT.encode()).decode(),
    "x-amz-signature": "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e",
}
FORM_V2 = {"key": "k", "policy": "e30=", "awsaccesskeyid": ACCESS_KEY, "signature": "s"}


def claim_of(fields: Mapping[str, str], *, v2: bool = False) -> PostClaim:
    claim = parse_post(fields, v2=v2)
    assert claim is not None
    return claim


def code(fields: Mapping[str, str], *, now: float = NOW, v2: bool = False, secret: str = SECRET) -> str:
    with pytest.raises(Refused) as caught:
        verify_post(claim_of(fields, v2=v2), secret, now)
    return caught.value.code


def botocores(signer: Any, fields: dict[str, str], conditions: list[Any]) -> dict[str, str]:
    """A form as botocore signs it, with lower-case names."""
    request = AWSRequest("POST", "http://h/b")
    request.context["s3-presign-post-fields"] = dict(fields)
    document = {"expiration": "2999-01-01T00:00:00Z", "conditions": conditions}
    request.context["s3-presign-post-policy"] = document
    signer.add_auth(request)
    signed: dict[str, str] = request.context["s3-presign-post-fields"]
    return {name.lower(): value for name, value in signed.items()}


def test_the_documented_form_is_right() -> None:
    verify_post(claim_of(FORM), SECRET, NOW)
    parse_policy(FORM["policy"]).check(FORM, bucket="sigv4examplebucket", now=NOW)


@pytest.mark.parametrize("version", [2, 4])
def test_botocores_forms_are_right(version: int) -> None:
    credentials = Credentials(ACCESS_KEY, SECRET)
    signer = S3SigV4PostAuth(credentials, "s3", "eu-north-1") if version == 4 else HmacV1PostAuth(credentials)
    fields = botocores(signer, {"key": "k", "acl": "private"}, [{"bucket": "b"}, {"key": "k"}, {"acl": "private"}])
    now = time.time()
    claim = claim_of(fields, v2=version == 2)
    verify_post(claim, SECRET, now)
    parse_policy(claim.policy).check(fields, bucket="b", now=now)
    assert code(fields, now=now, v2=version == 2, secret="other") == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("policy", FORM["policy"][:-2]),
        ("policy", FORM["policy"] + " "),
        ("x-amz-signature", FORM["x-amz-signature"][:-1]),
        ("x-amz-signature", FORM["x-amz-signature"].upper()),
        ("x-amz-credential", "AKIAIOSFODNN7EXAMPLE/20151229/us-east-2/s3/aws4_request"),
    ],
)
def test_a_changed_form_is_refused_with_what_was_signed(name: str, value: str) -> None:
    changed = {**FORM, name: value}
    with pytest.raises(Refused) as caught:
        verify_post(claim_of(changed), SECRET, NOW)
    assert caught.value.code == "SignatureDoesNotMatch"
    assert caught.value.detail == {
        "AWSAccessKeyId": ACCESS_KEY,
        "StringToSign": changed["policy"],
        "SignatureProvided": changed["x-amz-signature"],
    }


def test_a_form_that_claims_nothing_is_anonymous() -> None:
    assert parse_post({"key": "k", "acl": "public-read"}) is None
    assert parse_post({"key": "k", "policy": FORM["policy"]}) is None


@pytest.mark.parametrize("change", [None, ""])
@pytest.mark.parametrize("name", ["Policy", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature"])
def test_a_form_has_all_of_a_signature(name: str, change: str | None) -> None:
    fields = {each: value for each, value in FORM.items() if each != name.lower()}
    if change is not None:
        fields[name.lower()] = change
    with pytest.raises(Refused, match=f"'{name}'") as caught:
        parse_post(fields)
    assert caught.value.code == "InvalidArgument"
    assert caught.value.detail == {"ArgumentName": name, "ArgumentValue": ""}


@pytest.mark.parametrize("name", ["Policy", "AWSAccessKeyId", "Signature"])
def test_a_form_has_all_of_an_old_signature(name: str) -> None:
    fields = {each: value for each, value in FORM_V2.items() if each != name.lower()}
    with pytest.raises(Refused, match=f"'{name}'") as caught:
        parse_post(fields, v2=True)
    assert caught.value.code == "InvalidArgument"


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"x-amz-algorithm": "AWS4-HMAC-SHA1"}, "InvalidArgument"),
        ({"x-amz-credential": "AKIAIOSFODNN7EXAMPLE"}, "InvalidArgument"),
        ({"x-amz-credential": "/20151229/us-east-1/s3/aws4_request"}, "InvalidArgument"),
        ({"x-amz-credential": "A/20151229/us-east-1/iam/aws4_request"}, "InvalidArgument"),
        ({"x-amz-date": "20151228T000000Z"}, "InvalidArgument"),
        ({"x-amz-date": "2015-12-29T00:00:00Z"}, "InvalidArgument"),
        ({"x-amz-security-token": "t"}, "InvalidToken"),
        ({"signature": "s"}, "InvalidRequest"),
        ({"awsaccesskeyid": ACCESS_KEY}, "InvalidRequest"),
    ],
)
def test_a_signatures_fields_are_read_strictly(changes: dict[str, str], refused: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_post({**FORM, **changes}, v2=True)
    assert caught.value.code == refused


def test_version_2_is_off_unless_it_is_switched_on() -> None:
    with pytest.raises(Refused) as caught:
        parse_post(FORM_V2)
    assert caught.value.code == "InvalidRequest"
    assert claim_of(FORM_V2, v2=True) == PostClaim(ACCESS_KEY, "e30=", "s")


def test_a_key_signs_forms_for_seven_days() -> None:
    verify_post(claim_of(FORM), SECRET, NOW + 604_800)
    verify_post(claim_of(FORM), SECRET, NOW - 900)
    assert code(FORM, now=NOW + 604_801) == "AccessDenied"
    assert code(FORM, now=NOW - 901) == "AccessDenied"
