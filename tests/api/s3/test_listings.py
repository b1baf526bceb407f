"""Listings through the whole dialect but its signatures: pages, markers, and what stands in them."""

from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings

from metaraft.commands import (
    DeleteObject,
)
from metaraft.model import Checksum
from tests.api.s3.filled import (
    DELIMITER,
    GONE,
    LIMIT,
    NAMES,
    PREFIX,
    delete,
    expected,
    filled,
    keys,
    prefixes,
    query,
    truncated,
)
from tests.api.s3.speaking import ROOT, Speaking
from tests.metaraft.metadata import etag, put

# ---- what a page looks like


async def test_a_page_of_the_first_version_is_as_s3_writes_it() -> None:
    s3 = filled("a", "b/c")
    found = await s3.call("GET", "/bucket?delimiter=/&max-keys=7")
    owner = f"<Owner><ID>{ROOT.name}</ID><DisplayName>root</DisplayName></Owner>"
    assert found.body.decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix></Prefix>'
        "<Marker></Marker><MaxKeys>7</MaxKeys><Delimiter>/</Delimiter><IsTruncated>false</IsTruncated>"
        f"<Contents><Key>a</Key><LastModified>2023-11-14T22:13:20.000Z</LastModified>"
        f"<ETag>&quot;{etag(b'data')}&quot;</ETag><Size>4</Size>{owner}<StorageClass>STANDARD</StorageClass></Contents>"
        "<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes></ListBucketResult>"
    )
    assert found.headers["content-type"] == "application/xml"


async def test_a_page_of_the_second_version_is_as_s3_writes_it() -> None:
    s3 = filled("a", "b", "c")
    found = await s3.call("GET", "/bucket?list-type=2&max-keys=1&start-after=a&prefix=")
    token = found.tree.value("NextContinuationToken")
    assert found.body.decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix></Prefix>'
        f"<StartAfter>a</StartAfter><NextContinuationToken>{token}</NextContinuationToken><KeyCount>1</KeyCount>"
        "<MaxKeys>1</MaxKeys><IsTruncated>true</IsTruncated>"
        f"<Contents><Key>b</Key><LastModified>2023-11-14T22:13:20.000Z</LastModified>"
        f"<ETag>&quot;{etag(b'data')}&quot;</ETag><Size>4</Size><StorageClass>STANDARD</StorageClass></Contents>"
        "</ListBucketResult>"
    )
    followed = await s3.call("GET", f"/bucket?list-type=2&start-after=a&continuation-token={token}")
    assert keys(followed) == ["c"]
    assert followed.tree.value("ContinuationToken") == token
    assert followed.tree.value("StartAfter") == "a"


async def test_the_owner_is_told_by_the_second_version_when_it_is_asked_for() -> None:
    s3 = filled("a")
    assert b"<Owner>" in (await s3.call("GET", "/bucket?list-type=2&fetch-owner=true")).body
    for said in ("", "&fetch-owner=false", "&fetch-owner="):
        assert b"<Owner>" not in (await s3.call("GET", f"/bucket?list-type=2{said}")).body


async def test_the_checksum_that_is_shown_is_the_first_that_s3_knows() -> None:
    s3 = Speaking()
    s3.bucket()
    one = put("a", bucket="bucket")
    checksums = {"CRC32": Checksum(b"1234", "COMPOSITE"), "SHA256": Checksum(b"2" * 32)}
    s3.do(type(one)(**{name: getattr(one, name) for name in one.__struct_fields__} | {"checksums": checksums}))
    shown = "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>COMPOSITE</ChecksumType><Size>"
    for target in ("/bucket", "/bucket?list-type=2", "/bucket?versions"):
        assert shown.encode() in (await s3.call("GET", target)).body


