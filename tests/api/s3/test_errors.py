"""Errors as XML: what stands in them, and that any client can read them."""

from hypothesis import given
from hypothesis import strategies as st

from api.s3 import xml
from api.s3.errors import error_response
from cluster.errors import Corrupt, OutcomeUnknown, Refused, TrilithError, Unavailable


def tree(error: TrilithError) -> xml.Node:
    return xml.parse(error_response(error, "request-1", "host-1", "/bucket/key").body, "Error")


def test_an_error_names_what_was_wrong_and_where() -> None:
    error = Refused("NoSuchBucket", "no <such> bucket", detail={"bucket": "b", "ArgumentName": "prefix", "leader": "3"})
    assert error_response(error, "request-1", "host-1", "/b").body == (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchBucket</Code>'
        b"<Message>no &lt;such&gt; bucket</Message><BucketName>b</BucketName><ArgumentName>prefix</ArgumentName>"
        b"<Resource>/b</Resource><RequestId>request-1</RequestId><HostId>host-1</HostId></Error>"
    )


def test_a_code_that_s3_does_not_have_is_told_by_its_kind() -> None:
    assert tree(Refused("Odd", "")).value("Code") == "InvalidRequest"
    assert tree(Unavailable("Odd", "")).value("Code") == "ServiceUnavailable"
    assert tree(OutcomeUnknown("Odd", "")).value("Code") == "OutcomeUnknown"
    assert tree(Corrupt("Odd", "")).value("Code") == "InternalError"


@given(st.text(), st.text())
def test_any_text_in_an_error_can_be_read(message: str, value: str) -> None:
    found = tree(Refused("InvalidArgument", message, detail={"ArgumentValue": value}))
    assert len(found.value("Message") or "") == len(message)
    assert len(found.value("ArgumentValue") or "") == len(value)
