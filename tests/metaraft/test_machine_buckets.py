"""Versioning and settings of buckets, and what keeps a bucket from being deleted."""

import pytest

from metaraft.commands import (
    AbortUpload,
    CreateBucket,
    CreateUpload,
    DeleteBucket,
    DeleteObject,
    SetBucketSetting,
    SetVersioning,
)
from metaraft.machine_buckets import SETTING_BYTES_MAX, SETTINGS_MAX
from metaraft.model import Bucket, Versioning, Which
from metaraft.queries import (
    BucketFound,
    BucketSettingFound,
    GetBucket,
    GetBucketSetting,
)
from metaraft.results import (
    Done,
    Failed,
    ObjectDone,
    UploadDone,
)
from metaraft.rows import Kind
from tests.metaraft.metadata import COPIES, Metadata, put, with_bucket


def bucket(metadata: Metadata, name: str = "b") -> Bucket:
    found = metadata.ask(GetBucket(name))
    assert isinstance(found, BucketFound)
    return found.bucket


def setting(metadata: Metadata, name: str, of: str = "b") -> bytes | None:
    found = metadata.ask(GetBucketSetting(of, name))
    assert isinstance(found, BucketSettingFound)
    return found.value


def setting_rows(metadata: Metadata) -> int:
    return sum(key[0] == Kind.SETTING for key, _ in metadata.rows.items())


# ---- versioning


def test_versioning_is_off_until_it_is_enabled_and_then_never_again() -> None:
    metadata = with_bucket()
    assert bucket(metadata).versioning == "off"
    wanted: tuple[Versioning, ...] = ("enabled", "suspended", "enabled")
    for number, versioning in enumerate(wanted):
        assert versioning != "off"
        assert metadata.do(SetVersioning("b", versioning)) == Done(2 + number)
        assert bucket(metadata).versioning == versioning


def test_versioning_may_be_suspended_before_it_was_ever_enabled() -> None:
    metadata = with_bucket()
    metadata.do(SetVersioning("b", "suspended"))
    assert bucket(metadata).versioning == "suspended"


def test_versioning_as_it_is_changes_nothing() -> None:
    metadata = with_bucket()
    metadata.do(SetVersioning("b", "enabled"))
    before = metadata.facts()
    assert metadata.do(SetVersioning("b", "enabled")) == Done(2)
    assert metadata.facts() == before


def test_commands_after_it_see_the_versioning_at_once_and_after_a_restart() -> None:
    metadata = with_bucket()
    metadata.do(put("k"))  # the machine has the bucket at hand now
    metadata.do(SetVersioning("b", "enabled"))
    first = metadata.do(put("k"))
    metadata.restart()
    second = metadata.do(put("k"))
    for made in (first, second):
        assert isinstance(made, ObjectDone)
        assert (made.null, made.versioning) == (False, "enabled")


def test_versioning_of_a_bucket_that_is_not_there_is_refused() -> None:
    metadata = with_bucket()
    assert metadata.code(SetVersioning("no", "enabled")) == "NoSuchBucket"


def test_a_bucket_made_anew_has_no_versioning() -> None:
    metadata = with_bucket()
    metadata.do(SetVersioning("b", "enabled"))
    metadata.do(DeleteBucket("b"))
    metadata.do(CreateBucket("b", "owner", COPIES))
    assert bucket(metadata).versioning == "off"


# ---- settings


def test_a_setting_is_written_replaced_and_removed() -> None:
    metadata = with_bucket()
    assert metadata.do(SetBucketSetting("b", "cors", b"one")) == Done(2)
    assert setting(metadata, "cors") == b"one"
    assert metadata.do(SetBucketSetting("b", "cors", b"two, and longer")) == Done(3)
    assert setting(metadata, "cors") == b"two, and longer"
    assert metadata.do(SetBucketSetting("b", "cors", None)) == Done(4)
    assert setting(metadata, "cors") is None
    assert setting_rows(metadata) == 0


@pytest.mark.parametrize("value", [None, b"same", b""])
def test_a_setting_as_it_is_changes_nothing(value: bytes | None) -> None:
    metadata = with_bucket()
    metadata.do(SetBucketSetting("b", "cors", value))
    before, revision = metadata.facts(), metadata.machine.revision()
    assert metadata.do(SetBucketSetting("b", "cors", value)) == Done(revision)
    assert metadata.facts() == before


