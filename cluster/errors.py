"""Errors by what the caller may do next.

Four kinds, and no other way to fail across a boundary:

* `Refused`: the request is wrong or not allowed; the same request will be refused again.
* `Unavailable`: it did not happen, and may work later or elsewhere.
* `OutcomeUnknown`: it may have happened; repeat it only under the same idempotency key.
* `Corrupt`: stored bytes are not what their name or checksum says; quarantine and repair.

Every error has a `code` (one CamelCase word, stable, a client may switch on it), a message that names
what was wrong, its value and what is allowed, and, where a limit was the reason, that limit.
"""

from typing import Any, ClassVar, Literal, Self

import msgspec

type Kind = Literal["refused", "unavailable", "outcome_unknown", "corrupt"]


UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError)
"""What decoding foreign bytes with msgspec may raise: a string that is not UTF-8 is no MsgspecError (0.22)."""


class WireError(msgspec.Struct, frozen=True, array_like=True):
    """An error as it travels in an RPC error frame."""

    kind: Kind
    code: str
    message: str
    retry_after_s: float | None = None
    limit: dict[str, int | float | str] | None = None
    detail: dict[str, str] | None = None


class TrilithError(Exception):
    """Base of the four kinds. Never raised itself.

    `limit` maps limit names to their values; `detail` carries facts a program needs (for example the leader's
    slot in a `NotLeader`).
    """

    kind: ClassVar[Kind]

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry_after_s: float | None = None,
        limit: dict[str, int | float | str] | None = None,
        detail: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self.limit = limit
        self.detail = detail

    def to_wire(self) -> WireError:
        """The error as a value for an error frame."""
        return WireError(self.kind, self.code, self.message, self.retry_after_s, self.limit, self.detail)

    @classmethod
    def _from_wire(cls, wire: WireError) -> Self:
        return cls(wire.code, wire.message, retry_after_s=wire.retry_after_s, limit=wire.limit, detail=wire.detail)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("errors travel as WireError values and are never pickled")


class Refused(TrilithError):
    """The request is wrong or not allowed: never retry it unchanged."""

    kind = "refused"


class Unavailable(TrilithError):
    """It did not happen: retry later or elsewhere, with any key."""

    kind = "unavailable"


class OutcomeUnknown(TrilithError):
    """It may have happened: retry under the same idempotency key only."""

    kind = "outcome_unknown"


class Corrupt(TrilithError):
    """Stored bytes failed verification: quarantine, repair, never serve."""

    kind = "corrupt"


_KINDS: dict[Kind, type[TrilithError]] = {
    "refused": Refused,
    "unavailable": Unavailable,
    "outcome_unknown": OutcomeUnknown,
    "corrupt": Corrupt,
}


def from_wire(wire: WireError) -> TrilithError:
    """The exception that a received error frame stands for."""
    return _KINDS[wire.kind]._from_wire(wire)
