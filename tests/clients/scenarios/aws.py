"""What the scenarios of boto3 share, of whatever age it is: a client for the endpoint, and buckets that end empty.

Buckets are in the path; with an endpoint of another name than an address they are in the host, as at Amazon's.
"""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.client import Config
from botocore.exceptions import ClientError

from tests.clients.scenarios import steps

ENDPOINT = sys.argv[1]
VIRTUAL = str(urlsplit(ENDPOINT).hostname).endswith(".localhost")
AT: dict[str, Any] = {"endpoint_url": ENDPOINT, "region_name": "us-east-1"}

_ask = socket.getaddrinfo


def _resolve(host: Any, *more: Any, **options: Any) -> Any:
    return _ask("127.0.0.1" if str(host).endswith(".localhost") else host, *more, **options)


if VIRTUAL:
    socket.getaddrinfo = _resolve  # what RFC 6761 says of names below localhost, and not every resolver knows


def _config(config: dict[str, Any]) -> Any:
    return Config(**config, s3={"addressing_style": "virtual"}) if VIRTUAL else Config(**config)


def client(**config: Any) -> Any:
    """A client with default settings but for what is named."""
    return boto3.client("s3", config=_config(config), **AT)


def resource() -> Any:
    """The object-oriented interface."""
    return boto3.resource("s3", config=_config({}), **AT)


def refused(code: str, call: Any, **parameters: Any) -> None:
    """The call is refused with S3's error code; a HEAD with a status alone."""
    steps.refused(code, lambda: call(**parameters), kinds=ClientError)


@contextmanager
def bucket(s3: Any, purpose: str) -> Iterator[str]:
    """A new bucket; all its versions and uploads are removed at the end, which must leave it empty."""
    name = steps.new_name(purpose)
    s3.create_bucket(Bucket=name)
    yield name
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
        entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
        objects = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
        if objects:
            answer = s3.delete_objects(Bucket=name, Delete={"Objects": objects})
            assert len(answer["Deleted"]) == len(objects), answer
            assert not answer.get("Errors"), answer
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=name):
        for upload in page.get("Uploads", []):
            s3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
    s3.delete_bucket(Bucket=name)


def found(s3: Any, call: str, path: str, **parameters: Any) -> list[Any]:
    """What a JMESPath finds on all pages of a call; a page may have none of it."""
    pages = s3.get_paginator(call).paginate(**parameters)
    return [entry for entry in pages.search(path) if entry is not None]


def keys(s3: Any, name: str, **parameters: Any) -> list[str]:
    """All keys of a bucket, by pages."""
    return found(s3, "list_objects_v2", "Contents[].Key", Bucket=name, **parameters)
