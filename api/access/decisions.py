"""Whether a principal may do an action on a resource. Pure; one function, asked before every handler.

Nothing is allowed that is not allowed here. Now: the root key may do everything; a user may list and make buckets, and
do everything with those it owns and with their objects; anybody may ask for health. Policies come below the same
function.

Actions have the names of Amazon's `s3:*` ones (Service Authorization Reference, 'Actions defined by Amazon S3'), but:
ListBuckets (ListAllMyBuckets), ListObjects (ListBucket), GetBucket (ListBucket, asked for by HeadBucket),
Get- and PutBucketConfiguration (those configurations that have no feature yet), and what is the operator's. To
read a copy's source is GetObject or GetObjectVersion.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from cluster.errors import Refused

type ClusterAction = Literal["ListBuckets", "CreateBucket"]
"""What each user may do. They are asked for without an owner."""

type BucketAction = Literal[
    "DeleteBucket",
    "GetBucket",
    "GetBucketAcl",
    "GetBucketConfiguration",
    "GetBucketCORS",
    "GetBucketLocation",
    "GetBucketRequestPayment",
    "GetBucketTagging",
    "GetBucketVersioning",
    "ListBucketMultipartUploads",
    "ListBucketVersions",
    "ListObjects",
    "PutBucketAcl",
    "PutBucketConfiguration",
    "PutBucketCORS",
    "PutBucketRequestPayment",
    "PutBucketTagging",
    "PutBucketVersioning",
]
"""On a bucket."""

type ObjectAction = Literal[
    "AbortMultipartUpload",
    "DeleteObject",
    "DeleteObjectTagging",
    "DeleteObjectVersion",
    "DeleteObjectVersionTagging",
    "GetObject",
    "GetObjectAcl",
    "GetObjectAttributes",
    "GetObjectTagging",
    "GetObjectVersion",
    "GetObjectVersionAttributes",
    "GetObjectVersionTagging",
    "ListMultipartUploadParts",
    "PutObject",
    "PutObjectAcl",
    "PutObjectTagging",
    "PutObjectVersionTagging",
]
"""On an object of a bucket."""

type OperatorAction = Literal["GetStatus", "ManageUsers"]
"""Only root's."""

type PublicAction = Literal["GetHealth"]
"""Anybody's."""

type Action = ClusterAction | BucketAction | ObjectAction | OperatorAction | PublicAction

CLUSTER_ACTIONS: frozenset[str] = frozenset(get_args(ClusterAction.__value__))
OWNER_ACTIONS: frozenset[str] = frozenset(get_args(BucketAction.__value__) + get_args(ObjectAction.__value__))
OPERATOR_ACTIONS: frozenset[str] = frozenset(get_args(OperatorAction.__value__))
PUBLIC_ACTIONS: frozenset[str] = frozenset(get_args(PublicAction.__value__))
ALL_ACTIONS = CLUSTER_ACTIONS | OWNER_ACTIONS | OPERATOR_ACTIONS | PUBLIC_ACTIONS


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `name` is the canonical id, which is recorded as the owner of what is made (root's: its access key);
    `display_name` is for people."""

    name: str
    kind: Literal["root", "user", "anonymous"]
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """What is asked for: a bucket, an object of it, or (both empty) the cluster. `owner` is the canonical id of the
    bucket's owner, empty where it is not known."""

    bucket: str = ""
    key: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What else a decision may rest on: the peer's address as the socket has it, never as a header says."""

    client: str = ""


ANONYMOUS = Principal("", "anonymous")
CLUSTER = Resource()


def decide(principal: Principal, action: Action, resource: Resource, context: Context) -> bool:
    """Whether it is allowed."""
    del context
    match principal.kind:
        case "root":
            return action in ALL_ACTIONS
        case "user":
            if action in OWNER_ACTIONS:
                return resource.owner == principal.name != ""
            return action in CLUSTER_ACTIONS or action in PUBLIC_ACTIONS
        case "anonymous":
            return action in PUBLIC_ACTIONS


def require(principal: Principal, action: Action, resource: Resource, context: Context) -> None:
    """Raises Refused: Unauthorized without a key, AccessDenied with one. Says nothing on what exists."""
    if decide(principal, action, resource, context):
        return
    if principal.kind == "anonymous":
        raise Refused("Unauthorized", "this needs a key: Authorization: Bearer ACCESS:SECRET, or HTTP Basic")
    raise Refused("AccessDenied", f"{principal.display_name or principal.name!r} may not do {action} here")
