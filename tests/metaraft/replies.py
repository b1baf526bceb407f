"""A reply that keeps what it was given."""

import msgspec

from cluster.errors import TrilithError
from metaraft.commands import (
    Batch,
    Envelope,
    Touch,
)
from metaraft.results import (
    Result,
)
from metaraft.wire import decode_commit_answer, encode

_decode_result: msgspec.msgpack.Decoder[Result] = msgspec.msgpack.Decoder(Result)


class Kept:
    """Stands where `cluster.rpc.Reply` stands."""

    def __init__(self) -> None:
        self.body: bytes | None = None
        self.failure: TrilithError | None = None

    def ok(self, body: bytes) -> None:
        """Keep the answer."""
        assert self.open
        self.body = body

    def error(self, error: TrilithError) -> None:
        """Keep the refusal."""
        assert self.open
        self.failure = error

    @property
    def open(self) -> bool:
        """Nothing was answered yet."""
        return self.body is None and self.failure is None

    @property
    def said(self) -> tuple[str, str]:
        """Kind and code of the refusal."""
        assert self.failure is not None
        return self.failure.kind, self.failure.code

    @property
    def result(self) -> Result:
        """The commit's result."""
        assert self.body is not None
        return _decode_result.decode(decode_commit_answer(self.body).result)


def envelope(number: int = 1, padding: int = 0, *, version: int = 1, not_after_ms: int = 1000) -> bytes:
    """An encoded envelope with a key of its own."""
    return encode(Envelope(version, 1, number.to_bytes(16, "big"), not_after_ms, Touch(b"x" * padding)))


def batch_of(data: bytes) -> tuple[int, list[bytes]]:
    """State time and encoded envelopes of a batch."""
    batch = msgspec.msgpack.decode(data, type=Batch)
    return batch.state_time_ms, [bytes(raw) for raw in batch.envelopes]