async def test_keys_are_escaped_or_encoded_as_they_ask_for() -> None:
    names = ['<&>"', "a b+c", "dir/ä%/\x0a", "ctrl\x01"]
    s3 = filled(*names)
    plain = await s3.call("GET", "/bucket")
    assert b"<Key>&lt;&amp;&gt;&quot;</Key>" in plain.body
    assert b"<Key>ctrl&#x1;</Key>" in plain.body
    encoded = await s3.call("GET", "/bucket?encoding-type=url")
    assert encoded.tree.value("EncodingType") == "url"
    assert keys(encoded) == [quote(name, safe="/") for name in sorted(names)]


@pytest.mark.parametrize(
    ("target", "elements"),
    [
        ("/bucket?prefix=%3C+&delimiter=%26%2F&marker=%3C+a", ("Prefix", "Delimiter", "Marker")),
        ("/bucket?list-type=2&prefix=%3C+&delimiter=%26%2F&start-after=%3C+a", ("Prefix", "Delimiter", "StartAfter")),
        ("/bucket?versions&prefix=%3C+&delimiter=%26%2F&key-marker=%3C+a", ("Prefix", "Delimiter", "KeyMarker")),
        ("/bucket?uploads&prefix=%3C+&delimiter=%26%2F&key-marker=%3C+a", ("Prefix", "Delimiter", "KeyMarker")),
    ],
)
async def test_what_was_asked_for_is_said_again_in_the_same_encoding(target: str, elements: tuple[str, ...]) -> None:
    s3 = filled()
    plain, encoded = await s3.call("GET", target), await s3.call("GET", f"{target}&encoding-type=url")
    assert [plain.tree.value(name) for name in elements] == ["< ", "&/", "< a"]
    assert [encoded.tree.value(name) for name in elements] == ["%3C%20", "%26/", "%3C%20a"]


# ---- what is on a page (ceph's s3-tests and S3's pages)


async def test_a_delimiter_groups_and_a_prefix_is_not_cut() -> None:
    s3 = filled("asdf", "boo/bar", "boo/baz/xyzzy", "cquux/thud", "cquux/bla")
    marker = ""
    for key, group in (("asdf", None), (None, "boo/"), (None, "cquux/")):
        page = await s3.call("GET", f"/bucket?delimiter=/&max-keys=1&marker={marker}")
        assert keys(page) + prefixes(page) == [key or group]
        assert prefixes(page) == ([group] if group else [])
        marker = page.tree.value("NextMarker") or ""
    assert marker == ""
    page = await s3.call("GET", "/bucket?delimiter=/&max-keys=2")
    assert (keys(page), prefixes(page), page.tree.value("NextMarker")) == (["asdf"], ["boo/"], "boo/")
    page = await s3.call("GET", "/bucket?prefix=boo/&delimiter=/&max-keys=1")
    assert (keys(page), page.tree.value("NextMarker")) == (["boo/bar"], "boo/bar")
    page = await s3.call("GET", "/bucket?prefix=boo/&delimiter=/")
    assert (keys(page), prefixes(page), truncated(page)) == (["boo/bar"], ["boo/baz/"], False)


async def test_a_key_that_is_the_prefix_is_a_key() -> None:
    s3 = filled("asdf/")
    page = await s3.call("GET", "/bucket?prefix=asdf/&delimiter=/")
    assert (keys(page), prefixes(page)) == (["asdf/"], [])


@pytest.mark.parametrize(
    ("delimiter", "found"),
    [
        ("a", (["foo"], ["ba", "ca"])),
        ("%25", (["bar", "baz", "cab", "foo"], [])),
        ("%0a", (["bar", "baz", "cab", "foo"], [])),
        ("ar", (["baz", "cab", "foo"], ["bar"])),
        ("x" * 2000, (["bar", "baz", "cab", "foo"], [])),
    ],
)
async def test_a_delimiter_is_any_text(delimiter: str, found: tuple[list[str], list[str]]) -> None:
    s3 = filled("bar", "baz", "cab", "foo")
    page = await s3.call("GET", f"/bucket?list-type=2&delimiter={delimiter}")
    assert (keys(page), prefixes(page)) == found
    assert page.tree.value("KeyCount") == str(len(found[0]) + len(found[1]))


