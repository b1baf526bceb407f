"""Bodies of requests that are small and read whole, or that must be empty."""

import msgspec

from api.messages import Request
from cluster.errors import UNDECODABLE, Refused


async def read_json[T](
    request: Request, shape: type[T], bytes_max: int, *, what: str, limit: str = "json_body_bytes_max"
) -> T | None:
    """The body as a value of that shape, None if it is empty. `what` it is, and `limit`, the name of `bytes_max`, are
    told in refusals. Raises Refused (EntityTooLarge, MalformedJSON)."""
    body = await read_whole(request, bytes_max, limit=limit)
    if not body:
        return None
    try:
        return msgspec.json.decode(body, type=shape)
    except UNDECODABLE as error:
        raise Refused("MalformedJSON", f"the body is not the JSON of {what} ({error})") from None


async def read_whole(request: Request, bytes_max: int, *, limit: str = "json_body_bytes_max") -> bytes:
    """A small body. Raises Refused (EntityTooLarge)."""
    size = request.length or 0
    body = bytearray()
    if size <= bytes_max:
        async for piece in request.body:
            body += piece
            if len(body) > bytes_max:
                break
    if max(size, len(body)) > bytes_max:
        raise Refused(
            "EntityTooLarge",
            f"the body has more than {bytes_max} bytes, which is the limit for this call",
            limit={limit: bytes_max},
        )
    return bytes(body)


def refuse_body(request: Request, why: str) -> None:
    """Raises Refused (InvalidArgument) if there may be a body."""
    if request.length != 0:
        raise Refused("InvalidArgument", f"{why} must have no body")
