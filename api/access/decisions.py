"""Whether a principal may do an action on a resource. Pure; one function, asked before every handler.

Nothing is allowed that is not allowed here. Now: the root key may do everything, anybody may ask for health.
Policies come below the same function.
"""

from dataclasses import dataclass
from typing import Literal

from cluster.errors import Refused

type Action = Literal[
    "ListBuckets",
    "CreateBucket",
    "DeleteBucket",
    "GetBucket",
    "ListObjects",
    "GetObject",
    "PutObject",
    "DeleteObject",
    "GetStatus",
    "GetHealth",
]

ROOT_ACTIONS = frozenset[Action](
    {
        "ListBuckets",
        "CreateBucket",
        "DeleteBucket",
        "GetBucket",
        "ListObjects",
        "GetObject",
        "PutObject",
        "DeleteObject",
        "GetStatus",
        "GetHealth",
    }
)
ANONYMOUS_ACTIONS = frozenset[Action]({"GetHealth"})


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `name` is the access key."""

    name: str
    kind: Literal["root", "anonymous"]


@dataclass(frozen=True, slots=True)
class Resource:
    """What is asked for: a bucket, an object of it, or (both empty) the cluster."""

    bucket: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What else a decision may rest on: the peer's address as the socket has it, never as a header says."""

    client: str = ""


ANONYMOUS = Principal("", "anonymous")
CLUSTER = Resource()


def decide(principal: Principal, action: Action, resource: Resource, context: Context) -> bool:
    """Whether it is allowed."""
    del resource, context
    match principal.kind:
        case "root":
            return action in ROOT_ACTIONS
        case "anonymous":
            return action in ANONYMOUS_ACTIONS


def require(principal: Principal, action: Action, resource: Resource, context: Context) -> None:
    """Raises Refused: Unauthorized without a key, AccessDenied with one. Says nothing on what exists."""
    if decide(principal, action, resource, context):
        return
    if principal.kind == "anonymous":
        raise Refused("Unauthorized", "this needs a key: Authorization: Bearer ACCESS:SECRET, or HTTP Basic")
    raise Refused("AccessDenied", f"the key {principal.name!r} may not do {action}")
