"""What a delete must not overtake."""

import pytest

from chunkd.seen import Seen
from cluster.errors import Refused, Unavailable

A, B = (1, b"a" * 32), (1, b"b" * 32)


def test_nothing_is_known_until_the_present_revision_is_told() -> None:
    seen = Seen(b"boot")
    seen.note(A, 1000)
    with pytest.raises(Unavailable, match="present revision") as raised:
        seen.of(A)
    assert raised.value.code == "RevisionUnknown"
    seen.present(1, b"boot", 500)
    assert seen.of(A) == 1000
    assert seen.of(B) == 500


def test_a_revision_read_before_this_start_is_refused() -> None:
    with pytest.raises(Refused) as raised:
        Seen(b"new boot").present(1, b"old boot", 500)
    assert raised.value.code == "StaleBoot"


def test_spaces_are_told_one_by_one() -> None:
    seen = Seen(b"boot")
    seen.present(1, b"boot", 5)
    with pytest.raises(Unavailable):
        seen.of((2, bytes(32)))


def test_an_older_seen_does_not_lower_and_a_later_present_does_not_raise() -> None:
    seen = Seen(b"boot")
    seen.note(A, 900)
    seen.note(A, 800)
    seen.present(1, b"boot", 100)
    seen.present(1, b"boot", 5000)
    assert seen.of(A) == 900
    assert seen.of(B) == 100


def test_a_full_memory_forgets_upwards_only() -> None:
    seen = Seen(b"boot", names_max=10)
    seen.present(1, b"boot", 1)
    for number in range(50):
        seen.note((1, number.to_bytes(32)), number)
    assert all(seen.of((1, number.to_bytes(32))) >= number for number in range(50))


def test_a_deleted_name_falls_back_to_the_floor() -> None:
    seen = Seen(b"boot")
    seen.present(1, b"boot", 7)
    seen.note(A, 9)
    seen.drop(A)
    assert seen.of(A) == 7
