"""Who calls, until when, and under which idempotency key: what each operation is given."""

from dataclasses import dataclass, field

import msgspec
from blake3 import blake3

from api.access.decisions import Principal
from cluster.errors import Refused
from metaraft.model import Bucket

_KEY_CONTEXT = "trilith 2026 idempotency key v1"


@dataclass(frozen=True, slots=True)
class Call:
    """One operation's circumstances. `deadline` is trio's clock; `idempotency` the client's own key, if it gave one.

    `trace_id` goes with every message to the other processes. `admitted` are the ids of the buckets that the decision
    over this call rests on, by name; a name that has gone to another bucket since is refused as missing, by reads here
    and by commands at their place in the log.
    """

    principal: Principal
    deadline: float
    trace_id: str
    idempotency: str | None = None
    admitted: dict[str, int] = field(default_factory=dict, compare=False)

    def admit(self, bucket: Bucket) -> None:
        """Note that the call may do what it does in this very bucket."""
        self.admitted[bucket.name] = bucket.bucket_id

    def check(self, bucket: Bucket) -> None:
        """Raises Refused (NoSuchBucket) if a name that was decided on has led to another bucket."""
        if self.admitted.get(bucket.name, bucket.bucket_id) != bucket.bucket_id:
            raise Refused("NoSuchBucket", f"the bucket {bucket.name!r} was removed meanwhile, and made anew")

    def commit_key(self, operation: str, bucket: str, key: str, content: object) -> bytes | None:
        """The command's key when the client gave one, else None (each request is then a new attempt).

        It is scoped to the principal, the operation and its names; `content` is all else that makes the request
        what it is, so that a key used again for something else does not return the wrong result. A commit that was
        unavailable is tried again under the same key: a retry of the request must find it, if it succeeded at last.
        """
        if self.idempotency is None:
            return None
        facts = (self.principal.name, operation, bucket, key, self.idempotency, content)
        return blake3(msgspec.msgpack.encode(facts), derive_key_context=_KEY_CONTEXT).digest(16)
