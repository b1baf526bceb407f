"""Paths, keys, bucket names, cursors and headers: names come through exactly as they are, or are refused."""

import contextlib
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.messages import parse_headers, parse_query, percent_decode
from api.names import check_bucket, decode_key
from api.native.cursors import Cursors
from api.native.fields import copy_source, description, expected_digests, page_limit
from api.native.routes import Route, match_path
from cluster.errors import Refused
from cluster.limits import Limits

KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200)
LIMITS = Limits()


@given(KEYS)
def test_every_key_comes_through_the_path_as_it_is(key: str) -> None:
    for safe in ("/", ""):
        route = match_path(b"/objects/" + quote(key, safe=safe).encode())
        assert route is not None
        assert route.target == "object"
        assert route.bucket == b"default"
        assert decode_key(percent_decode(route.key)) == key
        other = match_path(b"/buckets/some/objects/" + quote(key, safe=safe).encode())
        assert other is not None
        assert (other.bucket, decode_key(percent_decode(other.key))) == (b"some", key)


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b"a", "a"),
        (b"a/", "a/"),
        (b"a//b", "a//b"),
        (b"../x", "../x"),
        (b"./.", "./."),
        (b"/", "/"),
        (b"%2e%2e%2F", "../"),
        (b"%", "%"),
        (b"100%", "100%"),
        (b"%zz", "%zz"),
        (b"%25", "%"),
        (b"%2541", "%41"),
        (b"a+b", "a+b"),
        (b"a%20b", "a b"),
        ("é😀".encode(), "é😀"),
        (b"%F0%9F%98%80", "😀"),
        (b"objects/objects", "objects/objects"),
    ],
)
def test_odd_names_are_just_names(raw: bytes, key: str) -> None:
    route = match_path(b"/objects/" + raw)
    assert route is not None
    assert decode_key(percent_decode(route.key)) == key


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "InvalidKey"),
        (b"a\0b", "InvalidKey"),
        (b"\xff\xfe", "InvalidKey"),
        (b"\xed\xa0\x80", "InvalidKey"),
        (b"a" * 1025, "KeyTooLong"),
    ],
)
def test_a_key_that_cannot_be_is_refused(raw: bytes, code: str) -> None:
    with pytest.raises(Refused) as refused:
        decode_key(raw)
    assert refused.value.code == code


def test_a_key_may_have_1024_bytes() -> None:
    assert len(decode_key(b"a" * 1024)) == 1024
    assert len(decode_key("😀".encode() * 256)) == 256


@pytest.mark.parametrize(
    ("path", "route"),
    [
        (b"/objects", Route("listing", b"default", b"")),
        (b"/buckets", Route("buckets", b"", b"")),
        (b"/buckets/b", Route("bucket", b"b", b"")),
        (b"/buckets/b/objects", Route("listing", b"b", b"")),
        (b"/buckets/b/objects/", Route("object", b"b", b"")),
        (b"/buckets/b/objects//", Route("object", b"b", b"/")),
        (b"/buckets/b/versions", Route("versions", b"b")),
        (b"/buckets/b/versioning", Route("versioning", b"b")),
        (b"/buckets/b/uploads", Route("uploads", b"b")),
        (b"/buckets/b/uploads/", Route("upload", b"b")),
        (b"/buckets/b/uploads/1", Route("upload", b"b", upload=b"1")),
        (b"/buckets/b/uploads/1%2F2", Route("upload", b"b", upload=b"1%2F2")),
        (b"/buckets/b/uploads/1/parts/2", Route("part", b"b", upload=b"1", part=b"2")),
        (b"/buckets/b/objects/uploads/1", Route("object", b"b", b"uploads/1")),
        (b"/objects/uploads", Route("object", b"default", b"uploads")),
        (b"/uploads", None),
        (b"/buckets/b/uploads/1/", None),
        (b"/buckets/b/uploads/1/parts", None),
        (b"/buckets/b/uploads/1/parts/2/", None),
        (b"/buckets/b/versions/", None),
        (b"/buckets/b/object", None),
        (b"/buckets/b/", None),
        (b"/", None),
        (b"/objectsx", None),
        (b"/bucketsx", None),
        (b"//objects/a", None),
        (b"/OBJECTS/a", None),
    ],
)
def test_paths_name_what_they_say_and_nothing_is_normalised(path: bytes, route: Route | None) -> None:
    assert match_path(path) == route


@pytest.mark.parametrize("name", ["abc", "a1b", "a.b-c", "0" * 63, "1.2.3", "a--b"])
def test_bucket_names_that_s3_allows(name: str) -> None:
    assert check_bucket(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "ab", "a" * 64, "Abc", "a_b", "-ab", "ab-", ".ab", "ab.", "a..b", "192.168.1.1", "a b", "é" * 3),
        *("xn--abc", "sthree-abc", "amzn-s3-demo-a", "abc-s3alias", "abc--ol-s3", "abc.mrap", "abc--x-s3"),
        *("abc--table-s3", "objects", "buckets", "minio", "abc\n", "../abc"),
    ],
)
def test_bucket_names_that_s3_does_not_allow_or_that_are_paths(name: str) -> None:
    with pytest.raises(Refused) as refused:
        check_bucket(name)
    assert refused.value.code == "InvalidBucketName"


