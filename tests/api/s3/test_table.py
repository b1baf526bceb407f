"""The table of operations: each is found by what S3's pages say, and nothing is found by accident."""

import pytest

from api.s3.errors import STATUS
from api.s3.table import BY_NAME, OPERATIONS, Operation, route


def named(operation: Operation) -> str:
    return operation.name


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_an_operation_is_found_by_what_it_must_have(operation: Operation) -> None:
    if operation.name == "PostObject":
        return  # told by its content type, before the table is asked
    query = dict.fromkeys(operation.query, "x") | dict(operation.values)
    headers = dict.fromkeys(operation.headers, "x")
    assert route(operation.target, operation.method, query, headers) is operation
    known = query | dict.fromkeys(operation.parameters, "x")
    assert route(operation.target, operation.method, known, headers) is operation
    assert route(operation.target, operation.method, query | {"x-id": operation.name}, headers) is operation


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_documented_errors_are_errors_of_s3(operation: Operation) -> None:
    assert [code for code in operation.errors if code not in STATUS] == []
    assert (operation.none in STATUS) == (operation.none in operation.errors)


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(OPERATIONS)


@pytest.mark.parametrize(
    ("method", "query", "name"),
    [
        ("GET", {"list-type": "2"}, "ListObjectsV2"),
        ("GET", {"list-type": "1"}, "ListObjects"),
        ("GET", {"analytics": ""}, "ListBucketAnalyticsConfigurations"),
        ("GET", {"analytics": "", "id": "1"}, "GetBucketAnalyticsConfiguration"),
        ("DELETE", {"analytics": "", "id": "1"}, "DeleteBucketAnalyticsConfiguration"),
        ("GET", {"id": "1"}, "ListObjects"),
        ("GET", {"lifecycle": ""}, "GetBucketLifecycleConfiguration"),
        ("DELETE", {"lifecycle": ""}, "DeleteBucketLifecycle"),
        ("GET", {"metadataTable": ""}, "GetBucketMetadataTableConfiguration"),
    ],
)
def test_a_bucket_call_is_told_by_its_query(method: str, query: dict[str, str], name: str) -> None:
    found = route("bucket", method, query, {})
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    ("method", "query"),
    [("GET", {"acl": "", "tagging": ""}), ("POST", {}), ("DELETE", {"acl": ""}), ("PUT", {"uploads": ""})],
)
def test_a_subresource_that_does_not_belong_makes_no_other_call(method: str, query: dict[str, str]) -> None:
    found = route("bucket", method, query, {})
    assert found is None or found.name == "PostObject"
