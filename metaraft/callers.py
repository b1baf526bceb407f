"""Who may ask what of a member, by the name of the connection's other end.

Rules:
* On TCP a name is from the peer's certificate. On a Unix socket it is what the peer says, and only processes of the
  cluster's own user come through: there a name keeps from mistakes, not from malice.
* Messages of members, and copies for a follower, are for members alone.
* What changes members, moves the leader, raises the level, or hands out the whole database is for members too, since an
  operator speaks as the member of the host; and on a Unix socket for `OPERATOR_NAME`, which no certificate says. Chunk
  daemons, APIs and stewards have certificates of the same CA, and no business with it.
* Commands and reads are for APIs, stewards and operators. Chunk daemons ask nothing of members: who has the keys of one
  shall have its chunks, and not the metadata of all.
"""

from cluster.config import Config, UnixAddress
from cluster.errors import Refused
from cluster.identity import OPERATOR_NAME
from cluster.rpc import Peer, Request


class Callers:
    """The names that one cluster's members know."""

    def __init__(self, config: Config) -> None:
        self._slots = {member.name: member.slot for member in config.member}
        self._chunk_daemons = frozenset(daemon.name for daemon in config.chunkd)

    def member(self, peer: Peer) -> int | None:
        """The slot of a member; None for whoever is none."""
        return self._slots.get(peer.name)

    def slot(self, request: Request) -> int:
        """The slot of who asks for what only members may have. Raises Refused (NotAMember)."""
        slot = self.member(request.peer)
        if slot is None:
            raise Refused("NotAMember", f"{request.peer.name} is no member")
        return slot

    def operates(self, peer: Peer) -> bool:
        """Whether it may do what operators do."""
        return self.member(peer) is not None or (peer.name == OPERATOR_NAME and isinstance(peer.address, UnixAddress))

    def refuse_chunk_daemons(self, request: Request) -> None:
        """Raises Refused (NotAClient) for who has no business with the metadata."""
        if request.peer.name in self._chunk_daemons:
            raise Refused("NotAClient", f"{request.peer.name} is a chunk daemon, and may not use the metadata")

    def refuse_but_operators(self, request: Request) -> None:
        """Raises Refused (NotAnOperator) for who may not do what operators do."""
        if self.operates(request.peer):
            return
        raise Refused(
            "NotAnOperator",
            f"{request.peer.name} may neither change members nor copy the metadata; run this on a host that has the "
            f"keys of a member: {', '.join(self._slots)}",
        )