@given(KEYS, KEYS, st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_cursor_comes_back_only_to_the_listing_that_gave_it(marker: str, prefix: str, other: str) -> None:
    cursors = Cursors(b"secret")
    cursor = cursors.seal(("objects", "b", prefix), marker)
    assert cursors.open(("objects", "b", prefix), cursor) == marker
    assert marker not in cursor or len(marker) < 4
    for wrong_scope in (("objects", "c", prefix), ("objects", "b", prefix + "x"), ("buckets",)):
        with pytest.raises(Refused, match="cursor"):
            cursors.open(wrong_scope, cursor)
    for wrong in (cursor[:-1] + ("A" if cursor[-1] != "A" else "B") + "A", other, cursor[1:], ""):
        if wrong.rstrip("=") != cursor:
            with pytest.raises(Refused, match="cursor"):
                cursors.open(("objects", "b", prefix), wrong)
    with pytest.raises(Refused, match="cursor"):
        Cursors(b"other").open(("objects", "b", prefix), cursor)


@given(st.dictionaries(KEYS, KEYS, max_size=5))
def test_a_query_comes_through_encoding(parameters: dict[str, str]) -> None:
    raw = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in parameters.items())
    assert parse_query(raw.encode()) == parameters


@given(st.binary(max_size=80))
def test_no_query_breaks_the_parser(raw: bytes) -> None:
    with contextlib.suppress(Refused):
        parse_query(raw)


def test_a_plus_in_a_query_is_a_space_and_a_name_alone_is_empty() -> None:
    assert parse_query(b"prefix=a+b%2B&metadata&&") == {"prefix": "a b+", "metadata": ""}


def test_a_repeated_list_header_is_joined_and_a_repeated_single_one_refused() -> None:
    assert parse_headers([(b"if-match", b'"a"'), (b"if-match", b'"b"')]) == {"if-match": '"a","b"'}
    with pytest.raises(Refused, match="range"):
        parse_headers([(b"range", b"bytes=0-1"), (b"range", b"bytes=2-3")])
    with pytest.raises(Refused, match="UTF-8"):
        parse_headers([(b"x-amz-meta-a", b"\xff")])


@pytest.mark.parametrize(
    ("headers", "md5", "sha256"),
    [
        ({}, None, None),
        ({"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, "d41d8cd98f00b204e9800998ecf8427e", None),
        ({"digest": "md5=x, SHA-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}, None, "e3b0c442"),
        ({"repr-digest": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"}, None, "e3b0c442"),
        (
            {"content-digest": "sha-512=:AA==:, sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:;a"},
            None,
            "e3b0c442",
        ),
        ({"repr-digest": "sha-512=:AA==:"}, None, None),
    ],
)
def test_digests_are_read_from_all_their_headers(headers: dict[str, str], md5: str | None, sha256: str | None) -> None:
    expected = expected_digests(headers)
    assert (None if expected.md5 is None else expected.md5.hex()) == md5
    assert (None if expected.sha256 is None else expected.sha256.hex()[:8]) == sha256


@pytest.mark.parametrize(
    "headers",
    [
        {"content-md5": ""},
        {"content-md5": "AAAA"},
        {"content-md5": "not base64"},
        {"digest": "sha-256"},
        {"digest": "sha-256=AAAA"},
        {"repr-digest": "sha-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
        {"repr-digest": "sha-256=:AAAA:"},
        {
            "digest": "sha-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "repr-digest": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFE=:",
        },
    ],
)
def test_digests_that_are_none_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        expected_digests(headers)
    assert refused.value.code == "InvalidDigest"


def test_metadata_is_kept_without_its_prefix_and_limited_as_bytes() -> None:
    found = description(
        {"x-amz-meta-a": "é", "content-type": "text/plain", "cache-control": "no-store", "x": "y"}, LIMITS
    )
    assert found.user_metadata == {"a": "é"}
    assert found.headers == {"cache-control": "no-store"}
    assert found.content_type == "text/plain"
    assert len(description({"x-amz-meta-a": "x" * 2047}, LIMITS).user_metadata) == 1
    with pytest.raises(Refused) as refused:
        description({"x-amz-meta-a": "é" * 1024}, LIMITS)
    assert refused.value.code == "MetadataTooLarge"
    assert refused.value.limit == {"user_metadata_bytes_max": 2048}


@pytest.mark.parametrize(
    ("value", "source"), [("b/k", ("b", "k")), ("/b/k/l", ("b", "k/l")), ("b/%2e%2e", ("b", ".."))]
)
def test_a_copy_source_is_bucket_and_key(value: str, source: tuple[str, str]) -> None:
    assert copy_source(value) == source


@pytest.mark.parametrize("value", ["", "/", "b", "b/", "//k", "%ff/k", "b/%ff", "b/" + "a" * 1025])
def test_a_copy_source_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(Refused):
        copy_source(value)


@pytest.mark.parametrize("text", ["0", "1001", "-1", "+1", "1.0", "", "ten", "٣", "9" * 30])
def test_a_page_limit_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="1 to 1000"):
        page_limit({"limit": text}, 1000)
