"""The operations of S3 that are still to come: the part of the table that is refused, or says that nothing is there.

Of a bucket's configuration that cannot be made yet it is true that there is none: GET says so in S3's words, and DELETE
finds nothing to do. All else is refused as not implemented.
"""

from api.access.decisions import Action
from api.s3.operation import Operation, Target

_READ: Action = "GetBucketConfiguration"
_WRITE: Action = "PutBucketConfiguration"


def _unconfigured(
    noun: str,
    query: str,
    *,
    error: str = "",
    document: str = "",
    delete: str = "",
    listed: tuple[str, str] | None = None,
) -> list[Operation]:
    """A bucket configuration that is still to come: GET says that there is none, PUT is refused, DELETE finds nothing.

    GET answers with an `error` or an empty `document`. `listed`: there may be many, told apart by `id`; GET without an
    id is the operation of that name, which answers with that document.
    """
    which = () if listed is None else ("id",)
    codes = (error,) if error else ()
    found = [
        _none(f"Get{noun}", "GET", query, *which, none=error or document, errors=codes),
        Operation(f"Put{noun}", "PUT", "bucket", _WRITE, (query,), parameters=which, support="not implemented"),
    ]
    if delete:
        found.append(_none(delete, "DELETE", query, parameters=which))
    if listed is not None:
        name, root = listed
        found.append(_none(name, "GET", query, none=root, parameters=("continuation-token",)))
    return found


def _none(
    name: str,
    method: str,
    *query: str,
    none: str = "",
    parameters: tuple[str, ...] = (),
    errors: tuple[str, ...] = (),
) -> Operation:
    action = _WRITE if method == "DELETE" else _READ
    return Operation(
        name,
        method,
        "bucket",
        action,
        query,
        parameters=parameters,
        errors=("NoSuchBucket", *errors),
        support="none configured",
        none=none,
    )


def _unsupported(name: str, method: str, target: Target, *query: str) -> Operation:
    action = _READ if method == "GET" else _WRITE
    return Operation(name, method, target, action, query, support="not implemented")


ABSENT: tuple[Operation, ...] = (
    # ---- configurations that are still to come
    *_unconfigured("BucketPolicy", "policy", error="NoSuchBucketPolicy", delete="DeleteBucketPolicy"),
    _none("GetBucketPolicyStatus", "GET", "policyStatus", none="NoSuchBucketPolicy", errors=("NoSuchBucketPolicy",)),
    *_unconfigured(
        "BucketLifecycleConfiguration",
        "lifecycle",
        error="NoSuchLifecycleConfiguration",
        delete="DeleteBucketLifecycle",
    ),
    *_unconfigured("BucketNotificationConfiguration", "notification", document="NotificationConfiguration"),
    *_unconfigured(
        "BucketEncryption",
        "encryption",
        error="ServerSideEncryptionConfigurationNotFoundError",
        delete="DeleteBucketEncryption",
    ),
    *_unconfigured("BucketLogging", "logging", document="BucketLoggingStatus"),
    *_unconfigured("BucketWebsite", "website", error="NoSuchWebsiteConfiguration", delete="DeleteBucketWebsite"),
    *_unconfigured(
        "BucketReplication",
        "replication",
        error="ReplicationConfigurationNotFoundError",
        delete="DeleteBucketReplication",
    ),
    *_unconfigured("BucketAccelerateConfiguration", "accelerate", document="AccelerateConfiguration"),
    *_unconfigured(
        "BucketAnalyticsConfiguration",
        "analytics",
        error="NoSuchConfiguration",
        delete="DeleteBucketAnalyticsConfiguration",
        listed=("ListBucketAnalyticsConfigurations", "ListBucketAnalyticsConfigurationResult"),
    ),
    *_unconfigured(
        "BucketIntelligentTieringConfiguration",
        "intelligent-tiering",
        error="NoSuchConfiguration",
        delete="DeleteBucketIntelligentTieringConfiguration",
        listed=("ListBucketIntelligentTieringConfigurations", "ListBucketIntelligentTieringConfigurationsOutput"),
    ),
    *_unconfigured(
        "BucketInventoryConfiguration",
        "inventory",
        error="NoSuchConfiguration",
        delete="DeleteBucketInventoryConfiguration",
        listed=("ListBucketInventoryConfigurations", "ListInventoryConfigurationsResult"),
    ),
    *_unconfigured(
        "BucketMetricsConfiguration",
        "metrics",
        error="NoSuchConfiguration",
        delete="DeleteBucketMetricsConfiguration",
        listed=("ListBucketMetricsConfigurations", "ListMetricsConfigurationsResult"),
    ),
    *_unconfigured(
        "PublicAccessBlock",
        "publicAccessBlock",
        error="NoSuchPublicAccessBlockConfiguration",
        delete="DeletePublicAccessBlock",
    ),
    *_unconfigured("ObjectLockConfiguration", "object-lock", error="ObjectLockConfigurationNotFoundError"),
    _unsupported("PutBucketOwnershipControls", "PUT", "bucket", "ownershipControls"),
    _unsupported("DeleteBucketOwnershipControls", "DELETE", "bucket", "ownershipControls"),
    _unsupported("GetBucketAbac", "GET", "bucket", "abac"),
    _unsupported("PutBucketAbac", "PUT", "bucket", "abac"),
    _unsupported("CreateBucketMetadataConfiguration", "POST", "bucket", "metadataConfiguration"),
    _unsupported("GetBucketMetadataConfiguration", "GET", "bucket", "metadataConfiguration"),
    _unsupported("DeleteBucketMetadataConfiguration", "DELETE", "bucket", "metadataConfiguration"),
    _unsupported("CreateBucketMetadataTableConfiguration", "POST", "bucket", "metadataTable"),
    _unsupported("GetBucketMetadataTableConfiguration", "GET", "bucket", "metadataTable"),
    _unsupported("DeleteBucketMetadataTableConfiguration", "DELETE", "bucket", "metadataTable"),
    _unsupported("UpdateBucketMetadataInventoryTableConfiguration", "PUT", "bucket", "metadataInventoryTable"),
    _unsupported("UpdateBucketMetadataJournalTableConfiguration", "PUT", "bucket", "metadataJournalTable"),
    # ---- calls that are still to come
    _unsupported("CreateSession", "GET", "bucket", "session"),
    _unsupported("GetObjectLegalHold", "GET", "object", "legal-hold"),
    _unsupported("PutObjectLegalHold", "PUT", "object", "legal-hold"),
    _unsupported("GetObjectRetention", "GET", "object", "retention"),
    _unsupported("PutObjectRetention", "PUT", "object", "retention"),
    _unsupported("GetObjectTorrent", "GET", "object", "torrent"),
    _unsupported("RenameObject", "PUT", "object", "renameObject"),
    _unsupported("RestoreObject", "POST", "object", "restore"),
    _unsupported("SelectObjectContent", "POST", "object", "select"),
    _unsupported("UpdateObjectEncryption", "PUT", "object", "encryption"),
)
