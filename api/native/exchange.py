"""One native request on its way through the dialect: what is asked, of what, by whom."""

from collections.abc import Mapping
from dataclasses import dataclass

from api.messages import Request
from api.operations.calls import Call


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that was authenticated and allowed. Its names and `query` are decoded; `upload` and `part` are what the
    path has, which need not be an upload's id and a number. What a path does not name is empty."""

    request: Request
    bucket: str
    key: str
    upload: str
    part: str
    query: Mapping[str, str]
    call: Call

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers by lower-case name."""
        return self.request.headers