def test_settings_are_of_one_bucket() -> None:
    metadata = with_bucket()
    metadata.do(CreateBucket("c", "owner", COPIES))
    metadata.do(SetBucketSetting("b", "tags", b"b"))
    assert setting(metadata, "tags", "c") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", b""),
        ("n" * 65, b""),
        ("é" * 33, b""),
        ("a\0b", b""),
        ("n" * 65, None),
        ("cors", b"v" * (SETTING_BYTES_MAX + 1)),
    ],
)
def test_a_setting_that_is_too_long_is_refused(name: str, value: bytes | None) -> None:
    assert with_bucket().code(SetBucketSetting("b", name, value)) == "BadSetting"


def test_the_longest_setting_is_kept() -> None:
    metadata = with_bucket()
    metadata.do(SetBucketSetting("b", "n" * 64, b"v" * SETTING_BYTES_MAX))
    assert setting(metadata, "n" * 64) == b"v" * SETTING_BYTES_MAX


def test_the_number_of_settings_is_bounded_and_those_there_may_change() -> None:
    metadata = with_bucket()
    for number in range(SETTINGS_MAX):
        metadata.do(SetBucketSetting("b", f"s{number}", b"v"))
    assert metadata.code(SetBucketSetting("b", "more", b"v")) == "BadSetting"
    metadata.do(SetBucketSetting("b", "s0", b"w"))
    assert setting(metadata, "s0") == b"w"
    metadata.do(SetBucketSetting("b", "s1", None))
    metadata.do(SetBucketSetting("b", "more", b"v"))
    assert setting(metadata, "more") == b"v"


def test_a_setting_of_a_bucket_that_is_not_there_is_refused() -> None:
    assert with_bucket().code(SetBucketSetting("no", "cors", b"")) == "NoSuchBucket"


# ---- deletion


def test_a_delete_marker_keeps_a_bucket() -> None:
    metadata = with_bucket()
    metadata.do(SetVersioning("b", "enabled"))
    marker = metadata.do(DeleteObject("b", "k"))
    assert isinstance(marker, ObjectDone)
    assert metadata.code(DeleteBucket("b")) == "BucketNotEmpty"
    metadata.do(DeleteObject("b", "k", which=Which(marker.revision)))
    assert isinstance(metadata.do(DeleteBucket("b")), Done)


def test_an_upload_under_way_keeps_a_bucket() -> None:
    metadata = with_bucket()
    begun = metadata.do(CreateUpload("b", "k", b"8 bytes.", "text/plain"))
    assert isinstance(begun, UploadDone)
    assert metadata.code(DeleteBucket("b")) == "BucketNotEmpty"
    metadata.do(AbortUpload("b", "k", begun.upload.upload_id))
    assert isinstance(metadata.do(DeleteBucket("b")), Done)


def test_what_is_in_another_bucket_does_not_keep_it() -> None:
    metadata = with_bucket()
    metadata.do(CreateBucket("c", "owner", COPIES))
    metadata.do(put("k", bucket="c", bucket_id=2))
    metadata.do(CreateUpload("c", "k", b"8 bytes.", "text/plain"))
    assert isinstance(metadata.do(DeleteBucket("b")), Done)


def test_a_bucket_takes_its_settings_with_it_and_no_others() -> None:
    metadata = with_bucket()
    metadata.do(CreateBucket("c", "owner", COPIES))
    for name in ("cors", "tags"):
        metadata.do(SetBucketSetting("b", name, b"b"))
        metadata.do(SetBucketSetting("c", name, b"c"))
    metadata.do(DeleteBucket("b"))
    assert setting_rows(metadata) == 2
    assert setting(metadata, "cors", "c") == b"c"
    metadata.do(CreateBucket("b", "owner", COPIES))
    assert setting(metadata, "cors") is None


# ---- a name that leads to another bucket


def test_a_command_that_was_decided_on_a_bucket_is_refused_once_its_name_is_anothers() -> None:
    metadata = with_bucket()
    first = {"b": bucket(metadata).bucket_id}
    assert isinstance(metadata.do(SetVersioning("b", "enabled"), buckets=first), Done)
    metadata.do(DeleteBucket("b"))
    for again in (False, True):
        if again:
            metadata.do(CreateBucket("b", "other", COPIES))
        found = metadata.do(SetVersioning("b", "enabled"), buckets=first)
        assert isinstance(found, Failed)
        assert (found.kind, found.code) == ("refused", "NoSuchBucket")
    assert bucket(metadata).versioning == "off"
