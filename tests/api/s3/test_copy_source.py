"""What a copy reads, as its header says it."""

import pytest

from api.operations.values import Source
from api.ranges import Span
from api.s3.copy_source import copied_span, parse_source
from cluster.errors import Refused
from metaraft.model import Which


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("bucket/key", Source("bucket", "key")),
        ("/bucket/key", Source("bucket", "key")),
        ("bucket/a/b//c", Source("bucket", "a/b//c")),
        ("bucket//key", Source("bucket", "/key")),
        ("bucket/%2Fkey", Source("bucket", "/key")),
        ("bucket%2Fkey%2Fother", Source("bucket", "key/other")),
        ("%2Fbucket%2Fkey?versionId=null", Source("bucket", "key", Which(None))),
        ("bucket/a%20b", Source("bucket", "a b")),
        ("bucket/a+b", Source("bucket", "a b")),
        ("bucket/a%2Bb", Source("bucket", "a+b")),
        ("bucket/a b", Source("bucket", "a b")),
        ("bucket/%2541", Source("bucket", "%41")),
        ("bucket/%C3%A9", Source("bucket", "é")),
        ("bucket/é", Source("bucket", "é")),
        ("bucket/100%", Source("bucket", "100%")),
        ("bucket/key?versionId=null", Source("bucket", "key", Which(None))),
        ("bucket/key?versionId=00000000000000ff", Source("bucket", "key", Which(255))),
        ("bucket/key%3FversionId=null", Source("bucket", "key?versionId=null")),
        ("bucket/%3FversionId", Source("bucket", "?versionId")),
        ("bucket/a?b", Source("bucket", "a?b")),
    ],
)
def test_a_source_is_decoded_once(value: str, source: Source) -> None:
    assert parse_source(value) == source


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "InvalidArgument"),
        ("/", "InvalidArgument"),
        ("bucket", "InvalidArgument"),
        ("bucket/", "InvalidArgument"),
        ("/bucket/", "InvalidArgument"),
        ("//key", "InvalidArgument"),
        ("?versionId=null", "InvalidArgument"),
        ("%ff/key", "InvalidArgument"),
        ("bucket/%ff", "InvalidKey"),
        ("bucket/%00", "InvalidKey"),
        ("bucket/" + "x" * 1025, "KeyTooLong"),
        ("bucket/key?versionId=", "InvalidArgument"),
        ("bucket/key?versionId=%ff", "InvalidArgument"),
        ("bucket/key?versionId=null&x=y", "InvalidArgument"),
    ],
)
def test_what_names_no_source_is_refused(value: str, code: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_source(value)
    assert caught.value.code == code


def test_a_range_names_both_ends() -> None:
    assert copied_span(None, 10, most=100) == Span(0, 10)
    assert copied_span("bytes=0-0", 10, most=100) == Span(0, 1)
    assert copied_span("bytes=3-9", 10, most=100) == Span(3, 10)


@pytest.mark.parametrize(
    "header",
    ["", "0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5", "bytes=-5", "bytes=5-",
     "bytes = 0-2", "bytes=0-2 ", "Bytes=0-2", "bytes=" + "0" * 8000 + "-1", "bytes=\u0660-\u0661"],
)  # fmt: skip
def test_a_range_of_another_form_is_an_invalid_argument(header: str) -> None:
    with pytest.raises(Refused) as caught:
        copied_span(header, 10, most=100)
    assert caught.value.code == "InvalidArgument"


@pytest.mark.parametrize("header", ["bytes=0-10", "bytes=10-10", "bytes=5-4", "bytes=0-999999999999999999"])
def test_a_range_of_bytes_that_are_not_there_is_invalid(header: str) -> None:
    with pytest.raises(Refused) as caught:
        copied_span(header, 10, most=100)
    assert caught.value.code == "InvalidRange"


def test_more_than_one_part_may_have_is_refused() -> None:
    assert copied_span("bytes=0-99", 1000, most=100) == Span(0, 100)
    for header in ("bytes=0-100", None):
        with pytest.raises(Refused) as caught:
            copied_span(header, 1000, most=100)
        assert caught.value.code == "InvalidRequest"
