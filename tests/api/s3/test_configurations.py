"""Configurations that cannot be made yet: there is none, and S3's words say so."""

import pytest

from api.s3.errors import STATUS
from api.s3.table import OPERATIONS, Operation
from tests.api.s3.speaking import Speaking

NONE = [operation for operation in OPERATIONS if operation.support == "none configured"]
REFUSED = [operation for operation in OPERATIONS if operation.support == "not implemented"]


def target(operation: Operation, bucket: str = "bucket") -> str:
    path = f"/{bucket}/key" if operation.target == "object" else f"/{bucket}"
    return f"{path}?{'&'.join(f'{name}=x' for name in operation.query)}"


def named(operations: list[Operation]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("operation", operations, ids=lambda operation: operation.name)


@named(NONE)
async def test_there_is_none(operation: Operation) -> None:
    s3 = Speaking()
    s3.bucket()
    found = await s3.call(operation.method, target(operation))
    if operation.method == "DELETE":
        assert (found.status, found.body) == (204, b"")
    elif operation.none in STATUS:
        assert (found.status, found.code) == (404, operation.none)
        assert found.tree.value("BucketName") == "bucket"
    else:
        assert (found.status, found.tree.name) == (200, operation.none)


@named(NONE)
async def test_of_a_bucket_that_is_missing_that_is_said(operation: Operation) -> None:
    assert (await Speaking().call(operation.method, target(operation))).code == "NoSuchBucket"


@named(REFUSED)
async def test_what_is_still_to_come_is_refused_in_words(operation: Operation) -> None:
    s3 = Speaking()
    s3.bucket()
    refused = await s3.call(operation.method, target(operation), "<x/>" if operation.method != "GET" else "")
    assert (refused.status, refused.code) == (501, "NotImplemented")
    assert operation.name in (refused.tree.value("Message") or "")


@pytest.mark.parametrize("query", ["analytics", "inventory", "metrics", "intelligent-tiering"])
async def test_without_an_id_the_empty_list_is_meant(query: str) -> None:
    s3 = Speaking()
    s3.bucket()
    found = await s3.call("GET", f"/bucket?{query}&continuation-token=x")
    assert (found.status, found.tree.value("IsTruncated")) == (200, "false")
    assert (await s3.call("GET", f"/bucket?{query}&id=1")).code == "NoSuchConfiguration"


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("notification", b"<NotificationConfiguration xmlns="),
        ("logging", b"<BucketLoggingStatus xmlns="),
        ("accelerate", b"<AccelerateConfiguration xmlns="),
    ],
)
async def test_some_are_empty_documents(query: str, document: bytes) -> None:
    s3 = Speaking()
    s3.bucket()
    assert document in (await s3.call("GET", f"/bucket?{query}")).body
