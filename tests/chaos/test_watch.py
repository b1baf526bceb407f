"""When members are taken to be led: by one that can commit, as far as anybody could."""

import pytest

from chaos.watch import Joined, could_be_led, led
from metaraft.wire import MemberStatus

NAMES = ("a", "b", "c")


def cut(*pairs: str) -> Joined:
    """All links are open but those between these pairs."""
    return lambda one, other: not {one + other, other + one} & set(pairs)


def status(name: str, term: int, leader: str) -> MemberStatus:
    slots = {each: slot for slot, each in enumerate(NAMES, 1)}
    return MemberStatus(slots[name], name, "leader" if name == leader else "follower", term, slots[leader])


ALL_FOLLOW_A = [status(name, 1, "a") for name in NAMES]


@pytest.mark.parametrize(
    ("statuses", "joined", "is_led"),
    [
        (ALL_FOLLOW_A, cut(), True),
        (ALL_FOLLOW_A, cut("bc"), True),
        (ALL_FOLLOW_A, cut("ab"), True),
        (ALL_FOLLOW_A, cut("ab", "ac"), False),  # it says that it leads, and nobody hears it, or it nobody
        (ALL_FOLLOW_A[:1], cut(), False),  # the others do not say how they are
        (ALL_FOLLOW_A[1:], cut(), False),
        ([status("a", 1, "a"), status("b", 2, "b"), status("c", 2, "b")], cut("ab", "ac"), True),
        ([status("a", 1, "a"), status("b", 2, "b"), status("c", 1, "a")], cut("ab", "ac"), False),
    ],
)
def test_a_leader_counts_while_a_majority_follows_it_that_it_can_talk_with(
    statuses: list[MemberStatus], joined: Joined, is_led: bool
) -> None:
    assert led(statuses, joined, 3) is is_led


@pytest.mark.parametrize(
    ("joined", "possible"), [(cut(), True), (cut("ab", "ac"), True), (cut("ab"), True), (cut("ab", "ac", "bc"), False)]
)
def test_without_a_majority_that_can_talk_nobody_could_lead(joined: Joined, possible: bool) -> None:
    assert could_be_led(NAMES, joined) is possible
