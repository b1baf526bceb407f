"""Records and segment headers: what is written is read, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaraft.journal_records import (
    FORMAT,
    HEADER_BYTES,
    RECORD_BYTES,
    Codec,
    Header,
    Read,
    RecordKind,
    decode_header,
)

HEADER = Header("a-cluster", 3, "ab" * 16, 7, 2**40, 2**41, b"saltsalt")
U64 = st.integers(0, 2**64 - 1)


def reader(data: bytes, base: int = 0) -> Read:
    """Reads of bytes that begin at `base` of a file."""
    return lambda length, offset: data[offset - base : offset - base + length]


@given(
    kind=st.sampled_from(RecordKind), position=st.integers(512, 2**62), back=st.integers(0, 400), index=U64, term=U64
)
def test_a_record_is_read_as_it_was_written(kind: RecordKind, position: int, back: int, index: int, term: int) -> None:
    codec, data = HEADER.codec, b"some data" * (index % 3)
    raw = codec.encode(kind, position, position - back, index, term, data) + data
    record = codec.decode(memoryview(b"before" + raw + b"behind"), 6, position)
    assert record is not None
    assert (record.kind, record.position, record.synced) == (kind, position, position - back)
    assert (record.index, record.term, bytes(record.data), record.end) == (index, term, data, position + len(raw))


def test_a_record_of_another_place_segment_or_length_is_none() -> None:
    codec = HEADER.codec
    raw = codec.encode(RecordKind.ENTRY, 600, 512, 9, 2, b"data") + b"data"
    other = Header("a-cluster", 3, "ab" * 16, 7, 2**40, 2**41, b"tlas4321").codec
    assert codec.decode(memoryview(raw), 0, 600) is not None
    assert codec.decode(memoryview(raw), 0, 608) is None
    assert other.decode(memoryview(raw), 0, 600) is None
    assert codec._replace(seed=codec.seed ^ 1).decode(memoryview(raw), 0, 600) is None
    for short in range(len(raw)):
        assert codec.decode(memoryview(raw[:short]), 0, 600) is None


def written(codec: Codec, base: int, sizes: list[int], batch: int = 1) -> tuple[bytes, list[int]]:
    """Entries of these sizes from `base` on, `batch` to a sync: their bytes and positions."""
    raw, positions, synced = b"", [], base
    for at, size in enumerate(sizes):
        position = base + len(raw)
        if at % batch == 0:
            synced = position
        data = bytes([at % 251]) * size
        raw += codec.encode(RecordKind.ENTRY, position, synced, at + 1, 1, data) + data
        positions.append(position)
    return raw, positions


@pytest.mark.parametrize("base", [HEADER_BYTES, 5 * 2**30])
def test_a_walk_finds_records_larger_than_its_window_and_across_it(base: int) -> None:
    sizes = [0, 700_000, 3 << 20, 1, 0, (1 << 20) - RECORD_BYTES, (1 << 20) - RECORD_BYTES - 1, 500, 1 << 20]
    codec = HEADER.codec
    raw, positions = written(codec, base, sizes)
    found = [(record.position, len(record.data)) for record in codec.walk(reader(raw, base), base, base + len(raw))]
    assert found == list(zip(positions, sizes, strict=True))
    assert [record.index for record in codec.walk(reader(raw, base), positions[3], base + len(raw))] == [
        4,
        5,
        6,
        7,
        8,
        9,
    ]


def test_a_walk_ends_before_a_bad_record_and_at_zeros() -> None:
    codec = HEADER.codec
    raw, positions = written(codec, 0, [100] * 5)
    behind = raw + bytes(5000)
    assert len(list(codec.walk(reader(behind), 0, len(behind)))) == 5
    broken = bytearray(behind)
    broken[positions[3] + 50] ^= 4
    assert len(list(codec.walk(reader(bytes(broken)), 0, len(behind)))) == 3


def test_only_a_record_of_a_later_batch_vouches_for_a_bad_one() -> None:
    codec = HEADER.codec
    raw, positions = written(codec, 0, [400_000] * 9, batch=3)
    read = reader(raw)
    assert codec.vouched(read, positions[6], len(raw)) is None  # the last batch vouches not for itself
    assert codec.vouched(read, positions[8], len(raw)) is None
    vouching = codec.vouched(read, positions[5], len(raw))
    assert vouching is not None
    assert vouching.synced == positions[6]
    assert codec.vouched(reader(raw[: positions[6]]), positions[4], positions[6]) is None


def test_records_inside_an_entrys_data_vouch_for_nothing() -> None:
    codec = HEADER.codec
    other = Header("a-cluster", 3, "ab" * 16, 7, 2**40, 2**41, b"a guess!").codec
    forged = b"".join(other.encode(RecordKind.MARK, at, at, 0, 0) for at in range(40, 40_000, RECORD_BYTES))
    raw = codec.encode(RecordKind.ENTRY, 0, 0, 1, 1, forged) + forged
    assert codec.vouched(reader(raw), 0, len(raw)) is None


def test_a_header_is_read_as_it_was_written_and_no_bit_may_differ() -> None:
    raw = HEADER.encode()
    assert len(raw) == HEADER_BYTES
    assert decode_header(raw) == HEADER
    for bit in range(HEADER_BYTES * 8):
        bad = bytearray(raw)
        bad[bit // 8] ^= 1 << bit % 8
        assert decode_header(bytes(bad)) is None
    assert decode_header(raw[:-1]) is None
    assert decode_header(b"") is None


def test_a_header_of_another_format_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaraft.journal_records.FORMAT", FORMAT + 1)
    raw = HEADER.encode()
    monkeypatch.undo()
    assert decode_header(raw) == FORMAT + 1


def test_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="fit"):
        Header("x" * 500, 1, "ab" * 16, 1, 1, 0, b"saltsalt").encode()
