"""Versions, delete markers, tags and settings as the operations show them, over the real state machine."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.conditions import NO_CONDITION
from api.digests import ExpectedDigests
from api.operations.values import Deleted, Description
from api.operations.versions import (
    parse_upload_id,
    parse_version,
    shown_version,
    upload_id,
    version_id,
    which_id,
)
from cluster.errors import Refused
from metaraft.commands import (
    Condition,
)
from metaraft.model import Which
from metaraft.queries import ListedVersion
from tests.api.operating import PLAIN, Body, Operating, operating
from tests.api.refusals import refusal


@given(st.integers(0, 2**64 - 1))
def test_a_versions_id_is_read_back_as_the_version(revision: int) -> None:
    text = version_id(revision, null=False)
    assert len(text) == 16
    assert parse_version(text) == Which(revision)
    assert which_id(Which(revision)) == text


def test_the_null_version_has_the_id_null() -> None:
    assert version_id(7, null=True) == which_id(Which(None)) == "null"
    assert parse_version("null") == Which(None)


@pytest.mark.parametrize("text", ["", "Null", "0", "0" * 15, "0" * 17, "A" * 16, "g" * 16, "٣" * 16, "0" * 16 + "\n"])
def test_what_is_no_versions_id_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="Invalid version id specified") as caught:
        parse_version(text)
    assert caught.value.code == "InvalidArgument"


@given(st.binary(min_size=16, max_size=16))
def test_an_uploads_id_is_read_back(raw: bytes) -> None:
    assert parse_upload_id(upload_id(raw)) == raw


@pytest.mark.parametrize("text", ["", "null", "0" * 31, "0" * 33, "A" * 32, "x" * 32])
def test_what_is_no_uploads_id_is_an_upload_that_is_not_there(text: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_upload_id(text)
    assert caught.value.code == "NoSuchUpload"


async def enable(o: Operating) -> None:
    await o.do.buckets.set_versioning("bucket", "enabled", o.call())


async def suspend(o: Operating) -> None:
    await o.do.buckets.set_versioning("bucket", "suspended", o.call())


async def delete(o: Operating, key: str, text: str | None = None, condition: Condition = NO_CONDITION) -> Deleted:
    version = None if text is None else parse_version(text)
    return await o.do.objects.delete("bucket", key, condition, o.call(), version=version)


async def get(o: Operating, key: str, text: str) -> bytes:
    return await o.get(key, version=parse_version(text))


async def test_without_versioning_there_are_no_ids(tmp_path: Path) -> None:
    async with operating(tmp_path, up=False) as o:
        written = await o.put("a", b"1")
        assert written.version_id is None
        found = await o.find("a")
        assert shown_version(found.bucket, found.version) is None
        assert await get(o, "a", "null") == b"1"
        assert await delete(o, "a") == Deleted(None, delete_marker=False, existed=True)
        assert await delete(o, "a") == Deleted(None, delete_marker=False, existed=False)
        await refusal("NoSuchKey", o.find("a"))


async def test_every_version_is_found_by_its_id_and_a_deleted_one_brings_back_the_one_before(tmp_path: Path) -> None:
    async with operating(tmp_path, up=False) as o:
        await o.put("a", b"0")
        await enable(o)
        first, second = await o.put("a", b"1"), await o.put("a", b"2")
        ids = ["null", first.version_id or "", second.version_id or ""]
        assert len(set(ids)) == 3
        for text, data in zip(ids, (b"0", b"1", b"2"), strict=True):
            found = await o.find("a", version=parse_version(text))
            assert shown_version(found.bucket, found.version) == text
            assert await o.content(found) == data
        assert await o.get("a") == b"2"
        assert await delete(o, "a", ids[2]) == Deleted(ids[2], delete_marker=False, existed=True)
        assert await o.get("a") == b"1"
        await refusal("NoSuchVersion", o.find("a", version=parse_version(ids[2])))
        assert await delete(o, "a", ids[2]) == Deleted(ids[2], delete_marker=False, existed=False)
        await delete(o, "a", ids[1])
        assert await o.get("a") == b"0"
        await delete(o, "a", "null")
        await refusal("NoSuchKey", o.find("a"))
        await refusal("NoSuchVersion", o.find("a", version=Which(None)))


async def test_a_delete_marker_hides_a_key_says_so_and_can_be_deleted(tmp_path: Path) -> None:
    async with operating(tmp_path, up=False) as o:
        await enable(o)
        kept = await o.put("a", b"1")
        marker = await delete(o, "a")
        assert (marker.delete_marker, marker.existed) == (True, True)
        text = marker.version_id or ""
        error = await refusal("NoSuchKey", o.find("a"))
        assert error.detail == {"delete_marker": "true", "version_id": text}
        error = await refusal("MethodNotAllowed", o.find("a", version=parse_version(text)))
        assert error.detail == {
            "delete_marker": "true",
            "version_id": text,
            "last_modified_ms": str(o.meta.state.now_ms),
        }
        assert await get(o, "a", kept.version_id or "") == b"1"
        assert await delete(o, "a", text) == Deleted(text, delete_marker=True, existed=True)
        assert await o.get("a") == b"1"


async def test_while_suspended_there_is_one_null_version_and_others_stay(tmp_path: Path) -> None:
    async with operating(tmp_path, up=False) as o:
        await enable(o)
        first = await o.put("a", b"1")
        await suspend(o)
        for data in (b"2", b"3"):
            assert (await o.put("a", data)).version_id == "null"
        assert await get(o, "a", "null") == b"3"
        assert await delete(o, "a") == Deleted("null", delete_marker=True, existed=True)
        error = await refusal("NoSuchKey", o.find("a"))
        assert error.detail == {"delete_marker": "true", "version_id": "null"}
        assert await delete(o, "a", "null") == Deleted("null", delete_marker=True, existed=True)
        assert await o.get("a") == b"1"
        assert await get(o, "a", first.version_id or "") == b"1"


async def test_an_object_of_an_upload_is_a_version_as_any_other(tmp_path: Path) -> None:
    async with operating(tmp_path) as o:
        await enable(o)
        old = await o.put("a", b"old")
        made = await o.upload("a", b"x" * 5000, b"y")
        assert made.existed
        assert await o.get("a") == await get(o, "a", made.version_id or "") == b"x" * 5000 + b"y"
        assert await get(o, "a", old.version_id or "") == b"old"
        await delete(o, "a", made.version_id)
        assert await o.get("a") == b"old"


async def test_a_write_over_a_delete_marker_is_one_where_nothing_was(tmp_path: Path) -> None:
    async with operating(tmp_path, up=False) as o:
        await enable(o)
        await o.put("a", b"1")
        await delete(o, "a")

        async def put(condition: Condition) -> bool:
            written = await o.do.objects.put(
                "bucket",
                "a",
                PLAIN,
                Body(b"2"),
                size=1,
                expected=ExpectedDigests(),
                condition=condition,
                call=o.call(),
            )
            return written.existed

        await refusal("PreconditionFailed", put(Condition(if_match=("*",))))
        assert not await put(Condition(if_none_match=("*",)))
        await refusal("PreconditionFailed", put(Condition(if_none_match=("*",))))


async def test_tags_are_of_one_version(tmp_path: Path) -> None:
    async with operating(tmp_path, up=False) as o:
        tagged = Description("text/plain", {}, {}, {"a": "1"})
        await o.put("a", b"0", description=tagged)
        assert (await o.find("a")).version.tags == {"a": "1"}
        assert await o.do.objects.set_tags("bucket", "a", {}, o.call()) is None
        assert (await o.find("a")).version.tags == {}
        await enable(o)
        second = await o.put("a", b"1", description=tagged)
        assert await o.do.objects.set_tags("bucket", "a", {"b": "2"}, o.call()) == second.version_id
        assert await o.do.objects.set_tags("bucket", "a", {"c": "3"}, o.call(), version=Which(None)) == "null"
        assert (await o.find("a")).version.tags == {"b": "2"}
        assert (await o.find("a", version=Which(None))).version.tags == {"c": "3"}
        await refusal("NoSuchKey", o.do.objects.set_tags("bucket", "b", {}, o.call()))
        await refusal("NoSuchVersion", o.do.objects.set_tags("bucket", "a", {}, o.call(), version=Which(99)))
        text = (await delete(o, "a")).version_id or ""
        await refusal("NoSuchKey", o.do.objects.set_tags("bucket", "a", {}, o.call()))
        error = await refusal(
            "MethodNotAllowed", o.do.objects.set_tags("bucket", "a", {}, o.call(), version=parse_version(text))
        )
        assert error.detail == {"delete_marker": "true", "version_id": text}


@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_all_versions_are_listed_newest_first_page_by_page(tmp_path: Path, limit: int) -> None:
    async with operating(tmp_path, up=False) as o:
        await o.put("a", b"0")
        await enable(o)
        for key in ("a", "b/1", "b/2", "c"):
            await o.put(key, b"1")
        await delete(o, "a")
        seen: list[ListedVersion] = []
        prefixes: list[str] = []
        key, after = "", None
        while True:
            page = await o.do.listing.versions("bucket", "", "/", key, after, limit, o.call())
            assert len(page.versions) + len(page.prefixes) <= limit
            seen += page.versions
            prefixes += page.prefixes
            if page.next_after is None:
                break
            key, revision = page.next_after
            after = None if revision is None else parse_version(version_id(revision, null=False))
        assert [(one.key, one.null, one.latest, one.delete_marker) for one in seen] == [
            ("a", False, True, True),
            ("a", False, False, False),
            ("a", True, False, False),
            ("c", False, True, False),
        ]
        assert prefixes == ["b/"]


async def test_a_listing_goes_on_behind_the_null_version(tmp_path: Path) -> None:
    async with operating(tmp_path, up=False) as o:
        await enable(o)
        first = await o.put("a", b"1")
        await suspend(o)
        await o.put("a", b"2")
        page = await o.do.listing.versions("bucket", "", "", "a", Which(None), 1000, o.call())
        assert [one.revision for one in page.versions] == [first.revision]


async def test_settings_of_a_bucket_are_kept_as_they_were_set(tmp_path: Path) -> None:
    async with operating(tmp_path, up=False) as o:
        buckets = o.do.buckets
        assert (await buckets.setting("bucket", "cors", o.call())).value is None
        await buckets.set_setting("bucket", "cors", b"\x00value", o.call())
        found = await buckets.setting("bucket", "cors", o.call())
        assert (found.value, found.bucket.name) == (b"\x00value", "bucket")
        assert (await buckets.setting("bucket", "tagging", o.call())).value is None
        await buckets.set_setting("bucket", "cors", None, o.call())
        assert (await buckets.setting("bucket", "cors", o.call())).value is None
        for name in ("missing", "No Such Name"):
            await refusal("NoSuchBucket", buckets.setting(name, "cors", o.call()))
            await refusal("NoSuchBucket", buckets.set_setting(name, "cors", b"", o.call()))
            await refusal("NoSuchBucket", buckets.set_versioning(name, "enabled", o.call()))


async def test_buckets_are_listed_by_prefix_and_owner(tmp_path: Path) -> None:
    async with operating(tmp_path, up=False) as o:
        await o.do.buckets.create("budget", o.call())
        await o.do.buckets.create("other", o.call())

        async def names(**asked: str) -> list[str]:
            found = await o.do.buckets.list("", 1000, o.call(), **asked)
            return [bucket.name for bucket in found.buckets]

        assert await names() == ["bucket", "budget", "other"]
        assert await names(prefix="bu") == ["bucket", "budget"]
        assert await names(owner="root") == ["bucket", "budget", "other"]
        assert await names(owner="nobody") == []
