"""Requests as values, for tests of what reads them."""

from collections.abc import AsyncIterator, Iterable, Mapping

from api.messages import Request, parse_headers

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
"""AWS's example credentials."""


class Pieces:
    """A body that comes in pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def message(
    method: str,
    target: str,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    body: Iterable[bytes] = (),
    length: int | None = None,
) -> Request:
    """A request for `path?query`; headers in any case, several of one name in the second form."""
    path, _, query = target.partition("?")
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    raw = [(name.lower().encode(), value.strip().encode()) for name, value in pairs]
    return Request(
        method=method,
        path=path.encode(),
        query=query.encode(),
        headers=parse_headers(raw),
        body=Pieces(body),
        length=length,
        client="127.0.0.1",
        request_id="r",
        deadline=0.0,
    )
