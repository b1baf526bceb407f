"""Where members are dialled and listen, by the configuration and by the seats that were given since."""

from pathlib import Path

from cluster.config import Address, Config, MemberConfig, TcpAddress, address
from cluster.errors import Refused
from cluster.identity import speaks_tcp
from metaraft.core_membership import Membership
from metaraft.files import write_file

LISTEN_FILE = "listen"
"""In a member's folder: where it listens, if not where the configuration says."""


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


def write_listen(folder: Path, listen: str) -> None:
    """Have the member of a folder listen there. Blocking; it is on the disk then. Raises OSError."""
    write_file(folder / LISTEN_FILE, f"{listen}\n".encode())


def new_address(config: Config, text: str) -> Address:
    """The address that a member is to be dialled at from now on. Raises Refused (BadAddress, UnixOnly)."""
    found = address(text, config.base)
    if not isinstance(found, TcpAddress):
        return found
    if not speaks_tcp(config):
        raise Refused(
            "UnixOnly",
            f"{text} cannot be: the nodes of this cluster have no keys for TCP, and speak over unix:PATH alone; "
            "`trilith init --transport tcp` makes one that speaks over TCP",
        )
    if found.port == 0:
        raise Refused("BadAddress", f"{text} cannot be dialled: name the port, from 1 to 65535")
    return found
