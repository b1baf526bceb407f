"""What requests say of an object besides its bytes, and how it comes back."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.access.decisions import ANONYMOUS, Principal
from api.operations.values import Description
from api.s3.fields import REDIRECT, description, no_version, overridden, shown_headers, version_of
from cluster.errors import Refused
from cluster.limits import Limits
from metaraft.model import Inline, Version, Which

LIMITS = Limits()
ROOT = Principal("root", "root")


def described(**headers: str) -> Description:
    return description({name.replace("_", "-"): value for name, value in headers.items()}, LIMITS)


def code_of(headers: dict[str, str]) -> str:
    with pytest.raises(Refused) as caught:
        description(headers, LIMITS)
    return caught.value.code


def version(found: Description, tags: dict[str, str] | None = None) -> Version:
    return Version(1, 0, 0, "e", found.content_type, Inline(b""), found.headers, found.user_metadata, tags=tags or {})


def test_an_object_has_s3s_default_content_type() -> None:
    assert description({}, LIMITS) == Description("binary/octet-stream", {}, {})
    assert described(content_type="").content_type == "binary/octet-stream"


def test_content_headers_and_metadata_are_kept_and_others_are_not() -> None:
    headers = {
        "content-type": "text/plain",
        "cache-control": "no-cache",
        "content-disposition": 'attachment; filename="x"',
        "content-encoding": "gzip",
        "content-language": "de",
        "expires": "Thu, 01 Jan 2026 00:00:00 GMT",
        "x-amz-meta-one": "1",
        REDIRECT: "/other",
        "x-amz-storage-class": "STANDARD",
        "content-length": "5",
        "authorization": "secret",
    }
    found = description(headers, LIMITS)
    assert found.content_type == "text/plain"
    assert set(found.headers) == {
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "expires",
        REDIRECT,
    }
    assert found.user_metadata == {"one": "1"}
    shown = dict(shown_headers(version(found)))
    assert shown == {name: headers[name] for name in (*found.headers, "content-type", "x-amz-meta-one")}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("aws-chunked", None),
        ("AWS-Chunked", None),
        ("aws-chunked,gzip", "gzip"),
        ("gzip, aws-chunked", "gzip"),
        ("gzip, br", "gzip,br"),
        ("", None),
    ],
)
def test_the_transfers_own_encoding_is_not_the_objects(sent: str, kept: str | None) -> None:
    assert described(content_encoding=sent).headers.get("content-encoding") == kept


def test_metadata_that_is_not_ascii_comes_back_as_an_encoded_word() -> None:
    found = described(x_amz_meta_name="Grüße 😀")
    assert found.user_metadata == {"name": "Grüße 😀"}
    shown = dict(shown_headers(version(found)))["x-amz-meta-name"]
    assert shown == "=?UTF-8?B?" + base64.b64encode("Grüße 😀".encode()).decode() + "?="


def test_metadata_that_is_encoded_already_stays_as_it_is() -> None:
    word = "=?UTF-8?Q?Gr=C3=BC=C3=9Fe?="
    assert dict(shown_headers(version(described(x_amz_meta_name=word))))["x-amz-meta-name"] == word


def test_metadata_may_have_two_kibibytes_of_names_and_values() -> None:
    described(x_amz_meta_a="x" * 2047)
    description({"x-amz-meta-aa": "x" * 1000, "x-amz-meta-bb": "é" * 522}, LIMITS)
    assert code_of({"x-amz-meta-a": "x" * 2048}) == "MetadataTooLarge"
    assert code_of({"x-amz-meta-aa": "x" * 1000, "x-amz-meta-bb": "é" * 523}) == "MetadataTooLarge"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-meta-": "x"},
        {"x-amz-meta-a b": "x"},
        {"x-amz-meta-a\r\nset-cookie": "x"},
        {"x-amz-meta-é": "x"},
        {"x-amz-meta-a": "x\r\nSet-Cookie: y"},
        {"x-amz-meta-a": "\0"},
        {"content-type": "text/plain\n"},
        {"cache-control": "a\rb"},
        {"content-encoding": "gzip\x7f"},
        {REDIRECT: "/a\r\nb"},
    ],
)
def test_what_cannot_stand_in_a_header_is_refused(headers: dict[str, str]) -> None:
    assert code_of(headers) == "InvalidArgument"


@pytest.mark.parametrize("location", ["", "other", "ftp://x", "//" * 1025, "https:/x"])
def test_a_redirect_that_leads_nowhere_is_refused(location: str) -> None:
    assert code_of({REDIRECT: location}) == "InvalidRedirectLocation"


def test_the_number_of_tags_is_shown_if_there_are_any() -> None:
    assert ("x-amz-tagging-count", "2") in shown_headers(version(described(), {"a": "b", "c": ""}))
    assert "x-amz-tagging-count" not in dict(shown_headers(version(described())))


@given(st.dictionaries(st.from_regex(r"[a-z0-9-]{1,8}", fullmatch=True), st.text(max_size=40), max_size=4))
def test_whatever_is_kept_can_be_shown(metadata: dict[str, str]) -> None:
    try:
        found = description({"x-amz-meta-" + name: value for name, value in metadata.items()}, LIMITS)
    except Refused:
        return
    for name, value in shown_headers(version(found)):
        assert name.isascii()
        assert value.isascii()
        assert "\r" not in value
        assert "\n" not in value


# ---- overrides


def test_a_get_may_say_what_headers_the_answer_has() -> None:
    shown = [("content-type", "a/b"), ("cache-control", "x"), ("x-amz-meta-a", "1")]
    query = {"response-content-type": "text/html", "response-expires": "never", "response-nothing": "x"}
    assert overridden(shown, query, ROOT) == [
        ("cache-control", "x"),
        ("x-amz-meta-a", "1"),
        ("content-type", "text/html"),
        ("expires", "never"),
    ]
    assert overridden(shown, {}, ANONYMOUS) == shown


def test_headers_of_the_answer_are_not_anybodys_to_say() -> None:
    with pytest.raises(Refused) as caught:
        overridden([], {"response-content-type": "text/html"}, ANONYMOUS)
    assert caught.value.code == "InvalidRequest"


def test_an_override_cannot_add_a_line() -> None:
    with pytest.raises(Refused) as caught:
        overridden([], {"response-content-type": "text/html\r\nSet-Cookie: x"}, ROOT)
    assert caught.value.code == "InvalidArgument"


# ---- versions


def test_a_version_is_named_by_its_id() -> None:
    assert version_of({}) is None
    assert version_of({"versionId": "null"}) == Which(None)
    assert version_of({"versionId": "00000000000000ff"}) == Which(255)


@pytest.mark.parametrize("text", ["", "1", "x" * 8192, "00000000000000FF", "\0", "é"])
def test_an_id_that_no_version_has_is_invalid(text: str) -> None:
    with pytest.raises(Refused) as caught:
        version_of({"versionId": text})
    assert caught.value.code == "InvalidArgument"


def test_what_makes_a_version_names_none() -> None:
    no_version({"x-id": "PutObject"})
    with pytest.raises(Refused) as caught:
        no_version({"versionId": "null"})
    assert caught.value.code == "InvalidArgument"
