"""boto3, old or current: buckets, objects, listings by pages, versions, tags, uploads by hand, waiters, resources."""

import datetime
import hashlib
from typing import Any

from tests.clients.scenarios.aws import bucket, client, found, keys, refused, resource
from tests.clients.scenarios.steps import KEYS, MIB, content, new_name, run

s3 = client()


def buckets() -> None:
    """A bucket is made, waited for, shown, refused a second time and while it is full, and is gone at the end."""
    name = new_name("buckets")
    refused("404", s3.head_bucket, Bucket=name)
    refused("NoSuchBucket", s3.list_objects_v2, Bucket=name)
    s3.create_bucket(Bucket=name)
    s3.get_waiter("bucket_exists").wait(Bucket=name)
    assert name in [entry["Name"] for entry in s3.list_buckets()["Buckets"]]
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] is None
    s3.put_object(Bucket=name, Key="full", Body=b"x")
    refused("BucketNotEmpty", s3.delete_bucket, Bucket=name)
    s3.delete_object(Bucket=name, Key="full")
    s3.delete_bucket(Bucket=name)
    s3.get_waiter("bucket_not_exists").wait(Bucket=name)
    refused("InvalidBucketName", s3.create_bucket, Bucket="UPPER")


def objects() -> None:
    """What was put is what is got: bytes, headers, metadata, ETag; whole, in ranges, on conditions; under any key."""
    with bucket(s3, "objects") as name:
        for number, key in enumerate(KEYS):
            body = content(number * 1000, number)
            headers = {"ContentType": "text/x-test", "CacheControl": "no-store", "ContentLanguage": "da"}
            put = s3.put_object(Bucket=name, Key=key, Body=body, Metadata={"from": "boto3"}, **headers)
            assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"', put
            got = s3.get_object(Bucket=name, Key=key)
            assert got["Body"].read() == body
            assert got["Metadata"] == {"from": "boto3"}
            assert {header: got[header] for header in headers} == headers
            assert got["ETag"] == put["ETag"]
            age = datetime.datetime.now(datetime.UTC) - got["LastModified"]
            assert abs(age.total_seconds()) < 600
        assert keys(s3, name) == sorted(KEYS, key=str.encode)
        _read_in_part(name)
        s3.delete_object(Bucket=name, Key="plain")
        s3.delete_object(Bucket=name, Key="plain")
        refused("NoSuchKey", s3.get_object, Bucket=name, Key="plain")
        refused("404", s3.head_object, Bucket=name, Key="plain")
        s3.get_waiter("object_not_exists").wait(Bucket=name, Key="plain")


def _read_in_part(name: str) -> None:
    at = {"Bucket": name, "Key": "parts of it"}
    body = content(3 * MIB, 1)
    etag = s3.put_object(Body=body, **at)["ETag"]
    s3.get_waiter("object_exists").wait(**at)
    ranges = {"bytes=0-0": body[:1], "bytes=5-1048580": body[5:1048581], "bytes=-7": body[-7:], "bytes=9-": body[9:]}
    for said, expected in ranges.items():
        got = s3.get_object(Range=said, **at)
        assert got["Body"].read() == expected
        assert got["ContentRange"].endswith(f"/{len(body)}")
    refused("InvalidRange", s3.get_object, Range=f"bytes={len(body)}-", **at)
    then = s3.head_object(**at)["LastModified"]
    assert s3.get_object(IfMatch=etag, IfUnmodifiedSince=then, **at)["ContentLength"] == len(body)
    refused("304", s3.get_object, IfNoneMatch=etag, **at)
    refused("304", s3.head_object, IfModifiedSince=then, **at)
    refused("PreconditionFailed", s3.get_object, IfMatch='"other"', **at)
    shown = s3.get_object(ResponseContentType="text/plain", ResponseContentDisposition='attachment; name="å"', **at)
    assert shown["ContentType"] == "text/plain"


