"""Chunk ids and headers, against a plain twin and by tables."""

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkd import blocks
from cluster.errors import Corrupt
from cluster.limits import BLOCK_BYTES, CHUNK_BYTES

SIZES = [1, 2, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES, CHUNK_BYTES - 1, CHUNK_BYTES]


def filled(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@pytest.mark.parametrize("size", SIZES)
def test_an_id_is_the_derived_hash_of_length_and_block_hashes(size: int) -> None:
    data = filled(size)
    hashes = b"".join(blake3(data[at : at + 65536]).digest() for at in range(0, size, 65536))
    twin = blake3(derive_key_context="trilith 2026 chunk v1")
    twin.update(size.to_bytes(8, "little"))
    twin.update(hashes)
    assert blocks.name_chunk(data) == (twin.digest(), hashes)
    assert blocks.invalid(twin.digest(), size, hashes) is None


def test_an_id_never_changes() -> None:
    chunk_id, _ = blocks.name_chunk(b"trilith")
    assert chunk_id.hex() == "2906891830f5ba537e34bf126a0b0ff3b59353d547f0d5c362fb8c3fb8b62db7"


@pytest.mark.parametrize("size", SIZES)
def test_a_header_is_read_back(size: int) -> None:
    hashes = blocks.hash_blocks(filled(size))
    header = blocks.encode_header(size, hashes)
    assert len(header) == blocks.DATA_OFFSET
    assert blocks.decode_header(header) == (size, hashes)


@given(st.integers(0, blocks.DATA_OFFSET * 8 - 1), st.sampled_from([1, 70_000, CHUNK_BYTES]))
@settings(max_examples=300)
def test_a_flipped_bit_of_a_header_is_noticed_or_without_meaning(bit: int, size: int) -> None:
    hashes = bytes(range(32)) * blocks.block_count(size)
    header = bytearray(blocks.encode_header(size, hashes))
    header[bit // 8] ^= 1 << bit % 8
    if bit // 8 < 24 + len(hashes) + 4:
        with pytest.raises(Corrupt):
            blocks.decode_header(bytes(header))
    else:
        assert blocks.decode_header(bytes(header)) == (size, hashes)


@given(st.binary(max_size=64))
def test_any_bytes_as_a_header_are_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        blocks.decode_header(data)
    with pytest.raises(Corrupt):
        blocks.decode_header(data.ljust(blocks.DATA_OFFSET, b"\xff"))


def test_what_does_not_belong_together_is_said() -> None:
    chunk_id, hashes = blocks.name_chunk(b"x" * 70_000)
    for name, length, listed, words in [
        (chunk_id[:31], 70_000, hashes, "has 32 bytes"),
        (chunk_id, 0, b"", "1 to"),
        (chunk_id, CHUNK_BYTES + 1, hashes, "1 to"),
        (chunk_id, 70_000, hashes[:32], "hash list"),
        (chunk_id, 69_999, hashes, "not those of"),
        (chunk_id, 70_000, hashes[32:] + hashes[:32], "not those of"),
        (bytes(32), 70_000, hashes, "not those of"),
    ]:
        assert words in (blocks.invalid(name, length, listed) or "")


@given(st.integers(1, 5 * BLOCK_BYTES), st.data())
@settings(max_examples=50)
def test_the_first_wrong_block_is_found(size: int, data: st.DataObject) -> None:
    content = bytearray(filled(size))
    hashes = blocks.hash_blocks(content)
    assert blocks.first_wrong(content, hashes, 0) is None
    at = data.draw(st.integers(0, size - 1))
    content[at] ^= 0x40
    number = at // BLOCK_BYTES
    assert blocks.first_wrong(content, hashes, 0) == number
    rest = memoryview(content)[number * BLOCK_BYTES :]
    assert blocks.first_wrong(rest, hashes, number) == number
    assert blocks.first_wrong(rest[BLOCK_BYTES:], hashes, number + 1) is None


def test_more_data_than_hashes_is_wrong() -> None:
    hashes = blocks.hash_blocks(bytes(BLOCK_BYTES))
    assert blocks.first_wrong(bytes(2 * BLOCK_BYTES), hashes, 0) == 1


@given(st.integers(1, CHUNK_BYTES), st.data())
def test_a_cover_is_the_least_run_of_whole_blocks(chunk: int, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, chunk - 1))
    length = data.draw(st.integers(1, chunk - offset))
    start, stop = blocks.cover(offset, length, chunk)
    assert start % BLOCK_BYTES == 0
    assert stop % BLOCK_BYTES == 0 or stop == chunk
    assert start <= offset < start + BLOCK_BYTES
    assert offset + length <= stop < offset + length + BLOCK_BYTES
