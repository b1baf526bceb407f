"""The canonical request: what clients may have signed, and that no form of it means anything else."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.messages import percent_decode
from api.s3.canonical import canonical_paths, canonical_queries, fold

ODD = b"%+&=/?#~.-_ aZ09'\"\\\x00\x7f\x80\xe9\n"
raw = st.lists(st.sampled_from([bytes([byte]) for byte in ODD] + [b"%2f", b"%2B", b"%25", b"%c3%a9"])).map(b"".join)


def parameters(query: bytes) -> list[tuple[bytes, bytes]]:
    """The parameters of a query as the server reads them."""
    items = [item.partition(b"=") for item in query.split(b"&") if item]
    return sorted(
        (percent_decode(name.replace(b"+", b" ")), percent_decode(value.replace(b"+", b" ")))
        for name, _, value in items
    )


@given(raw)
def test_every_form_of_a_path_names_the_very_key(path: bytes) -> None:
    path = b"/" + path
    for form in canonical_paths(path):
        assert percent_decode(form.encode()) == percent_decode(path)


@given(raw)
def test_every_form_of_a_query_has_the_very_parameters(query: bytes) -> None:
    signed = [each for each in parameters(query) if each[0] != b"X-Amz-Signature"]
    for form in canonical_queries(query):
        assert parameters(form.encode()) == signed


@given(st.binary(max_size=40))
def test_the_documented_form_of_a_path_is_the_first(key: bytes) -> None:
    encoded = quote(key, safe="/-_.~")
    assert canonical_paths(b"/" + encoded.encode())[0] == "/" + encoded
    assert canonical_paths(b"/" + quote(key, safe="").encode())[0] == "/" + encoded


@pytest.mark.parametrize(
    ("query", "form"),
    [
        (b"", ""),
        (b"acl", "acl="),
        (b"b=2&a=1", "a=1&b=2"),
        (b"a=2&a=1&A=3", "A=3&a=1&a=2"),
        (b"a=%7e&b=x/y", "a=~&b=x%2Fy"),
        (b"&&a=1&", "a=1"),
        (b"X-Amz-Signature=s&a=1", "a=1"),
        (b"X%2DAmz-Signature=s&a=1", "a=1"),
        (b"x-amz-signature=s", "x-amz-signature=s"),
        (b"a-b=1&a=2&a.b=3", "a=2&a-b=1&a.b=3"),
    ],
)
def test_a_query_is_encoded_and_sorted(query: bytes, form: str) -> None:
    assert canonical_queries(query)[0] == form


@pytest.mark.parametrize(
    ("value", "folded"), [("", ""), (" a ", "a"), ("a  b", "a b"), ("\ta\t b", "a b"), ("a\u00a0 b", "a\u00a0 b")]
)
def test_a_value_is_trimmed_and_folded(value: str, folded: str) -> None:
    assert fold(value) == folded
