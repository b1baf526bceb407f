"""Tags of buckets and objects: the `Tagging` document and the `x-amz-tagging` header, read and written. Pure.

Source: S3, 'Categorizing your objects using tags' and 'Tag naming and usage conventions'. What breaks their rules is
InvalidTag, also too many of them (S3's own answer to that differs between calls).
"""

import unicodedata
from collections.abc import Mapping

from api.messages import parse_query
from api.s3 import xml
from cluster.errors import Refused

OBJECT_TAGS_MAX = 10
BUCKET_TAGS_MAX = 50
KEY_CHARACTERS_MAX = 128
VALUE_CHARACTERS_MAX = 256

_SIGNS = frozenset("+-=._:/@")
_CATEGORIES = frozenset("LZN")
"""Letters, separators (spaces) and numbers of any script."""

_RESERVED = "aws:"


def parse_tagging(tagging: xml.Node, *, most: int) -> dict[str, str]:
    """The tags of a `Tagging` document, at most `most`. Raises Refused (MalformedXML, InvalidTag)."""
    xml.known(tagging, "TagSet")
    return tags_of(xml.required(tagging, "TagSet"), most=most)


def tags_of(tag_set: xml.Node, *, most: int) -> dict[str, str]:
    """The tags of an element with `Tag`s in it. Raises Refused (MalformedXML, InvalidTag)."""
    xml.known(tag_set, "Tag")
    tags: dict[str, str] = {}
    for tag in tag_set.children:
        xml.known(tag, "Key", "Value")
        key, value = xml.required(tag, "Key").text, xml.required(tag, "Value").text
        if key in tags:
            raise Refused("InvalidTag", f"Cannot provide multiple Tags with the same key: {key[:80]!r}")
        tags[key] = value
    return _checked(tags, most)


def parse_header(value: str) -> dict[str, str]:
    """The tags of `x-amz-tagging`: a query string. Raises Refused (InvalidArgument, InvalidTag)."""
    try:
        tags = parse_query(value.encode())
    except Refused:
        raise Refused(
            "InvalidArgument",
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters"
            " without tag name duplicates.",
            detail={"ArgumentName": "x-amz-tagging", "ArgumentValue": value[:200]},
        ) from None
    return _checked(tags, OBJECT_TAGS_MAX)


def tagging(tags: Mapping[str, str]) -> bytes:
    """The `Tagging` document of some tags."""
    inner = "".join(
        xml.group("Tag", xml.element("Key", key), xml.element("Value", value)) for key, value in tags.items()
    )
    return xml.document("Tagging", [xml.group("TagSet", inner)])


def _checked(tags: dict[str, str], most: int) -> dict[str, str]:
    if len(tags) > most:
        raise Refused("InvalidTag", f"There are {len(tags)} tags; at most {most} are allowed")
    for key, value in tags.items():
        if not 0 < len(key) <= KEY_CHARACTERS_MAX or not _allowed(key):
            raise _invalid("key", key, f"1 to {KEY_CHARACTERS_MAX}")
        if len(value) > VALUE_CHARACTERS_MAX or not _allowed(value):
            raise _invalid("value", value, f"0 to {VALUE_CHARACTERS_MAX}")
        if key.lower().startswith(_RESERVED):
            raise Refused("InvalidTag", f"System tags cannot be added/updated by requester: {key[:80]!r}")
    return tags


def _allowed(text: str) -> bool:
    return all(character in _SIGNS or unicodedata.category(character)[0] in _CATEGORIES for character in text)


def _invalid(what: str, text: str, length: str) -> Refused:
    return Refused(
        "InvalidTag",
        f"The tag {what} {text[:80]!r} ({len(text)} characters) is not allowed: it must have {length} letters, digits,"
        f" spaces and the characters + - = . _ : / @",
        detail={"TagKey" if what == "key" else "TagValue": text[:256]},
    )
