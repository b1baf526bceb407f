"""What an operation of S3 is: a row of the table."""

from dataclasses import dataclass
from typing import Literal

from api.access.decisions import Action

type Target = Literal["service", "bucket", "object"]
type Support = Literal["full", "none configured", "not implemented"]

EVERY_REQUEST = (
    "amz-sdk-invocation-id",
    "authorization",
    "content-length",
    "date",
    "expect",
    "host",
    "origin",
    "transfer-encoding",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-expected-bucket-owner",
    "x-amz-security-token",
    "x-amz-trailer",
)
"""Headers of transfer, signature, retries and the owner's condition, which no operation is asked about by itself."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One S3 operation.

    `query` and `headers` must be there, `values` must be equal to what they say (`list-type=2`). `parameters` are the
    query parameters that it understands besides. `understood` are the headers that it acts on besides EVERY_REQUEST's:
    `headers` are among them, a `*` stands for any end. `errors` are the codes that its page documents. `none` is what a
    GET of a configuration that cannot be made yet answers: one of `errors`, or an empty document of that root.
    """

    name: str
    method: str
    target: Target
    action: Action
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()
    parameters: tuple[str, ...] = ()
    understood: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    support: Support = "full"
    none: str = ""

    @property
    def weight(self) -> int:
        """How much it asks for."""
        return len(self.query) + len(self.headers) + len(self.values)

    def acts_on(self, header: str) -> bool:
        """Whether a header (by its lower-case name) is one of those that it understands."""
        return self.word_for(header) is not None

    def word_for(self, header: str) -> str | None:
        """What `understood` has for a header, None if nothing."""
        return next((word for word in self.understood if _is(header, word)), None)


def _is(header: str, word: str) -> bool:
    return header.startswith(word[:-1]) if word.endswith("*") else header == word
