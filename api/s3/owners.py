"""Who owns what: the owner that a request expects of a bucket, and owners as XML shows them.

Source: S3, 'Verifying bucket ownership with bucket owner condition'. A condition on the bucket of a copy's source is
checked like that on the request's own.
"""

from api.access.decisions import Principal
from api.operations.buckets import Buckets
from api.operations.calls import Call
from api.s3 import xml
from cluster.errors import Refused

EXPECTED_OWNER = "x-amz-expected-bucket-owner"
EXPECTED_SOURCE_OWNER = "x-amz-source-expected-bucket-owner"


async def require_owner(buckets: Buckets, bucket: str, expected: str | None, call: Call) -> None:
    """Raises Refused (AccessDenied) if a bucket is not `expected`'s; NoSuchBucket. None: nobody is expected."""
    if expected is None:
        return
    found = await buckets.find(bucket, call)
    if found.bucket.owner != expected:
        raise Refused("AccessDenied", f"The bucket {bucket[:80]!r} does not belong to the owner that the request names")


def owner(owner_id: str, asking: Principal, element: str = "Owner") -> str:
    """An owner with its id; the name that goes with it is told of who asks, and of nobody else."""
    name = asking.display_name if owner_id == asking.name and asking.display_name else None
    return xml.group(element, xml.element("ID", owner_id), xml.optional("DisplayName", name))
