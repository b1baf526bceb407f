"""Keys sort as what they name, and a row that is not what was written is noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import Corrupt
from metaraft.model import Coded, Copies, Scheme
from metaraft.rows import (
    Kind,
    access_key_key,
    assembly_key,
    bucket_key,
    chunk_key,
    invalid_key,
    name_key,
    null_key,
    parse_scheme,
    part_key,
    part_number,
    parts_key,
    results_key,
    row_hash,
    scheme_bytes,
    seal,
    setting_key,
    space_key,
    successor,
    trash_key,
    unseal,
    upload_key,
    user_email_key,
    user_id_key,
    user_key,
    user_keys_key,
    version_key,
    versions_key,
    versions_stop,
    zero_key,
)

object_keys = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
revisions = st.integers(0, (1 << 64) - 1)
upload_ids = st.binary(min_size=16, max_size=16)


def row_of(key: str, revision: int) -> bytes:
    return version_key(versions_key(1, 7, key.encode()), revision)


@given(object_keys, object_keys, revisions, revisions)
def test_versions_sort_by_key_bytes_then_newest_first(a: str, b: str, r: int, s: int) -> None:
    expected = (a.encode(), -r) < (b.encode(), -s)
    assert (row_of(a, r) < row_of(b, s)) == expected


@given(object_keys, object_keys, revisions)
def test_one_seek_finds_the_versions_of_a_key_and_no_other(a: str, b: str, revision: int) -> None:
    versions = versions_key(1, 7, a.encode())
    assert (versions <= row_of(b, revision) < versions_stop(versions)) == (a == b)


@given(object_keys, object_keys, upload_ids, upload_ids)
def test_uploads_sort_by_key_bytes_then_by_their_ids(a: str, b: str, first: bytes, second: bytes) -> None:
    rows = [upload_key(1, 7, key.encode(), one) for key, one in ((a, first), (b, second))]
    assert (rows[0] < rows[1]) == ((a.encode(), first) < (b.encode(), second))


@given(upload_ids, upload_ids, st.integers(1, 10_000), st.integers(1, 10_000))
def test_parts_sort_by_number_and_one_scan_finds_those_of_an_upload(
    one: bytes, other: bytes, number: int, second: int
) -> None:
    for kind in (Kind.PART, Kind.PART_CHUNKS):
        assert (part_key(1, one, number, kind) < part_key(1, one, second, kind)) == (number < second)
    parts = parts_key(1, one)
    assert part_number(part_key(1, one, number)) == number
    assert (parts <= part_key(1, other, number) < successor(parts)) == (one == other)


@given(st.binary(min_size=1).filter(lambda start: start.strip(b"\xff")), st.binary())
def test_the_successor_bounds_all_that_begins_so(start: bytes, more: bytes) -> None:
    assert start + more < successor(start)
    assert successor(start)[:-1] <= start


def test_kinds_do_not_share_a_first_byte_with_another() -> None:
    versions = versions_key(1, 7, b"k")
    keys = [space_key(1), name_key("b"), bucket_key(1, 2), trash_key(1, 3), results_key(4, 5), zero_key(1, 6, b"", b"")]
    keys += [version_key(versions, 1), null_key(1, 7, b"k"), upload_key(1, 7, b"k", b"u" * 16)]
    keys += [part_key(1, b"u" * 16, 1, kind) for kind in (Kind.PART, Kind.PART_CHUNKS)]
    keys += [assembly_key(1, b"u" * 16)]
    assert [key[0] for key in keys] == [
        Kind.SPACE,
        Kind.NAME,
        Kind.BUCKET,
        Kind.TRASH,
        Kind.RESULTS,
        Kind.ZERO,
        Kind.VERSION,
        Kind.NULL,
        Kind.UPLOAD,
        Kind.PART,
        Kind.PART_CHUNKS,
        Kind.ASSEMBLY,
    ]


def test_rows_of_users_and_settings_begin_with_their_kinds() -> None:
    keys = [setting_key(1, 2, "cors"), user_key("u"), user_id_key("i"), user_email_key("e"), access_key_key("a")]
    keys.append(user_keys_key("u"))
    assert [key[0] for key in keys] == [
        Kind.SETTING,
        Kind.USER,
        Kind.USER_ID,
        Kind.USER_EMAIL,
        Kind.ACCESS_KEY,
        Kind.USER_KEY,
    ]


def test_schemes_have_a_key_each() -> None:
    schemes: list[Scheme] = [Copies(1), Copies(3), Coded(4, 2), Coded(2, 4)]
    assert len({scheme_bytes(scheme) for scheme in schemes}) == len(schemes)
    assert [parse_scheme(scheme_bytes(scheme)) for scheme in schemes] == schemes
    assert len({chunk_key(1, scheme_bytes(scheme), b"c" * 32) for scheme in schemes}) == len(schemes)


def test_the_longest_key_fits_into_lmdb() -> None:
    assert len(row_of("k" * 1024, 1)) <= 1978
    assert len(upload_key(1, 7, b"k" * 1024, b"u" * 16)) <= 1978


@pytest.mark.parametrize(
    ("key", "fine"),
    [
        ("a", True),
        ("../x", True),
        ("k" * 1024, True),
        ("é" * 512, True),
        ("", False),
        ("k" * 1025, False),
        ("é" * 513, False),
        ("a\0b", False),
    ],
)
def test_keys_are_1_to_1024_bytes_without_nul(key: str, fine: bool) -> None:
    assert (invalid_key(key, key.encode()) is None) == fine


@given(st.binary(min_size=1, max_size=50), st.binary(max_size=50), st.data())
def test_a_flipped_bit_in_key_or_value_is_noticed(key: bytes, value: bytes, data: st.DataObject) -> None:
    stored = seal(key, value)
    assert unseal(key, stored) == value
    bit = data.draw(st.integers(0, 8 * (len(key) + len(stored)) - 1))
    rotten = bytearray(key + stored)
    rotten[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Corrupt, match="checksum") as raised:
        unseal(bytes(rotten[: len(key)]), bytes(rotten[len(key) :]))
    assert raised.value.code == "RowRot"


def test_a_value_too_short_for_a_checksum_is_rot() -> None:
    for stored in (b"", b"abc"):
        with pytest.raises(Corrupt):
            unseal(b"key", stored)


def test_the_row_hash_tells_key_from_value() -> None:
    assert row_hash(b"ab", b"c") != row_hash(b"a", b"bc")
    assert 0 <= row_hash(b"ab", b"c") < 1 << 128
