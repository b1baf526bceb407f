"""Secrets at rest: they open for their own access key under their own cluster key, and nothing else opens."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import Corrupt
from cluster.sealing import Sealer

SEALER = Sealer(bytes(32))
ASCII = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=128)


@given(ASCII, ASCII)
def test_what_was_sealed_comes_back(secret: str, access_key: str) -> None:
    sealed = SEALER.seal(secret, access_key)
    assert SEALER.unseal(sealed, access_key) == secret
    assert secret.encode() not in sealed or len(secret) < 4


def test_the_same_secret_is_sealed_otherwise_each_time() -> None:
    sealed = {SEALER.seal("the-same-secret", "AK") for _ in range(100)}
    assert len(sealed) == 100
    assert len({one[5:17] for one in sealed}) == 100  # a nonce is never used twice under a key
    assert len({one[:5] for one in sealed}) == 1


def test_any_changed_bit_is_noticed() -> None:
    sealed = SEALER.seal("a-secret-key", "AK")
    for place in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(Corrupt) as raised:
            SEALER.unseal(bytes(changed), "AK")
        assert raised.value.code == "BadSeal"
        assert "a-secret" not in raised.value.message


@given(st.binary(max_size=200))
def test_bytes_that_were_never_sealed_do_not_open(sealed: bytes) -> None:
    with pytest.raises(Corrupt):
        SEALER.unseal(sealed, "AK")


def test_a_secret_that_was_cut_short_does_not_open() -> None:
    sealed = SEALER.seal("a-secret-key", "AK")
    for size in range(len(sealed)):
        with pytest.raises(Corrupt):
            SEALER.unseal(sealed[:size], "AK")


def test_a_row_moved_to_another_access_key_does_not_open() -> None:
    with pytest.raises(Corrupt, match="another access key"):
        SEALER.unseal(SEALER.seal("a-secret-key", "AK"), "AL")


def test_another_cluster_key_is_told_from_damage() -> None:
    other = Sealer(os.urandom(32))
    with pytest.raises(Corrupt, match="another cluster key"):
        other.unseal(SEALER.seal("a-secret-key", "AK"), "AK")


def test_a_mark_is_of_one_secret_and_one_cluster() -> None:
    other = Sealer(os.urandom(32))
    assert SEALER.mark("secret-1") == SEALER.mark("secret-1")
    assert len({SEALER.mark("secret-1"), SEALER.mark("secret-2"), other.mark("secret-1")}) == 3


def test_the_cluster_key_is_in_no_text_of_its_sealer() -> None:
    key = b"a-key-that-can-be-seen-in-a-text"
    assert "can-be-seen" not in repr(Sealer(key)) + str(vars(Sealer(key)))
