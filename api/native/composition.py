"""The native dialect put together over the operations."""

from api.access.credentials import Authenticator
from api.access.gate import Gate
from api.native.buckets import BucketHandlers
from api.native.cursors import Cursors
from api.native.dialect import NativeDialect
from api.native.listings import ListingHandlers
from api.native.objects import ObjectHandlers
from api.native.uploads import UploadHandlers
from api.operations.composition import Operations
from cluster.config import Config


def compose_native(
    config: Config, operations: Operations, authenticator: Authenticator, gate: Gate, cursors: Cursors
) -> NativeDialect:
    """The dialect. Its table says what can be done with what a path names."""
    limits = config.limits
    buckets = BucketHandlers(operations.buckets, cursors, limits, max(1, len(config.chunkd)))
    listings = ListingHandlers(operations.listing, operations.uploads, cursors)
    objects = ObjectHandlers(operations.objects, limits)
    uploads = UploadHandlers(operations.uploads, cursors, limits)
    return NativeDialect(
        authenticator,
        gate,
        {
            "buckets": {"GET": ("ListBuckets", buckets.list_buckets)},
            "bucket": {
                "PUT": ("CreateBucket", buckets.put),
                "GET": ("GetBucket", buckets.get),
                "HEAD": ("GetBucket", buckets.get),
                "DELETE": ("DeleteBucket", buckets.delete),
            },
            "versioning": {
                "GET": ("GetBucketVersioning", buckets.get_versioning),
                "PUT": ("PutBucketVersioning", buckets.put_versioning),
            },
            "listing": {"GET": ("ListObjects", listings.objects)},
            "versions": {"GET": ("ListBucketVersions", listings.versions)},
            "object": {
                "PUT": ("PutObject", objects.put),
                "GET": ("GetObject", objects.get),
                "HEAD": ("GetObject", objects.get),
                "DELETE": ("DeleteObject", objects.delete),
            },
            "uploads": {
                "GET": ("ListBucketMultipartUploads", listings.uploads),
                "POST": ("PutObject", uploads.create),
            },
            "upload": {
                "GET": ("ListMultipartUploadParts", uploads.get),
                "POST": ("PutObject", uploads.complete),
                "DELETE": ("AbortMultipartUpload", uploads.abort),
            },
            "part": {"PUT": ("PutObject", uploads.put_part)},
        },
    )
