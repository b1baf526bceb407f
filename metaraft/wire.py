"""What members and their clients say to each other: method numbers and the values in the frames' bodies.

Rules: all bodies are msgpack of the structs here (a Raft message is the core's own union); a value that is only
passed on stays encoded (`msgspec.Raw`); fields are only ever added at the end, with a default.
"""

import enum
from typing import Literal

import msgspec

from metaraft.comparing import Dispute, Point
from metaraft.core_membership import Change, Membership

SERVICE = "metaraft"
"""Name of the service in the hello."""

NOT_AFTER_AHEAD_MS_MAX = 600_000
"""How far ahead of state time a command's `not_after_ms` may be: its result is kept for that long (chosen)."""

ASK_BYTES_MAX = 256 * 1024
"""An encoded `Ask`: the longest names the 640 chunks of a 5 GiB object, 22 KiB (chosen)."""


class Method(enum.IntEnum):
    """Methods of the service. RAFT, NOTE and REPORT are one way, between members; COPY_* are theirs too. CHANGE,
    MOVE_LEADER and COPY are for operators, COMMIT, READ and INDEX not for chunk daemons (`metaraft.callers`). CHANGE
    has the body of a `core_membership.Change`, and is answered by nothing once it is done."""

    RAFT = 1
    COMMIT = 2
    READ = 3
    STATUS = 4
    NOTE = 5
    REPORT = 6
    COPY_OFFER = 7
    COPY_READ = 8
    COPY_DONE = 9
    MEMBERS = 10
    CHANGE = 11
    MOVE_LEADER = 12
    INDEX = 15
    COPY = 16


type Role = Literal["leader", "follower", "candidate", "unreachable"]


class CommitAnswer(msgspec.Struct, frozen=True, array_like=True):
    """Answer to COMMIT, whose body is an encoded `Envelope`: the state time of its batch and its `Result`."""

    state_time_ms: int
    result: msgspec.Raw


class ReadAnswer(msgspec.Struct, frozen=True, array_like=True):
    """Answer to READ, whose body is an encoded `Ask`: the leader's state time now and the `Answer`."""

    state_time_ms: int
    answer: msgspec.Raw


class IndexAnswer(msgspec.Struct, frozen=True, array_like=True):
    """Answer to INDEX, whose body is empty: whoever has applied `index` has all that was acknowledged before the call,
    which only the leader can say."""

    index: int


class CopyAsk(msgspec.Struct, frozen=True, array_like=True):
    """Body of COPY, a transfer: a copy of the member's database, with entry `at_least` in it. See
    `metaraft.backup.sending` for what follows."""

    at_least: int


class LeaderNote(msgspec.Struct, frozen=True, array_like=True):
    """What a leader tells its followers each second.

    `safe_cut` is the lowest log index that every member has acknowledged; once true it stays true, so a late note
    does no harm. `state_time_ms` is the leader's state time as it sent the note. `dispute`: whose rows differ.
    `need_copy` are the slots whose next entry the leader's log has no more: they fetch a copy of its database.
    """

    term: int
    safe_cut: int
    state_time_ms: int
    dispute: Dispute | None = None
    need_copy: tuple[int, ...] = ()


class MemberReport(msgspec.Struct, frozen=True, array_like=True):
    """What a follower tells the leader each second: its space, its wall clock for the skew alarm, the highest level of
    command meaning that its program knows, its newest points (`metaraft.comparing`), which incarnation it is, and
    whether the space that it has allocated ahead is used up (`metaraft.room`)."""

    log_bytes: int
    short_of_space: bool
    wall_ms: int
    level: int = 1
    points: tuple[Point, ...] = ()
    incarnation: str = ""
    room_used_up: bool = False


class CopyWanted(msgspec.Struct, frozen=True, array_like=True):
    """Body of COPY_OFFER: a copy is wanted that goes beyond `last_index`, the last entry of the asking member's log.

    Answered by a `snapshot_copy.Copied`, or Unavailable (CopyUnderWay) while it is made. `refused`: the BLAKE3 of the
    copy that the member fetched last, and found not to be what was offered; said until it is heard. It is made anew.
    """

    last_index: int
    refused: str = ""


class CopyPiece(msgspec.Struct, frozen=True, array_like=True):
    """Body of COPY_READ, answered by the bytes, and of COPY_DONE, answered by nothing. `blake3` says which copy."""

    blake3: str
    offset: int = 0
    length: int = 0


class MembersAnswer(msgspec.Struct, frozen=True, array_like=True):
    """Answer to MEMBERS, whose body is empty: who has the slots, as this member knows it.

    `applied` are the seats as of what it has applied, `in_force` those that its log says. `lacking` (at the leader):
    how many entries each other slot lacks that answered of late.
    """

    slot: int
    incarnation: str
    leader: int | None
    applied: Membership
    in_force: Membership
    committed: bool
    lacking: dict[int, int] = {}


class MoveLeader(msgspec.Struct, frozen=True, array_like=True):
    """Body of MOVE_LEADER, answered by nothing once the leader follows."""

    slot: int


class MemberStatus(msgspec.Struct, frozen=True, array_like=True):
    """One member as it sees itself. Answer to STATUS (whose body is empty). Not linearizable.

    `set_hash` is the hash of all rows at `applied`, in hex; `since_ms` the wall clock when the process began.
    For a member that did not answer the client fills in slot, name, role "unreachable" and `error`.
    """

    slot: int
    name: str
    role: Role
    term: int = 0
    leader: int | None = None
    commit: int = 0
    applied: int = 0
    last_index: int = 0
    revision: int = 0
    set_hash: str = ""
    log_bytes: int = 0
    free_bytes: int = 0
    state_time_ms: int = 0
    version: str = ""
    pid: int = 0
    since_ms: int = 0
    level: int = 0
    refusal: str = ""
    """Why growing commands are refused by this member as leader (LogFull, NoSpace), or empty."""
    skew_ms: int = 0
    """The leader's wall clock against the member's that differs most from it."""
    error: str = ""
    compared: int = 0
    """Newest index at which a majority is known to have equal rows."""
    differing: dict[int, str] = {}
    """At the leader, by slot: why a member's rows are held to be wrong."""
    rows: int = 0
    walk_rows: int = 0
    """How many of its rows the walk that is under way has read."""
    walked_ms: int = 0
    """The wall clock when the last walk over all rows came to its end."""


encode = msgspec.msgpack.Encoder().encode
decode_commit_answer = msgspec.msgpack.Decoder(CommitAnswer).decode
decode_read_answer = msgspec.msgpack.Decoder(ReadAnswer).decode
decode_index_answer = msgspec.msgpack.Decoder(IndexAnswer).decode
decode_copy_ask = msgspec.msgpack.Decoder(CopyAsk).decode
decode_note = msgspec.msgpack.Decoder(LeaderNote).decode
decode_report = msgspec.msgpack.Decoder(MemberReport).decode
decode_copy_wanted = msgspec.msgpack.Decoder(CopyWanted).decode
decode_copy_piece = msgspec.msgpack.Decoder(CopyPiece).decode
decode_members = msgspec.msgpack.Decoder(MembersAnswer).decode
_change_decoder: msgspec.msgpack.Decoder[Change] = msgspec.msgpack.Decoder(Change)
decode_change = _change_decoder.decode
decode_move = msgspec.msgpack.Decoder(MoveLeader).decode
decode_status = msgspec.msgpack.Decoder(MemberStatus).decode
