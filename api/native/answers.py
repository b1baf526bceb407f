"""Answers in JSON, and the headers that say which version an answer is about."""

import msgspec

from api.messages import Response
from api.native.values import stored
from api.operations.values import Written

_JSON = ("content-type", "application/json")
_encode = msgspec.json.Encoder().encode


def json_response(status: int, value: object, *headers: tuple[str, str]) -> Response:
    """A value as the answer."""
    body = _encode(value)
    return Response(status, (_JSON, *headers), body, length=len(body))


def written_response(written: Written) -> Response:
    """The answer to what made an object: 201 when the key had none, else 200."""
    headers = version_headers(written.version_id)
    return json_response(200 if written.existed else 201, stored(written), ("etag", f'"{written.etag}"'), *headers)


def version_headers(version_id: str | None) -> list[tuple[str, str]]:
    """Which version it is, if its bucket has such."""
    return [] if version_id is None else [("x-version-id", version_id)]
