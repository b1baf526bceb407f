"""All handlers of objects and uploads, by the names that the table has for their operations."""

from collections.abc import Mapping

from api.access.gate import Gate
from api.operations.composition import Operations
from api.s3.attributes import AttributesHandler
from api.s3.copies import CopyHandler
from api.s3.deletes import DeletesHandler
from api.s3.dialect import Handler
from api.s3.downloads import DownloadHandlers
from api.s3.object_settings import ObjectSettingHandlers
from api.s3.objects import ObjectHandlers
from api.s3.parts import PartHandlers
from api.s3.uploads import UploadHandlers
from api.s3.waiting import LongAnswers
from cluster.limits import Limits


def object_handlers(
    operations: Operations, gate: Gate, limits: Limits, answers: LongAnswers, domains: tuple[str, ...]
) -> Mapping[str, Handler]:
    """The handlers over these operations. `answers` must run; `domains` are those of virtual-host style."""
    objects = ObjectHandlers(operations.objects, limits)
    downloads = DownloadHandlers(operations.objects)
    settings = ObjectSettingHandlers(operations.objects)
    uploads = UploadHandlers(operations.uploads, operations.objects, limits, answers, domains)
    parts = PartHandlers(operations.uploads, operations.buckets, gate, limits, answers)
    return {
        "PutObject": objects.put,
        "CopyObject": CopyHandler(operations.objects, operations.buckets, gate, limits, answers).put,
        "GetObject": downloads.get,
        "HeadObject": downloads.get,
        "DeleteObject": objects.delete,
        "DeleteObjects": DeletesHandler(operations.objects, gate).post,
        "GetObjectAttributes": AttributesHandler(operations.objects).get,
        "GetObjectTagging": settings.get_tagging,
        "PutObjectTagging": settings.put_tagging,
        "DeleteObjectTagging": settings.delete_tagging,
        "GetObjectAcl": settings.get_acl,
        "PutObjectAcl": settings.put_acl,
        "CreateMultipartUpload": uploads.create,
        "UploadPart": parts.put,
        "UploadPartCopy": parts.copy,
        "CompleteMultipartUpload": uploads.complete,
        "AbortMultipartUpload": uploads.abort,
        "ListParts": uploads.list_parts,
    }
