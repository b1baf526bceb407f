"""Tags: documents and headers, and the rules that both keep."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.s3 import xml
from api.s3.tagging import BUCKET_TAGS_MAX, OBJECT_TAGS_MAX, parse_header, parse_tagging, tagging
from cluster.errors import Refused

TEXT = st.text(st.characters(categories=["L", "Zs", "N"], include_characters="+-=._:/@"), max_size=128)
TAGS = st.dictionaries(TEXT.filter(lambda key: key and not key.lower().startswith("aws:")), TEXT, max_size=10)


def parsed(document: str | bytes, most: int = OBJECT_TAGS_MAX) -> dict[str, str]:
    raw = document.encode() if isinstance(document, str) else document
    return parse_tagging(xml.parse(raw, "Tagging"), most=most)


def of(*tags: tuple[str, str]) -> str:
    inner = "".join(f"<Tag><Key>{xml.escape(key)}</Key><Value>{xml.escape(value)}</Value></Tag>" for key, value in tags)
    return f"<Tagging><TagSet>{inner}</TagSet></Tagging>"


def code(document: str, most: int = OBJECT_TAGS_MAX) -> str:
    with pytest.raises(Refused) as caught:
        parsed(document, most)
    return caught.value.code


def header_code(value: str) -> str:
    with pytest.raises(Refused) as caught:
        parse_header(value)
    return caught.value.code


@given(TAGS)
def test_a_document_that_was_written_is_read_as_it_was(tags: dict[str, str]) -> None:
    assert parsed(tagging(tags)) == tags


def test_a_document_has_the_elements_of_s3_in_its_namespace() -> None:
    assert tagging({"a": "1", "b": "<&>"}) == (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet>'
        b"<Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>b</Key><Value>&lt;&amp;&gt;</Value></Tag></TagSet></Tagging>"
    )


def test_namespaces_and_white_space_between_elements_do_not_matter() -> None:
    document = """<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
      <TagSet> <Tag> <Key>a</Key> <Value></Value> </Tag> </TagSet>
    </Tagging>"""
    assert parsed(document) == {"a": ""}


@pytest.mark.parametrize(
    "document",
    [
        "<Tagging/>",
        "<Tagging><TagSet/><TagSet/></Tagging>",
        "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
        "<Tagging><TagSet><Tag><Value>a</Value></Tag></TagSet></Tagging>",
        "<Tagging><TagSet><Tag><Key>a</Key><Key>b</Key><Value/></Tag></TagSet></Tagging>",
        "<Tagging><TagSet><Tag><Key>a</Key><Value/><Extra/></Tag></TagSet></Tagging>",
        "<Tagging><TagSet><Label/></TagSet></Tagging>",
        "<Tagging><Other/></Tagging>",
        "<Tags/>",
        "<Tagging><TagSet>",
        "",
        "<!DOCTYPE x [<!ENTITY a 'b'>]><Tagging><TagSet/></Tagging>",
    ],
)
def test_what_is_no_tagging_document_is_malformed(document: str) -> None:
    assert code(document) == "MalformedXML"


@pytest.mark.parametrize(
    "tag",
    [
        ("", "value"),
        ("k" * 129, "value"),
        ("key", "v" * 257),
        ("key!", "value"),
        ("key", "a,b"),
        ("key", "tab\there"),
        ("aws:cost", "1"),
        ("AWS:cost", "1"),
    ],
)
def test_a_tag_that_breaks_a_rule_is_invalid(tag: tuple[str, str]) -> None:
    assert code(of(tag)) == "InvalidTag"


def test_what_the_rules_allow_is_allowed_to_the_last_character() -> None:
    tags = [("k" * 127 + str(number), "v" * 256) for number in range(10)]
    assert parsed(of(*tags)) == dict(tags)
    assert parsed(of(("Größe + - = . _ : / @ 数", "١٢٣"))) == {"Größe + - = . _ : / @ 数": "١٢٣"}


@pytest.mark.parametrize("most", [OBJECT_TAGS_MAX, BUCKET_TAGS_MAX])
def test_there_are_so_many_tags_and_no_more(most: int) -> None:
    tags = [(f"k{number}", "") for number in range(most + 1)]
    assert len(parsed(of(*tags[:-1]), most)) == most
    assert code(of(*tags), most) == "InvalidTag"


def test_a_key_that_comes_twice_is_invalid() -> None:
    assert code(of(("a", "1"), ("a", "2"))) == "InvalidTag"


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ("", {}),
        ("a=1&b=2", {"a": "1", "b": "2"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("a+b=c%20d", {"a b": "c d"}),
        ("a=1=2", {"a": "1=2"}),
        ("k%C3%B6=%2B", {"kö": "+"}),
    ],
)
def test_the_header_is_a_query_string(value: str, tags: dict[str, str]) -> None:
    assert parse_header(value) == tags


def test_a_header_that_is_no_query_string_is_an_invalid_argument() -> None:
    assert header_code("a=1&a=2") == "InvalidArgument"
    assert header_code("a=%FF") == "InvalidArgument"


def test_a_header_keeps_the_rules_of_tags() -> None:
    assert header_code("&".join(f"k{number}=" for number in range(11))) == "InvalidTag"
    assert header_code("aws:a=1") == "InvalidTag"
    assert header_code("a=%00") == "InvalidTag"
    assert header_code("=1") == "InvalidTag"


@given(st.text())
def test_no_header_is_more_than_refused(value: str) -> None:
    try:
        tags = parse_header(value)
    except Refused:
        return
    assert len(tags) <= OBJECT_TAGS_MAX
