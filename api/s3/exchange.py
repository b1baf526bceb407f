"""One S3 request on its way through the dialect: what was asked, by whom, and its body as the client meant it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from api.messages import Request, RequestBody
from api.operations.calls import Call
from api.s3.table import Operation


class Payload(Protocol):
    """A request's body without the framing that its signature adds (`aws-chunked`).

    `size` is its length in bytes, None if unknown. `sha256` is what the signature says of the whole. `trailers` are the
    names that were announced; their values are known once the body was read.
    """

    @property
    def size(self) -> int | None:
        """Length in bytes, None if unknown."""

    @property
    def sha256(self) -> bytes | None:
        """What the whole must hash to, None if that is not signed."""

    @property
    def announced(self) -> tuple[str, ...]:
        """Names of trailers to come, in lower case."""

    def body(self, *, digested: bool = False) -> RequestBody:
        """The bytes, once. Raises Refused for framing or signatures that are wrong, and at its end for a SHA-256 that
        is not what was signed; with `digested` the caller hashes anyway, and compares with `sha256` itself."""

    def trailers(self) -> Mapping[str, str]:
        """The trailers, when all of the body was read."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that was authenticated and allowed. `query` has the parameters, decoded."""

    request: Request
    operation: Operation
    bucket: str
    key: str
    query: Mapping[str, str]
    call: Call
    payload: Payload

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers by lower-case name."""
        return self.request.headers
