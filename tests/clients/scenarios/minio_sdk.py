"""MinIO's SDK: buckets, objects in one piece and in parts, streams, versions, tags, links, forms, composition."""

import io
import os
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.commonconfig import ENABLED, ComposeSource, CopySource, Tags
from minio.datatypes import PostPolicy
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from minio.versioningconfig import VersioningConfig

from tests.clients.scenarios import steps
from tests.clients.scenarios.steps import KEYS, MIB, content, new_name, run

ENDPOINT = urlsplit(sys.argv[1])

client = Minio(
    endpoint=ENDPOINT.netloc,
    access_key=os.environ["AWS_ACCESS_KEY_ID"],
    secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    secure=ENDPOINT.scheme == "https",
)
http = urllib3.PoolManager(ca_certs=os.environ.get("SSL_CERT_FILE"))
names = [key for key in KEYS if "/../" not in key]  # which it refuses itself


def refused(code: str, call: Any, **parameters: Any) -> None:
    """The call is refused with S3's error code."""
    steps.refused(code, lambda: call(**parameters), kinds=S3Error)


def made(purpose: str) -> str:
    """A new bucket."""
    name = new_name(purpose)
    client.make_bucket(bucket_name=name)
    return name


def read(name: str, key: str, **parameters: Any) -> bytes:
    """An object's bytes."""
    answer = client.get_object(bucket_name=name, object_name=key, **parameters)
    try:
        return bytes(answer.read())
    finally:
        answer.close()
        answer.release_conn()


def buckets() -> None:
    """Made, found, listed, refused while full, removed."""
    name = made("buckets")
    assert client.bucket_exists(bucket_name=name)
    assert name in [bucket.name for bucket in client.list_buckets()]
    client.put_object(bucket_name=name, object_name="full", data=io.BytesIO(b"x"), length=1)
    refused("BucketNotEmpty", client.remove_bucket, bucket_name=name)
    client.remove_object(bucket_name=name, object_name="full")
    client.remove_bucket(bucket_name=name)
    assert not client.bucket_exists(bucket_name=name)
    refused("NoSuchBucket", client.remove_bucket, bucket_name=name)


def objects() -> None:
    """Bytes, types and metadata come back; listings are whole; many are removed at once."""
    name = made("objects")
    for number, key in enumerate(names):
        body = content(number * 1000, number)
        client.put_object(
            bucket_name=name,
            object_name=key,
            data=io.BytesIO(body),
            length=len(body),
            content_type="text/x-test",
            metadata={"from": "minio"},
        )
        assert read(name, key) == body
        found = client.stat_object(bucket_name=name, object_name=key)
        assert (found.size, found.content_type, found.metadata["x-amz-meta-from"]) == (
            len(body),
            "text/x-test",
            "minio",
        )
    listed = [found.object_name for found in client.list_objects(bucket_name=name, recursive=True)]
    assert listed == sorted(names, key=str.encode)
    folded = {found.object_name for found in client.list_objects(bucket_name=name)}
    assert "a/" in folded
    assert read(name, names[1], offset=3, length=5) == content(1000, 1)[3:8]
    refused("NoSuchKey", client.get_object, bucket_name=name, object_name="none")
    doomed = [DeleteObject(key) for key in listed]
    assert list(client.remove_objects(bucket_name=name, delete_object_list=doomed)) == []
    client.remove_bucket(bucket_name=name)


def parts() -> None:
    """A stream of unknown length, and files, go up in parts; objects are composed and copied without moving bytes."""
    name, body = made("parts"), content(17 * MIB, 17)
    client.put_object(bucket_name=name, object_name="piped", data=io.BytesIO(body), length=-1, part_size=5 * MIB)
    assert read(name, "piped") == body
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        source.write_bytes(body)
        client.fput_object(bucket_name=name, object_name="file", file_path=str(source), part_size=5 * MIB)
        client.fget_object(bucket_name=name, object_name="file", file_path=str(target))
        assert target.read_bytes() == body
    sources = [
        ComposeSource(bucket_name=name, object_name="piped"),
        ComposeSource(bucket_name=name, object_name="file"),
    ]
    client.compose_object(bucket_name=name, object_name="both", sources=sources)
    assert read(name, "both") == body + body
    client.copy_object(bucket_name=name, object_name="copy å", source=CopySource(bucket_name=name, object_name="both"))
    assert client.stat_object(bucket_name=name, object_name="copy å").size == 2 * len(body)


def versions_and_tags() -> None:
    """Versions are listed, read, removed; tags of objects and buckets are kept."""
    name = made("versions")
    client.set_bucket_versioning(bucket_name=name, config=VersioningConfig(ENABLED))
    assert client.get_bucket_versioning(bucket_name=name).status == ENABLED
    ids = [
        client.put_object(bucket_name=name, object_name="key", data=io.BytesIO(body), length=3).version_id
        for body in (b"one", b"two")
    ]
    client.remove_object(bucket_name=name, object_name="key")
    listed = list(client.list_objects(bucket_name=name, include_version=True))
    assert [found.version_id for found in listed if not found.is_delete_marker] == ids[::-1]
    (marker,) = [found for found in listed if found.is_delete_marker]
    assert marker.is_latest
    assert read(name, "key", version_id=ids[0]) == b"one"
    client.remove_object(bucket_name=name, object_name="key", version_id=marker.version_id)
    assert read(name, "key") == b"two"
    tags = Tags.new_object_tags()
    tags["å"] = "1 +"
    client.set_object_tags(bucket_name=name, object_name="key", tags=tags)
    assert client.get_object_tags(bucket_name=name, object_name="key") == tags
    client.delete_object_tags(bucket_name=name, object_name="key")
    assert not client.get_object_tags(bucket_name=name, object_name="key")


def links_and_forms() -> None:
    """URLs put and get for who has no key, and a form's policy is kept."""
    name = made("links")
    put = client.presigned_put_object(bucket_name=name, object_name="ключ", expires=timedelta(minutes=5))
    assert http.request("PUT", put, body=b"linked").status == 200
    get = client.presigned_get_object(bucket_name=name, object_name="ключ", expires=timedelta(minutes=5))
    assert http.request("GET", get).data == b"linked"
    policy = PostPolicy(
        name, client.stat_object(bucket_name=name, object_name="ключ").last_modified + timedelta(hours=1)
    )
    policy.add_starts_with_condition("key", "in/")
    policy.add_content_length_range_condition(1, 100)
    fields = {**client.presigned_post_policy(policy), "key": "in/file"}
    url = f"{ENDPOINT.geturl()}/{name}"
    assert http.request("POST", url, fields={**fields, "file": ("f", b"formed")}).status == 204
    assert read(name, "in/file") == b"formed"
    assert http.request("POST", url, fields={**fields, "file": ("f", bytes(101))}).status == 400


if __name__ == "__main__":
    run((buckets, objects, parts, versions_and_tags, links_and_forms))
