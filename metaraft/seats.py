"""Where members are, by the configuration and by the seats that were given since."""

from pathlib import Path

from cluster.config import Address, Config, MemberConfig, address
from metaraft.core_membership import Membership, Seat

LISTEN_FILE = "listen"
"""In a member's folder: where it listens, if not where the configuration says."""


def first_seats(config: Config) -> Membership:
    """The seats that a cluster is made with."""
    return Membership({member.slot: Seat(member.incarnation) for member in config.member})


def dial_address(config: Config, member: MemberConfig, membership: Membership) -> Address:
    """Where a member is dialled."""
    seat = membership.seats.get(member.slot)
    return address(seat.address if seat and seat.address else member.dial or member.listen, config.base)


def listen_address(config: Config, member: MemberConfig) -> Address:
    """Where a member listens: where its folder says, if it was made for elsewhere than the configuration says."""
    try:
        text = Path(config.path(member.directory), LISTEN_FILE).read_text("utf-8").strip()
    except FileNotFoundError:
        text = member.listen
    return address(text, config.base)
