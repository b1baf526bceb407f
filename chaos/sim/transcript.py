"""The story of a seed: who did what when, in the words of the Raft paper. Lines are made only when they are read."""

import re
from collections import deque
from collections.abc import Callable

import blake3
import msgspec

from metaraft.core_messages import (
    Append,
    AppendAnswer,
    PreVote,
    PreVoteAnswer,
    RequestVote,
    VoteAnswer,
)

LAST = 150
"""Events that are kept to be told after a violation (chosen: some virtual seconds)."""

_CUT = re.compile(r"(?<=[^']{40})[^']{20,}'")
"""The rest of long text or bytes in what is told."""

type Line = tuple[float, str, str, tuple[object, ...]]


class Transcript:
    """Keeps the last events. `tell` is given every line at once; `digest` sums them all up."""

    def __init__(self, *, last: int = LAST, tell: Callable[[str], None] | None = None, digest: bool = False) -> None:
        self._lines: deque[Line] = deque(maxlen=last)
        self._tell = tell
        self._hasher = blake3.blake3() if digest else None
        self.count = 0

    def note(self, at: float, who: str, what: str, arguments: tuple[object, ...]) -> None:
        """One event; `what` has a `{}` for each argument."""
        line = (at, who, what, arguments)
        self.count += 1
        self._lines.append(line)
        if self._tell is not None:
            self._tell(written(line))
        if self._hasher is not None:
            self._hasher.update(written(line).encode() + b"\n")

    def last(self) -> list[str]:
        """The last events, oldest first."""
        return [written(line) for line in self._lines]

    def digest(self) -> str:
        """A hash over all events."""
        assert self._hasher is not None, "a transcript is summed up if it was asked for"
        return self._hasher.hexdigest()


def written(line: Line) -> str:
    """An event as text."""
    at, who, what, arguments = line
    return f"{at:10.6f}  {who:<3} {what.format(*(said(argument) for argument in arguments))}"


def said(value: object) -> object:
    """A message in the words of the paper; anything else as it is."""
    match value:
        case Append(term, sequence, commit, prev_index, prev_term, entries):
            first, last = prev_index + 1, prev_index + len(entries)
            which = f"entries {first} to {last}" if entries else "no entries"
            return f"AppendEntries #{sequence} (term {term}, prev {prev_index}/{prev_term}, {which}, commit {commit})"
        case AppendAnswer(term, sequence, accepted, index, hint_term):
            outcome = f"matches up to {index}" if accepted else f"conflict, at most {index}/{hint_term}"
            return f"answer to AppendEntries #{sequence} (term {term}, {outcome})"
        case PreVote(term, number, last_index, last_term):
            return f"PreVote {number} (term {term}, last {last_index}/{last_term})"
        case PreVoteAnswer(term, asked_term, number, granted):
            return f"answer to PreVote {number} of term {asked_term} (term {term}, {_granted(granted)})"
        case RequestVote(term, last_index, last_term):
            return f"RequestVote (term {term}, last {last_index}/{last_term})"
        case VoteAnswer(term, granted):
            return f"answer to RequestVote (term {term}, {_granted(granted)})"
        case msgspec.Struct():
            return _CUT.sub("...'", repr(value))
        case _:
            return value


def _granted(granted: bool) -> str:
    return "granted" if granted else "not granted"