async def test_an_empty_delimiter_is_none_and_empty_markers_are_the_beginning() -> None:
    s3 = filled("a", "b")
    page = await s3.call("GET", "/bucket?delimiter=&marker=&prefix=")
    assert keys(page) == ["a", "b"]
    assert page.tree.find("Delimiter") is None
    assert (page.tree.value("Marker"), page.tree.value("Prefix")) == ("", "")
    page = await s3.call("GET", "/bucket?list-type=2&continuation-token=&start-after=")
    assert keys(page) == ["a", "b"]
    assert (page.tree.value("ContinuationToken"), page.tree.value("StartAfter")) == ("", "")


async def test_a_marker_need_not_be_a_key() -> None:
    s3 = filled("bar", "baz", "foo", "quxx")
    assert keys(await s3.call("GET", "/bucket?marker=blah")) == ["foo", "quxx"]
    assert keys(await s3.call("GET", "/bucket?marker=zzz")) == []
    assert keys(await s3.call("GET", "/bucket?list-type=2&start-after=%0a")) == ["bar", "baz", "foo", "quxx"]


async def test_without_a_delimiter_the_last_key_is_the_next_marker() -> None:
    s3 = filled("a", "b", "c")
    page = await s3.call("GET", "/bucket?max-keys=2")
    assert (truncated(page), page.tree.find("NextMarker")) == (True, None)


@pytest.mark.parametrize("target", ["/bucket?", "/bucket?list-type=2&", "/bucket?versions&"])
async def test_no_key_at_all_may_be_asked_for(target: str) -> None:
    page = await filled("a").call("GET", f"{target}max-keys=0")
    assert (page.tree.value("MaxKeys"), truncated(page)) == ("0", False)
    assert b"<Key>" not in page.body
    assert (await Speaking().call("GET", f"{target}max-keys=0")).code == "NoSuchBucket"


async def test_more_than_a_thousand_keys_are_a_thousand() -> None:
    s3 = filled(*(f"{number:05}" for number in range(1001)))
    for asked in ("", "max-keys=1001", "max-keys=2147483647"):
        page = await s3.call("GET", f"/bucket?{asked}")
        assert (len(keys(page)), page.tree.value("MaxKeys"), truncated(page)) == (1000, "1000", True)
    assert keys(await s3.call("GET", "/bucket?marker=00999")) == ["01000"]


@pytest.mark.parametrize("value", ["", "-1", "blah", "1.5", "2147483648", "9" * 30, "%2B1", "%D9%A3"])
@pytest.mark.parametrize("target", ["max-keys=", "list-type=2&max-keys=", "versions&max-keys=", "uploads&max-uploads="])
async def test_a_limit_that_is_no_number_is_an_invalid_argument(target: str, value: str) -> None:
    refused = await filled().call("GET", f"/bucket?{target}{value}")
    assert (refused.status, refused.code) == (400, "InvalidArgument")
    name = target.rpartition("&")[2].removesuffix("=")
    assert refused.tree.value("ArgumentName") == name
    message = f"Argument {name} must be an integer between 0 and 2147483647"
    assert refused.tree.value("Message") == message


@pytest.mark.parametrize(
    "asked",
    [
        "encoding-type=base64",
        "encoding-type=",
        "prefix=a%00",
        "delimiter=%00",
        "marker=a%00b",
        "prefix=" + "x" * 1025,
        "marker=" + "x" * 1026,
        "list-type=2&continuation-token=nonsense",
        "list-type=2&continuation-token=MQ",
        "list-type=2&continuation-token=" + "A" * 9000,
        "list-type=2&start-after=%00",
        "versions&version-id-marker=null",
        "versions&key-marker=a&version-id-marker=nonsense",
        "uploads&key-marker=a&upload-id-marker=nonsense",
    ],
)
async def test_what_no_listing_can_begin_with_is_an_invalid_argument(asked: str) -> None:
    assert (await filled().call("GET", f"/bucket?{asked}")).code == "InvalidArgument"


async def test_a_token_that_was_never_given_is_told_as_s3_does() -> None:
    refused = await filled().call("GET", "/bucket?list-type=2&continuation-token=1ueGcxLPRx1Tr%2FXYExHnhbYLgveDs2J")
    assert refused.tree.value("Message") == "The continuation token provided is incorrect"


