"""Who may ask what of a member, by the name of the connection's other end.

Rules:
* On TCP a name is from the peer's certificate. On a Unix socket it is what the peer says, and only processes of the
  cluster's own user come through: there a name keeps from mistakes, not from malice.
* Messages of members, and copies for a follower, are for members alone.
* What changes members, moves the leader, or hands out the whole database is for members too, since an operator speaks
  as the member of the host; and on a Unix socket for `OPERATOR_NAME`, which no certificate says. Chunk daemons, APIs
  and stewards have certificates of the same CA, and no business with it.
"""

from cluster.config import Config, UnixAddress
from cluster.errors import Refused
from cluster.identity import OPERATOR_NAME
from cluster.rpc import Peer, Request


class Callers:
    """The names that one cluster's members know."""

    def __init__(self, config: Config) -> None:
        self._slots = {member.name: member.slot for member in config.member}

    def member(self, peer: Peer) -> int | None:
        """The slot of a member; None for whoever is none."""
        return self._slots.get(peer.name)

    def slot(self, request: Request) -> int:
        """The slot of who asks for what only members may have. Raises Refused (NotAMember)."""
        slot = self.member(request.peer)
        if slot is None:
            raise Refused("NotAMember", f"{request.peer.name} is no member")
        return slot

    def refuse_but_operators(self, request: Request) -> None:
        """Raises Refused (NotAnOperator) for who may not do what operators do."""
        peer = request.peer
        if self.member(peer) is not None or (peer.name == OPERATOR_NAME and isinstance(peer.address, UnixAddress)):
            return
        raise Refused(
            "NotAnOperator",
            f"{peer.name} may neither change members nor copy the metadata; run this on a host that has the keys of a "
            f"member: {', '.join(self._slots)}",
        )
