"""Digests of contents, against published values and the plain functions."""

import hashlib
import zlib
from collections.abc import Callable

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from api.digests import (
    CHECKSUM_TYPES,
    DIGEST_BYTES,
    NATIVE,
    Digester,
    ExpectedDigests,
    composite,
    whole_crc,
)
from cluster.errors import Refused
from metaraft.model import Checksum, ChecksumAlgorithm

CHECKS: dict[ChecksumAlgorithm, str] = {
    "MD5": "25f9e794323b453885f5181f1b624d0b",
    "SHA1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "SHA256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    "CRC32": "cbf43926",
    "CRC32C": "e3069283",
    "CRC64NVME": "ae8b14860a799888",
}
"""Of the nine bytes '123456789', as the CRC catalogue and everybody's tools have them."""

CRCS: tuple[ChecksumAlgorithm, ...] = ("CRC32", "CRC32C", "CRC64NVME")


def digest(algorithm: ChecksumAlgorithm, content: bytes) -> bytes:
    digester = Digester((algorithm,))
    digester.update(content)
    return digester.digests().values[algorithm]


@given(st.lists(st.binary(max_size=200)), st.sets(st.sampled_from(sorted(DIGEST_BYTES))))
def test_pieces_digest_as_their_whole(pieces: list[bytes], algorithms: set[ChecksumAlgorithm]) -> None:
    digester = Digester(algorithms)
    for piece in pieces:
        digester.update(memoryview(piece))
    whole = b"".join(pieces)
    digests = digester.digests()
    assert digests.md5 == hashlib.md5(whole).digest()
    assert digests.blake3 == blake3(whole).digest()
    assert digests.values.keys() == {"MD5", "BLAKE3", *algorithms}
    assert digests.values == {algorithm: digest(algorithm, whole) for algorithm in digests.values}


@pytest.mark.parametrize(("algorithm", "value"), CHECKS.items())
def test_each_is_the_published_check_value(algorithm: ChecksumAlgorithm, value: str) -> None:
    assert digest(algorithm, b"123456789").hex() == value
    assert len(value) == 2 * DIGEST_BYTES[algorithm]


def test_checksums_are_kept_in_the_order_asked_for_and_blake3_is_always_one() -> None:
    digester = Digester(("SHA1", "CRC32"))
    digester.update(b"content")
    kept = digester.digests().checksums(("SHA1", "CRC32"))
    assert list(kept.items()) == [
        ("SHA1", Checksum(hashlib.sha1(b"content").digest())),
        ("CRC32", Checksum(zlib.crc32(b"content").to_bytes(4, "big"))),
        ("BLAKE3", Checksum(blake3(b"content").digest())),
    ]
    assert list(Digester().digests().checksums(NATIVE)) == ["CRC64NVME", "SHA256", "BLAKE3"]


EXPECTING: dict[ChecksumAlgorithm, Callable[[bytes], ExpectedDigests]] = {
    "MD5": lambda value: ExpectedDigests(md5=value, algorithms=()),
    "SHA256": lambda value: ExpectedDigests(sha256=value, algorithms=()),
    "SHA1": lambda value: ExpectedDigests(sha1=value, algorithms=()),
    "CRC64NVME": lambda value: ExpectedDigests(crc64nvme=value, algorithms=()),
    "CRC32": lambda value: ExpectedDigests(crc32=value, algorithms=()),
    "CRC32C": lambda value: ExpectedDigests(crc32c=value, algorithms=()),
}


@pytest.mark.parametrize("algorithm", EXPECTING)
def test_an_expected_digest_must_be_the_contents(algorithm: ChecksumAlgorithm) -> None:
    right = EXPECTING[algorithm](digest(algorithm, b"content"))
    wrong = EXPECTING[algorithm](bytes(DIGEST_BYTES[algorithm]))
    digester = Digester(right.needed())
    digester.update(b"content")
    digests = digester.digests()
    digests.check(ExpectedDigests())
    digests.check(right)
    with pytest.raises(Refused, match=algorithm) as caught:
        digests.check(wrong)
    assert caught.value.code == "BadDigest"


def test_a_wrong_sha256_has_the_code_that_was_asked_for() -> None:
    digests = Digester().digests()
    with pytest.raises(Refused) as caught:
        digests.check(ExpectedDigests(sha256=bytes(32), sha256_code="XAmzContentSHA256Mismatch"))
    assert caught.value.code == "XAmzContentSHA256Mismatch"


@pytest.mark.parametrize("algorithm", CRCS)
@given(parts=st.lists(st.binary(max_size=300), max_size=8))
def test_the_crcs_of_parts_make_the_crc_of_the_whole(algorithm: ChecksumAlgorithm, parts: list[bytes]) -> None:
    assert whole_crc(algorithm, [(digest(algorithm, part), len(part)) for part in parts]) == digest(
        algorithm, b"".join(parts)
    )


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_a_composite_checksum_is_the_checksum_of_the_parts_checksums(algorithm: ChecksumAlgorithm) -> None:
    values = [digest(algorithm, part) for part in (b"one", b"", b"three")]
    assert composite(algorithm, values) == digest(algorithm, b"".join(values))


def test_every_checksum_that_s3_has_for_uploads_has_a_type() -> None:
    for algorithm, types in CHECKSUM_TYPES.items():
        assert ("FULL_OBJECT" in types) == (algorithm in CRCS)
