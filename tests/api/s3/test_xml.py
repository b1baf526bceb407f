"""XML that comes in: what a hostile document costs."""

import time

import pytest

from api.s3 import xml
from cluster.errors import Refused

BOUND_S = 5.0
"""Far over what it takes on a busy machine, and far below what it took when text was joined piece by piece."""


def test_text_between_many_elements_costs_no_more_than_other_text() -> None:
    body = b"<a>" + (b"<b/>" + b"x" * 80) * 90_000 + b"</a>"
    assert len(body) < xml.BODY_BYTES_MAX
    began = time.perf_counter()
    found = xml.parse(body, "a")
    assert time.perf_counter() - began < BOUND_S
    assert found.text == "x" * 80 * 90_000


@pytest.mark.parametrize(
    "body",
    [
        b"<a " + b" ".join(b'a%d=""' % number for number in range(700_000)) + b"/>",
        b"<a><b c='" + b"x" * 200_000 + b"'/></a>",
        b"<a><!--" + b"x" * 200_000 + b"--></a>",
        b"<a></a" + b" " * 200_000 + b">",
        b"<a>" + b"<b/>" * 100_001 + b"</a>",
        b"<a>" * 17 + b"</a>" * 17,
        b"<!DOCTYPE a [<!ENTITY b 'bb'><!ENTITY c '&b;&b;'>]><a>&c;</a>",
        b"<a>&b;</a>",
    ],
    ids=["attributes", "value", "comment", "end", "elements", "depth", "entities", "reference"],
)
def test_a_document_that_costs_much_is_refused_early(body: bytes) -> None:
    began = time.perf_counter()
    with pytest.raises(Refused) as caught:
        xml.parse(body, "a")
    assert caught.value.code == "MalformedXML"
    assert time.perf_counter() - began < BOUND_S / 2


def test_what_is_legal_and_long_is_read_whole() -> None:
    key = "&#38;" * 1024
    body = "<Delete>" + f"<Object><Key>{key}</Key></Object>" * 1000 + "</Delete>"
    assert {node.value("Key") for node in xml.parse(body.encode(), "Delete").all("Object")} == {"&" * 1024}
    for encoding in ("utf-8", "utf-16"):
        text = f"<a>{'<b>x</b>' * 30_000}<c>{'y' * 300_000}</c></a>".encode(encoding)
        assert xml.parse(text, "a").value("c") == "y" * 300_000
