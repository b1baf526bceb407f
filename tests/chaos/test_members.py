"""Who leads, as far as what the members say of themselves tells."""

from chaos.members import led_by
from metaraft.wire import MemberStatus, Role


def says(slot: int, role: Role, term: int, leader: int | None) -> MemberStatus:
    return MemberStatus(slot=slot, name=f"meta-{slot}", role=role, term=term, leader=leader)


def test_a_leader_leads_if_a_majority_follows_it_in_its_term() -> None:
    leader, follower = says(1, "leader", 3, 1), says(2, "follower", 3, 1)
    assert led_by([leader, follower], 3) == leader
    assert led_by([leader], 3) is None
    assert led_by([leader, says(2, "candidate", 4, None), says(3, "follower", 2, 1)], 3) is None


def test_of_two_that_say_they_lead_the_one_that_is_followed_leads() -> None:
    old, new = says(1, "leader", 3, 1), says(2, "leader", 4, 2)
    assert led_by([old, new, says(3, "follower", 4, 2)], 3) == new


def test_nobody_leads_where_nobody_says_so() -> None:
    assert led_by([says(1, "follower", 3, 2), says(3, "follower", 3, 2)], 3) is None
    assert led_by([], 3) is None
