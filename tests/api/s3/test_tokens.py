"""Continuation tokens, and settings as the metadata keeps them."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.s3.tokens import seal, unseal
from cluster.errors import Refused
from metaraft.commands import (
    SetBucketSetting,
)
from tests.api.s3.speaking import Speaking

MARKER = st.text(st.characters(codec="utf-8"), max_size=1024)


@given(MARKER)
def test_a_token_that_was_given_leads_to_its_marker(marker: str) -> None:
    token = seal(marker)
    assert token.isascii()
    assert unseal(token) == marker


@given(MARKER, st.integers(0, 1000), st.sampled_from("ABab01-_=+ %"))
def test_a_token_with_another_character_is_refused(marker: str, place: int, character: str) -> None:
    token = seal(marker)
    place %= len(token)
    changed = token[:place] + character + token[place + 1 :]
    try:
        found = unseal(changed)
    except Refused:
        return
    assert found == marker, "unused bits of the last character only"


@given(st.text())
def test_a_text_that_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="The continuation token provided is incorrect"):
        unseal(text)


@pytest.mark.parametrize("raw", [b"", b"1", b"1abcd", b"2abcdkey", b"1\xff\xff\xff\xffkey", b"1abcd\xff"])
def test_bytes_that_are_no_token_are_refused(raw: bytes) -> None:
    with pytest.raises(Refused) as caught:
        unseal(base64.urlsafe_b64encode(raw).decode().rstrip("="))
    assert caught.value.code == "InvalidArgument"


@pytest.mark.parametrize(
    ("name", "query"), [("cors", "cors"), ("tagging", "tagging"), ("request-payment", "requestPayment")]
)
async def test_a_setting_that_cannot_be_read_is_an_error_of_ours(name: str, query: str) -> None:
    s3 = Speaking()
    s3.bucket()
    s3.do(SetBucketSetting("bucket", name, b"\xc1"))
    found = await s3.call("GET", f"/bucket?{query}")
    assert (found.status, found.code) == (500, "InternalError")