def copies() -> None:
    """A copy has the source's bytes, and its metadata and tags or those that are given; a source can be a version."""
    with bucket(s3, "source") as source, bucket(s3, "target") as target:
        body, key = content(6 * MIB), KEYS[3]
        put = s3.put_object(Bucket=source, Key=key, Body=body, Metadata={"a": "1"}, Tagging="tag=one")
        at = {"Bucket": target, "CopySource": {"Bucket": source, "Key": key}}
        assert s3.copy_object(Key="as it is", **at)["CopyObjectResult"]["ETag"] == put["ETag"]
        s3.copy_object(Key="changed", MetadataDirective="REPLACE", Metadata={"b": "2"}, ContentType="text/plain", **at)
        assert s3.head_object(Bucket=target, Key="as it is")["Metadata"] == {"a": "1"}
        changed = s3.get_object(Bucket=target, Key="changed")
        assert (changed["Metadata"], changed["ContentType"]) == ({"b": "2"}, "text/plain")
        assert changed["Body"].read() == body
        assert s3.get_object_tagging(Bucket=target, Key="changed")["TagSet"] == [{"Key": "tag", "Value": "one"}]
        refused("PreconditionFailed", s3.copy_object, Key="x", CopySourceIfMatch='"other"', **at)
        refused("InvalidRequest", s3.copy_object, Bucket=source, Key=key, CopySource={"Bucket": source, "Key": key})
        refused("NoSuchKey", s3.copy_object, Bucket=target, Key="x", CopySource={"Bucket": source, "Key": "none"})


def listings() -> None:
    """Pages of both versions of the call agree, whatever their size; a delimiter folds; deletion takes many at once."""
    with bucket(s3, "listings") as name:
        made = sorted([f"{letter}/{number:02}" for letter in "abc" for number in range(7)] + ["a", "b!", "z"])
        for key in made:
            s3.put_object(Bucket=name, Key=key, Body=key.encode())
        for size in (1, 4, 1000):
            assert keys(s3, name, PaginationConfig={"PageSize": size}) == made
            for call in ("list_objects", "list_objects_v2"):
                at = {"Bucket": name, "Delimiter": "/", "PaginationConfig": {"PageSize": size}}
                assert found(s3, call, "CommonPrefixes[].Prefix", **at) == ["a/", "b/", "c/"]
                assert found(s3, call, "Contents[].Key", **at) == ["a", "b!", "z"]
        assert keys(s3, name, Prefix="b/", StartAfter="b/04") == ["b/05", "b/06"]
        owners = s3.list_objects_v2(Bucket=name, FetchOwner=True, MaxKeys=1)["Contents"]
        assert owners[0]["Owner"]["ID"]
        assert owners[0]["Size"] == 1
        gone = {"Objects": [{"Key": key} for key in [*made[:20], "never there"]], "Quiet": True}
        assert "Deleted" not in s3.delete_objects(Bucket=name, Delete=gone)
        assert keys(s3, name) == made[20:]


def versions() -> None:
    """Every version stays readable; deletion marks, and taking the mark away brings back what was before."""
    with bucket(s3, "versions") as name:
        at = {"Bucket": name, "Key": KEYS[3]}
        s3.put_object(Body=b"null", **at)
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
        ids = [s3.put_object(Body=body, **at)["VersionId"] for body in (b"one", b"two")]
        marker = s3.delete_object(**at)
        assert marker["DeleteMarker"] is True
        refused("NoSuchKey", s3.get_object, **at)
        refused("MethodNotAllowed", s3.get_object, VersionId=marker["VersionId"], **at)
        for version, body in (("null", b"null"), (ids[0], b"one"), (ids[1], b"two")):
            assert s3.get_object(VersionId=version, **at)["Body"].read() == body
        listed = {"Bucket": name, "PaginationConfig": {"PageSize": 1}}
        assert found(s3, "list_object_versions", "Versions[].VersionId", **listed) == [ids[1], ids[0], "null"]
        assert found(s3, "list_object_versions", "DeleteMarkers[].IsLatest", **listed) == [True]
        s3.delete_object(VersionId=marker["VersionId"], **at)
        assert s3.get_object(**at)["Body"].read() == b"two"
        s3.delete_object(VersionId=ids[1], **at)
        assert s3.get_object(**at)["Body"].read() == b"one"
        copied = s3.copy_object(Bucket=name, Key="copy", CopySource={**at, "VersionId": "null"})
        assert copied["CopySourceVersionId"] == "null"
        assert s3.get_object(Bucket=name, Key="copy")["Body"].read() == b"null"
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
        s3.put_object(Body=b"new null", **at)
        assert s3.get_object(VersionId="null", **at)["Body"].read() == b"new null"
        refused("NoSuchVersion", s3.get_object, VersionId=ids[1], **at)