@pytest.mark.parametrize("target", ["", "?list-type=2", "?versions", "?uploads"])
async def test_a_bucket_that_is_missing_is_told(target: str) -> None:
    assert (await Speaking().call("GET", f"/bucket{target}")).code == "NoSuchBucket"


async def test_a_page_is_not_truncated_when_only_deleted_keys_follow() -> None:
    s3 = filled("a", "b", "c/1", "c/2", versioned=True)
    for key in ("b", "c/1", "c/2"):
        s3.do(DeleteObject("bucket", key))
    for target in ("/bucket?max-keys=1", "/bucket?list-type=2&max-keys=1", "/bucket?max-keys=1&delimiter=/"):
        page = await s3.call("GET", target)
        assert (keys(page), truncated(page)) == (["a"], False)
    s3.do(put("c/3", bucket="bucket"))
    page = await s3.call("GET", "/bucket?max-keys=1&delimiter=/")
    assert (keys(page), truncated(page), page.tree.value("NextMarker")) == (["a"], True, "a")
    page = await s3.call("GET", "/bucket?max-keys=1&delimiter=/&marker=a")
    assert (prefixes(page), truncated(page)) == (["c/"], False)


# ---- against a plain twin


async def walk(s3: Speaking, target: str) -> list[list[str]]:
    """The pages of a listing, as a client goes through them."""
    pages: list[list[str]] = []
    begin = ""
    while True:
        page = await s3.call("GET", f"{target}&encoding-type=url{begin}")
        listed = keys(page)
        pages.append(sorted([unquote(text) for text in listed + prefixes(page)], key=str.encode))
        if not truncated(page):
            return pages
        token, marker = page.tree.value("NextContinuationToken"), page.tree.value("NextMarker")
        begin = f"&continuation-token={token}" if token else f"&marker={quote_again(marker or listed[-1])}"


def quote_again(encoded: str) -> str:
    return quote(unquote(encoded), safe="")


@settings(max_examples=60)
@given(NAMES, GONE, PREFIX, DELIMITER, LIMIT)
async def test_pages_together_are_the_whole_listing_each_full_but_the_last(
    names: set[str], gone: set[str], prefix: str, delimiter: str, limit: int
) -> None:
    s3 = filled(*(names | gone), versioned=True)
    delete(s3, gone)
    entries = expected(names - gone, prefix, delimiter)
    pages = [entries[start : start + limit] for start in range(0, len(entries), limit)] or [[]]
    asked = query(prefix=prefix, delimiter=delimiter, max_keys=limit)
    assert await walk(s3, f"/bucket?{asked}") == pages
    assert await walk(s3, f"/bucket?list-type=2&{asked}") == pages


@settings(max_examples=60)
@given(NAMES, GONE, PREFIX, DELIMITER, LIMIT)
async def test_pages_cut_short_by_time_together_are_the_whole_listing(
    names: set[str], gone: set[str], prefix: str, delimiter: str, limit: int
) -> None:
    s3 = filled(*(names | gone), versioned=True, hurried=True)
    delete(s3, gone)
    entries = expected(names - gone, prefix, delimiter)
    asked = query(prefix=prefix, delimiter=delimiter, max_keys=limit)
    for target in (f"/bucket?{asked}", f"/bucket?list-type=2&{asked}"):
        pages = await walk(s3, target)
        assert [entry for page in pages for entry in page] == entries
        assert all(len(page) <= limit for page in pages)


async def test_a_page_cut_short_carries_its_marker_in_any_case() -> None:
    s3 = filled("a", "b", "c", "d", "e", hurried=True, versioned=True)
    delete(s3, {"a", "b", "c"})
    page = await s3.call("GET", "/bucket")
    assert (keys(page), truncated(page), page.tree.value("NextMarker")) == ([], True, "c")
    page = await s3.call("GET", "/bucket?marker=c")
    assert (keys(page), truncated(page)) == (["d", "e"], False)
