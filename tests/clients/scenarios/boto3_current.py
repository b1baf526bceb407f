"""boto3 of today: checksums of all kinds, by default and by name, conditional writes, attributes, pages of buckets.

Over HTTPS it sends the checksums of objects in trailers, over HTTP in headers.
"""

import base64
import hashlib
import io
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.clients.scenarios.aws import bucket, client, found, refused
from tests.clients.scenarios.steps import MIB, content, run

KINDS = {
    "CRC32": ("COMPOSITE", "FULL_OBJECT"),
    "CRC32C": ("COMPOSITE", "FULL_OBJECT"),
    "CRC64NVME": ("FULL_OBJECT",),
    "SHA1": ("COMPOSITE",),
    "SHA256": ("COMPOSITE",),
}
IN_PARTS = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)

s3 = client()


def checksums_by_default() -> None:
    """Nothing is asked for: the client sends a checksum with all that it puts, and checks what it gets."""
    with bucket(s3, "default") as name:
        body = content(9 * MIB)
        put = s3.put_object(Bucket=name, Key="seekable", Body=body)
        shown = {key: value for key, value in put.items() if key.startswith("Checksum")}
        assert shown.pop("ChecksumType") == "FULL_OBJECT"
        assert list(shown) in (["ChecksumCRC32"], ["ChecksumCRC64NVME"]), put
        got = s3.get_object(Bucket=name, Key="seekable")
        assert {key: got[key] for key in shown} == shown
        assert got["Body"].read() == body
        s3.upload_fileobj(io.BytesIO(body), name, "in parts", Config=IN_PARTS)
        head = s3.head_object(Bucket=name, Key="in parts", ChecksumMode="ENABLED")
        assert [key for key in head if key.startswith("ChecksumCRC")], head
        listed = {entry["Key"]: entry for entry in s3.list_objects_v2(Bucket=name)["Contents"]}
        assert listed["seekable"]["ChecksumAlgorithm"] == [next(iter(shown)).removeprefix("Checksum")]


def checksums_by_name() -> None:
    """Each kind is computed alike on both sides, shown when it is asked for, and refused when it is wrong."""
    with bucket(s3, "checksums") as name:
        body = content(6 * MIB, 6)
        for algorithm in KINDS:
            field, at = f"Checksum{algorithm}", {"Bucket": name, "Key": algorithm}
            put = s3.put_object(Body=body, ChecksumAlgorithm=algorithm, **at)
            known = {"CRC32": zlib.crc32(body).to_bytes(4), "SHA1": hashlib.sha1(body).digest()}
            known["SHA256"] = hashlib.sha256(body).digest()
            assert base64.b64decode(put[field]) == known.get(algorithm, base64.b64decode(put[field]))
            assert s3.get_object(ChecksumMode="ENABLED", **at)["Body"].read() == body
            assert s3.head_object(ChecksumMode="ENABLED", **at)[field] == put[field]
            wrong = base64.b64encode(bytes(len(base64.b64decode(put[field])))).decode()
            refused("BadDigest", s3.put_object, Bucket=name, Key="wrong", Body=body, **{field: wrong})
            refused("InvalidRequest", s3.put_object, Bucket=name, Key="wrong", Body=body, **{field: "AA=="})
            copied = s3.copy_object(Bucket=name, Key="copy", CopySource=at)
            assert copied["CopyObjectResult"][field] == put[field], copied
        assert "wrong" not in found(s3, "list_objects_v2", "Contents[].Key", Bucket=name)
        source = {"Bucket": name, "Key": "SHA256"}
        renamed = s3.copy_object(Bucket=name, Key="copy", CopySource=source, ChecksumAlgorithm="CRC32C")
        assert "ChecksumCRC32C" in renamed["CopyObjectResult"], renamed


def checksums_of_uploads() -> None:
    """Composite where parts' checksums are digested again, of the full object where they can be combined."""
    with bucket(s3, "uploads") as name:
        bodies = [content(5 * MIB, 1), content(1 * MIB, 2)]
        for algorithm, kinds in KINDS.items():
            for kind in kinds:
                _upload(name, algorithm, kind, bodies)
        refused("InvalidRequest", s3.create_multipart_upload, Bucket=name, Key="x", **_kind("SHA1", "FULL_OBJECT"))


def _kind(algorithm: str, kind: str) -> dict[str, str]:
    return {"ChecksumAlgorithm": algorithm, "ChecksumType": kind}


