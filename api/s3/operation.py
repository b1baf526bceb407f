"""What an operation of S3 is: a row of the table."""

from dataclasses import dataclass
from typing import Literal

from api.access.decisions import Action

type Target = Literal["service", "bucket", "object"]
type Support = Literal["full", "none configured", "not implemented"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One S3 operation.

    `query` and `headers` must be there, `values` must be equal to what they say (`list-type=2`). `parameters` are the
    query parameters that it understands besides, `errors` the codes that its page documents. `none` is what a GET of a
    configuration that cannot be made yet answers: one of `errors`, or an empty document of that root.
    """

    name: str
    method: str
    target: Target
    action: Action
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()
    parameters: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    support: Support = "full"
    none: str = ""

    @property
    def weight(self) -> int:
        """How much it asks for."""
        return len(self.query) + len(self.headers) + len(self.values)
