"""What Raft members say to each other: a closed, tagged union in msgpack.

Rules:
* Every message carries its sender's term, and travels with its sender's incarnation. An answer names whose request it
  answers (`asker`, an incarnation): it may reach another one that has, or had, the same slot.
* An append and each request of a vote round carry a number that their sender never uses twice in a term; an answer
  repeats term and number, and one that fits nothing still open is dropped.
* An accepted append's answer names the index up to which the follower's log was compared with the leader's and synced.
* Decoding is bounded before it begins (`decode_message`), and makes nothing but the structs on this page.

Source: Ongaro and Ousterhout, 'In Search of an Understandable Consensus Algorithm' (2014), figure 2; pre-vote is 9.6 of
Ongaro's dissertation, the transfer 3.10; the conflict hint is that of etcd's raft (`findConflictByTerm`).
"""

import msgspec

from cluster.errors import UNDECODABLE, Refused


class PreVote(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Would you vote for me? Asked before a term is raised; `term` is the sender's present one."""

    term: int
    round: int
    last_index: int
    last_term: int


class PreVoteAnswer(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Answer to `PreVote`. `asked_term` is the asker's, `term` the answering member's."""

    term: int
    asked_term: int
    round: int
    granted: bool
    asker: str = ""


class RequestVote(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Vote for me in `term`. May be repeated within the term. `transfer`: the leader itself asked for this election."""

    term: int
    last_index: int
    last_term: int
    transfer: bool = False


class VoteAnswer(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Answer to `RequestVote`: the answering member's term, and whether its vote in that term is the asker's."""

    term: int
    granted: bool
    asker: str = ""


class Append(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Entries that follow (`prev_index`, `prev_term`), each as (term, data); without any it is a heartbeat."""

    term: int
    sequence: int
    commit: int
    prev_index: int
    prev_term: int
    entries: tuple[tuple[int, bytes], ...] = ()


class AppendAnswer(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Answer to `Append`.

    Accepted: `index` is verified to match. Not accepted: the follower's log cannot match above `index`, where it has
    the term `hint_term`. With a `term` above the append's it only says that there is a newer term.
    """

    term: int
    sequence: int
    accepted: bool
    index: int
    hint_term: int = 0
    asker: str = ""


class TimeoutNow(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Campaign at once, without asking first: the leader of `term` hands over."""

    term: int


class Forgot(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """To an incarnation that acknowledged the leader's log up to `index` (of `index_term`; 0: cut away) in this `term`,
    and now says that its own cannot match so far: its disk was set back, or lost what was synced."""

    term: int
    incarnation: str
    index: int
    index_term: int


type Request = PreVote | RequestVote | Append | TimeoutNow | Forgot
type Answer = PreVoteAnswer | VoteAnswer | AppendAnswer
type Message = Request | Answer

_ANSWERS = (PreVoteAnswer, VoteAnswer, AppendAnswer)
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[tuple[str, Message]] = msgspec.msgpack.Decoder(tuple[str, Message])
_NUMBERS_MAX = 1 << 63


def asker_of(message: Message) -> str | None:
    """Whose request the message answers; None if it is no answer."""
    return message.asker if isinstance(message, _ANSWERS) else None


def encode_message(incarnation: str, message: Message) -> bytes:
    """The message in msgpack, with the incarnation that sends it."""
    return _encoder.encode((incarnation, message))


def decode_message(body: bytes | memoryview, bytes_max: int) -> tuple[str, Message]:
    """The sender's incarnation and the message in a frame's body. Raises Refused: MessageTooLarge, BadMessage."""
    if len(body) > bytes_max:
        raise Refused("MessageTooLarge", f"a Raft message has {len(body)} bytes; at most {bytes_max} are allowed")
    try:
        incarnation, message = _decoder.decode(body)
    except UNDECODABLE as error:
        raise Refused("BadMessage", f"a Raft message cannot be read: {error}") from error
    reason = invalid(message)
    if reason is not None:
        raise Refused("BadMessage", f"a Raft message cannot be: {reason}")
    return incarnation, message


def invalid(message: Message) -> str | None:
    """Why no member can have sent this, or None. (Numbers are 63 bits and not negative; terms never fall.)"""
    numbers = [value for value in msgspec.structs.astuple(message) if type(value) is int]
    if min(numbers) < 0 or max(numbers) >= _NUMBERS_MAX:
        return f"a number is out of range: {min(numbers)} to {max(numbers)}"
    if not isinstance(message, Append):
        return None
    if message.prev_index < 1:
        return f"entries follow index {message.prev_index}; the first index is 1"
    before = message.prev_term
    for term, _ in message.entries:
        if term < before:
            return f"its entries' terms fall from {before} to {term}"
        before = term
    if before > message.term:
        return f"it holds an entry of term {before}, above its own, {message.term}"
    return None
