"""What a browser sends when it submits a form that its owner has signed: by the book, without the product's code."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

from tests.api.whole import ACCESS, SECRET

BOUNDARY = "----WebKitFormBoundaryTest"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"

type Condition = dict[str, str] | list[str | int]


def policy(conditions: list[Condition], *, minutes: float = 600) -> str:
    """A policy document in base64."""
    until = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return base64.b64encode(json.dumps({"expiration": until, "conditions": conditions}).encode()).decode()


def signed(
    bucket: str,
    fields: dict[str, str],
    conditions: list[Condition] | None = None,
    *,
    access_key: str = ACCESS,
    secret_key: str = SECRET,
    minutes: float = 600,
) -> dict[str, str]:
    """The fields with a policy that names the bucket and each of them, and with its signature (Version 4)."""
    date = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{date[:8]}/us-east-1/s3/aws4_request"
    signing = {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{access_key}/{scope}",
        "x-amz-date": date,
    }
    if conditions is None:
        conditions = [{"bucket": bucket}, *({name: value} for name, value in fields.items())]
    document = policy([*conditions, *({name: value} for name, value in signing.items())], minutes=minutes)
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return {
        **fields,
        **signing,
        "policy": document,
        "x-amz-signature": hmac.digest(key, document.encode(), "sha256").hex(),
    }


def signed_v2(bucket: str, fields: dict[str, str]) -> dict[str, str]:
    """The same by Version 2."""
    document = policy([{"bucket": bucket}, *({name: value} for name, value in fields.items())])
    signature = base64.b64encode(hmac.digest(SECRET.encode(), document.encode(), hashlib.sha1)).decode()
    return {**fields, "AWSAccessKeyId": ACCESS, "policy": document, "signature": signature}


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    """One part with the boundary before it."""
    named = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def body(fields: dict[str, str], file: bytes | None, *more: bytes, filename: str = "my file.txt") -> bytes:
    """The body of a form; `more` parts follow the file."""
    parts = [part(name, value.encode()) for name, value in fields.items()]
    if file is not None:
        parts.append(part("file", file, filename))
    return b"".join([*parts, *more, f"--{BOUNDARY}--\r\n".encode()])