def tags() -> None:
    """Tags of objects, by header and by call, and of buckets."""
    with bucket(s3, "tags") as name:
        at = {"Bucket": name, "Key": "tagged"}
        s3.put_object(Body=b"x", Tagging="a=1&b=%C3%A5+%2B", **at)
        assert s3.get_object(**at)["TagCount"] == 2
        assert s3.get_object_tagging(**at)["TagSet"] == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "å +"}]
        s3.put_object_tagging(Tagging={"TagSet": [{"Key": "c", "Value": ""}]}, **at)
        assert s3.get_object_tagging(**at)["TagSet"] == [{"Key": "c", "Value": ""}]
        s3.delete_object_tagging(**at)
        assert s3.get_object_tagging(**at)["TagSet"] == []
        refused("NoSuchTagSet", s3.get_bucket_tagging, Bucket=name)
        s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": "team", "Value": "ø"}]})
        assert s3.get_bucket_tagging(Bucket=name)["TagSet"] == [{"Key": "team", "Value": "ø"}]
        s3.delete_bucket_tagging(Bucket=name)
        refused("NoSuchTagSet", s3.get_bucket_tagging, Bucket=name)


def settings() -> None:
    """CORS is kept as given; what is not configured says so; what is not there is refused, not ignored."""
    with bucket(s3, "settings") as name:
        refused("NoSuchCORSConfiguration", s3.get_bucket_cors, Bucket=name)
        rule = {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"], "AllowedHeaders": ["*"], "MaxAgeSeconds": 5}
        s3.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": [rule]})
        assert s3.get_bucket_cors(Bucket=name)["CORSRules"] == [rule]
        s3.delete_bucket_cors(Bucket=name)
        refused("NoSuchCORSConfiguration", s3.get_bucket_cors, Bucket=name)
        refused("NoSuchLifecycleConfiguration", s3.get_bucket_lifecycle_configuration, Bucket=name)
        refused("NoSuchBucketPolicy", s3.get_bucket_policy, Bucket=name)
        refused("NotImplemented", s3.put_bucket_website, Bucket=name, WebsiteConfiguration={})
        assert s3.get_bucket_request_payment(Bucket=name)["Payer"] == "BucketOwner"
        assert s3.get_bucket_acl(Bucket=name)["Grants"][0]["Permission"] == "FULL_CONTROL"
        refused("AccessControlListNotSupported", s3.put_object_acl, Bucket=name, Key="x", ACL="public-read")
        refused("NotImplemented", s3.put_object, Bucket=name, Key="x", Body=b"", ServerSideEncryption="AES256")


def uploads() -> None:
    """An upload by hand: parts in any order, one again, one copied; listed by pages, made whole, or ended."""
    with bucket(s3, "uploads") as name:
        at = {"Bucket": name, "Key": KEYS[3]}
        bodies = [content(5 * MIB, 1), content(6 * MIB, 2), content(1000, 3)]
        s3.put_object(Bucket=name, Key="source", Body=content(9 * MIB, 9))
        upload = s3.create_multipart_upload(ContentType="text/x-test", Metadata={"m": "1"}, **at)["UploadId"]
        s3.upload_part(PartNumber=3, Body=bodies[2], UploadId=upload, **at)
        s3.upload_part(PartNumber=1, Body=b"to be replaced", UploadId=upload, **at)
        s3.upload_part(PartNumber=1, Body=bodies[0], UploadId=upload, **at)
        span, source = f"bytes=7-{5 * MIB + 6}", {"Bucket": name, "Key": "source"}
        s3.upload_part_copy(PartNumber=2, CopySource=source, CopySourceRange=span, UploadId=upload, **at)
        bodies[1] = content(9 * MIB, 9)[7 : 5 * MIB + 7]
        entry = "Parts[].{PartNumber: PartNumber, ETag: ETag}"
        parts = found(s3, "list_parts", entry, UploadId=upload, PaginationConfig={"PageSize": 2}, **at)
        assert [part["PartNumber"] for part in parts] == [1, 2, 3]
        refused("404", s3.head_object, **at)
        made = s3.complete_multipart_upload(UploadId=upload, MultipartUpload={"Parts": parts}, **at)
        digests = b"".join(hashlib.md5(body).digest() for body in bodies)
        assert made["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"', made
        again = s3.complete_multipart_upload(UploadId=upload, MultipartUpload={"Parts": parts}, **at)
        assert again["ETag"] == made["ETag"]
        got = s3.get_object(**at)
        assert got["Body"].read() == b"".join(bodies)
        assert (got["ContentType"], got["Metadata"]) == ("text/x-test", {"m": "1"})
        assert s3.get_object(PartNumber=2, **at)["Body"].read() == bodies[1]
        _uploads_under_way(name)


def _uploads_under_way(name: str) -> None:
    begun = [s3.create_multipart_upload(Bucket=name, Key=key)["UploadId"] for key in ("a", "a", "b", "c/d")]
    pages = {"Bucket": name, "PaginationConfig": {"PageSize": 1}}
    assert found(s3, "list_multipart_uploads", "Uploads[].UploadId", **pages) == begun
    at: dict[str, Any] = {"Bucket": name, "Key": "a", "UploadId": begun[0]}
    small = [s3.upload_part(PartNumber=number, Body=b"small", **at)["ETag"] for number in (1, 2)]
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(small, 1)]
    refused("EntityTooSmall", s3.complete_multipart_upload, MultipartUpload={"Parts": parts}, **at)
    refused("InvalidPartOrder", s3.complete_multipart_upload, MultipartUpload={"Parts": parts[::-1]}, **at)
    parts[0] = {"PartNumber": 1, "ETag": '"00000000000000000000000000000000"'}
    refused("InvalidPart", s3.complete_multipart_upload, MultipartUpload={"Parts": parts}, **at)
    s3.abort_multipart_upload(**at)
    refused("NoSuchUpload", s3.list_parts, **at)
    refused("NoSuchUpload", s3.upload_part, PartNumber=1, Body=b"late", **at)


def resources() -> None:
    """The resource interface: collections, filters, objects, versions, deletion of all that was found."""
    name = new_name("resources")
    whole = resource().Bucket(name)
    whole.create()
    whole.wait_until_exists()
    assert whole in list(resource().buckets.all())
    whole.Versioning().enable()
    for number in range(5):
        whole.put_object(Key=f"in/{number}", Body=content(number))
    whole.Object("out").put(Body=b"out", Metadata={"m": "1"})
    assert [entry.key for entry in whole.objects.filter(Prefix="in/").page_size(2)] == [f"in/{n}" for n in range(5)]
    one = resource().Object(name, "out")
    assert (one.content_length, one.metadata, one.get()["Body"].read()) == (3, {"m": "1"}, b"out")
    one.copy_from(CopySource={"Bucket": name, "Key": "in/4"})
    one.reload()
    assert one.content_length == 4
    one.delete()
    whole.objects.filter(Prefix="in/").delete()
    assert list(whole.objects.all()) == []
    assert len(list(whole.object_versions.all())) == 5 + 2 + 6
    whole.object_versions.delete()
    whole.delete()
    whole.wait_until_not_exists()


if __name__ == "__main__":
    run((buckets, objects, copies, listings, versions, tags, settings, uploads, resources))
