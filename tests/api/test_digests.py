"""Digests of contents, against published values and the plain functions."""

import hashlib

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from api.digests import Digester, ExpectedDigests
from cluster.errors import Refused
from metaraft.model import Checksum


@given(st.lists(st.binary(max_size=200)))
def test_pieces_digest_as_their_whole(pieces: list[bytes]) -> None:
    digester = Digester()
    for piece in pieces:
        digester.update(memoryview(piece))
    whole = b"".join(pieces)
    digests = digester.digests()
    assert digests.md5 == hashlib.md5(whole).digest()
    assert digests.sha256 == hashlib.sha256(whole).digest()
    assert digests.blake3 == blake3(whole).digest()
    assert digests.checksums() == {
        "SHA256": Checksum(digests.sha256),
        "BLAKE3": Checksum(digests.blake3),
        "CRC64NVME": Checksum(digests.crc64nvme),
    }


def test_crc64nvme_is_the_published_check_value() -> None:
    digester = Digester()
    digester.update(b"123456789")
    assert digester.digests().crc64nvme.hex() == "ae8b14860a799888"  # CRC catalogue: CRC-64/NVME, check


@pytest.mark.parametrize(("name", "size"), [("md5", 16), ("sha256", 32), ("crc64nvme", 8)])
def test_an_expected_digest_must_be_the_contents(name: str, size: int) -> None:
    digester = Digester()
    digester.update(b"content")
    digests = digester.digests()
    digests.check(ExpectedDigests())
    digests.check(ExpectedDigests(**{name: getattr(digests, name)}))
    with pytest.raises(Refused) as caught:
        digests.check(ExpectedDigests(**{name: bytes(size)}))
    assert caught.value.code == "BadDigest"