def _upload(name: str, algorithm: str, kind: str, bodies: list[bytes]) -> None:
    field, at = f"Checksum{algorithm}", {"Bucket": name, "Key": f"{algorithm} {kind}"}
    begun = s3.create_multipart_upload(**_kind(algorithm, kind), **at)
    assert (begun["ChecksumAlgorithm"], begun["ChecksumType"]) == (algorithm, kind)
    at["UploadId"] = begun["UploadId"]
    stored = [
        s3.upload_part(PartNumber=number, Body=body, ChecksumAlgorithm=algorithm, **at)
        for number, body in enumerate(bodies, 1)
    ]
    parts = [{"PartNumber": n, "ETag": part["ETag"], field: part[field]} for n, part in enumerate(stored, 1)]
    listed = s3.list_parts(**at)
    assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == (algorithm, kind)
    assert [part[field] for part in listed["Parts"]] == [part[field] for part in stored]
    swapped = [{**part, field: other[field]} for part, other in zip(parts, parts[::-1], strict=True)]
    refused("InvalidPart", s3.complete_multipart_upload, MultipartUpload={"Parts": swapped}, **at)
    made = s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, ChecksumType=kind, **at)
    whole = s3.put_object(Bucket=name, Key="whole", Body=b"".join(bodies), ChecksumAlgorithm=algorithm)[field]
    assert made["ChecksumType"] == kind
    assert (made[field] == whole) if kind == "FULL_OBJECT" else made[field].endswith("-2"), made
    got = s3.get_object(Bucket=name, Key=at["Key"], ChecksumMode="ENABLED")
    assert (got[field], got["Body"].read()) == (made[field], b"".join(bodies))
    wanted = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    facts = s3.get_object_attributes(Bucket=name, Key=at["Key"], ObjectAttributes=wanted)
    assert facts["ObjectSize"] == sum(map(len, bodies))
    assert facts["Checksum"]["ChecksumType"] == kind
    assert facts["Checksum"][field] == made[field].partition("-")[0]  # without the number of parts, here alone
    assert facts["ObjectParts"]["TotalPartsCount"] == 2


def conditional_writes() -> None:
    """A write on a condition that is not met does not happen; of many at once that create, one does."""
    with bucket(s3, "conditions") as name:
        at = {"Bucket": name, "Key": "once"}
        refused("NoSuchKey", s3.put_object, Body=b"x", IfMatch='"0"', **at)
        with ThreadPoolExecutor(8) as threads:
            outcomes = list(threads.map(lambda number: _created(at, number), range(8)))
        assert outcomes.count("") == 1, outcomes
        assert set(outcomes) == {"", "PreconditionFailed"}, outcomes
        etag = s3.head_object(**at)["ETag"]
        second = s3.put_object(Body=b"second", IfMatch=etag, **at)["ETag"]
        refused("PreconditionFailed", s3.put_object, Body=b"third", IfMatch=etag, **at)
        refused("PreconditionFailed", s3.copy_object, CopySource=at, MetadataDirective="REPLACE", IfMatch=etag, **at)
        upload = s3.create_multipart_upload(**at)["UploadId"]
        part = {"PartNumber": 1, "ETag": s3.upload_part(PartNumber=1, Body=b"x", UploadId=upload, **at)["ETag"]}
        ends: dict[str, Any] = {"UploadId": upload, "MultipartUpload": {"Parts": [part]}, **at}
        refused("PreconditionFailed", s3.complete_multipart_upload, IfNoneMatch="*", **ends)
        s3.complete_multipart_upload(IfMatch=second, **ends)
        refused("PreconditionFailed", s3.delete_object, IfMatch=second, **at)
        s3.delete_object(IfMatch=s3.head_object(**at)["ETag"], **at)


def _created(at: dict[str, str], number: int) -> str:
    try:
        s3.put_object(Body=b"%d" % number, IfNoneMatch="*", **at)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def pages_of_buckets() -> None:
    """Buckets are listed by pages and by prefix."""
    with bucket(s3, "paged-a") as one, bucket(s3, "paged-b") as two:
        pages = {"Prefix": "paged-", "PaginationConfig": {"PageSize": 1}}
        assert {one, two} <= set(found(s3, "list_buckets", "Buckets[].Name", **pages))


def not_there_yet() -> None:
    """What is not there is refused in words, never ignored."""
    with bucket(s3, "refused") as name:
        at = {"Bucket": name, "Key": "x"}
        select = {"Expression": "select * from s3object", "ExpressionType": "SQL"}
        forms: Any = {"InputSerialization": {"CSV": {}}, "OutputSerialization": {"CSV": {}}}
        s3.put_object(Body=b"a,b\n", **at)
        refused("NotImplemented", s3.select_object_content, **select, **forms, **at)
        refused("NotImplemented", s3.put_object, Body=b"", WriteOffsetBytes=4, **at)
        refused("NotImplemented", s3.put_object_legal_hold, LegalHold={"Status": "ON"}, **at)
        refused(
            "NotImplemented", s3.put_bucket_encryption, Bucket=name, ServerSideEncryptionConfiguration={"Rules": []}
        )


if __name__ == "__main__":
    run(
        (
            checksums_by_default,
            checksums_by_name,
            checksums_of_uploads,
            conditional_writes,
            pages_of_buckets,
            not_there_yet,
        )
    )
