"""What must be true of the whole cluster at every step, by who sees all of it at once.

* Election safety: at most one leader in a term. Log matching: entries with equal index and term are equal, and so are
  those before them. Leader completeness: who leads has all that was committed in terms before. State machine safety: no
  two members execute different entries at one index, or come to other results or another set hash by it. (Ongaro and
  Ousterhout, 2014, figure 3.)
* A majority voted for a leader. What it takes for matching is on its follower's disk; what it calls committed is on the
  disks of a majority. What a member said in its messages outlives its crashes.
* Each command has its effect once, at one place in the log, and its result is what the model says there. Who was told
  a result was told that one; who was told that it did not happen was told the truth.
* A read answers as the model does at some index: not before any that the end of an earlier call showed, and not beyond
  what is committed. The least such index is taken, which binds later reads the least, so no other choice is needed.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

from chaos.sim.journal import Twin, WatchedJournal
from chaos.sim.model import Model, same
from chaos.sim.model_answers import agrees, said
from metaraft.commands import Batch, Envelope
from metaraft.core import CoreStatus
from metaraft.core_messages import Message, RequestVote, VoteAnswer
from metaraft.journal_records import Entry
from metaraft.queries import Answer, Query
from metaraft.results import Failed, Result

_decode_batch = msgspec.msgpack.Decoder(Batch).decode
_decode_envelope = msgspec.msgpack.Decoder(Envelope).decode
_decode_result: msgspec.msgpack.Decoder[Result] = msgspec.msgpack.Decoder(Result)


class Violation(Exception):
    """A promise was broken. `promise` is its name."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"{promise}: {what}")
        self.promise = promise


class Judge:
    """What is known, and what follows from it."""

    def __init__(self, slots: Sequence[int]) -> None:
        self.twins = {slot: Twin() for slot in slots}
        self.counts: Counter[str] = Counter()
        self.committed: list[Entry] = [Entry(1, 0, b"")]  # by index, from 1
        self.seen_index = 1
        """Highest index that the end of some call has shown to a client."""
        self._majority = len(slots) // 2 + 1
        self._alone = len(slots) == 1
        self._leaders: dict[int, tuple[int, int]] = {}
        self._entries: dict[tuple[int, int], tuple[bytes, int | None]] = {}
        self._committed_in: list[int] = [0]  # term of the leader by whom
        self._votes: dict[tuple[int, int], int] = {}
        self._hashes: dict[int, int] = {}
        self._expected: dict[int, list[tuple[bytes, Result]]] = {}
        self._results: dict[int, list[bytes]] = {}
        self._models: list[tuple[int, Model]] = [(1, Model())]
        self._places: dict[bytes, int] = {}
        self._given: dict[bytes, dict[bytes, int]] = {}
        self._denied: set[bytes] = set()

    # ---- logs and elections

    def added(self, entry: Entry, prev_term: int | None) -> None:
        """Some member added an entry. (One that is alone may add another after a crash: nobody has seen the first.)"""
        if self._alone:
            return
        known = self._entries.setdefault((entry.index, entry.term), (entry.data, prev_term))
        if known != (entry.data, prev_term):
            raise Violation("log matching", f"entry {entry.index} of term {entry.term} is not the same everywhere")

    def opened(self, slot: int, journal: WatchedJournal) -> None:
        """A member opened its journal: nothing that was synced is missing, and nothing else is there."""
        wrong = self.twins[slot].wrong(journal)
        if wrong is not None:
            raise Violation("durability", f"S{slot}: {wrong}")
        for index in range(max(journal.first_index + 1, journal.last_index - 20), journal.last_index + 1):
            self.added(journal.entry(index), journal.term_at(index - 1))

    def said(self, slot: int, to: int, message: Message) -> None:
        """A member sent a message: a vote is for one, and on its disk."""
        voted = to if isinstance(message, VoteAnswer) and message.granted else slot
        if not isinstance(message, RequestVote) and voted == slot:
            return
        assert isinstance(message, RequestVote | VoteAnswer)
        known = self._votes.setdefault((slot, message.term), voted)
        if known != voted:
            raise Violation("election safety", f"S{slot} voted for S{known} and S{voted} in term {message.term}")

    def stepped(self, slot: int, life: int, status: CoreStatus, journal: WatchedJournal) -> None:
        """A member made a step."""
        if status.state == "leader" and not (self._alone and self.twins[slot].term != status.term):
            self._led(slot, life, status.term, journal)
            self._matches(slot, status, journal)
        for index in range(len(self.committed) + 1, status.commit + 1):
            self._commit(journal.entry(index), status.term)

    def _matches(self, slot: int, status: CoreStatus, journal: WatchedJournal) -> None:
        """What a leader takes for matching is on the disks of those that know of no newer term."""
        for other, index in status.match.items():
            twin, term = self.twins[other], journal.term_at(index)
            if index and term is not None and twin.term <= status.term and not twin.holds(index, term):
                raise Violation("log matching", f"S{slot} takes S{other} to have its entry {index}, which is not there")

    def _led(self, slot: int, life: int, term: int, journal: WatchedJournal) -> None:
        known = self._leaders.get(term)
        if known is None:
            self._leaders[term] = (slot, life)
            self.counts["elections"] += 1
            voters = {slot, *(voter for (voter, of), voted in self._votes.items() if of == term and voted == slot)}
            if len(voters) < self._majority:
                raise Violation("election safety", f"S{slot} leads term {term} by the votes of {sorted(voters)} alone")
            for index in range(journal.first_index, len(self.committed) + 1):
                here = journal.term_at(index)
                if self._committed_in[index - 1] < term and here != self.committed[index - 1].term:
                    raise Violation("leader completeness", f"S{slot} leads term {term} without the entry {index}")
        elif known != (slot, life):
            raise Violation("election safety", f"S{known[0]} and S{slot} both led term {term}")

    def _commit(self, entry: Entry, term: int) -> None:
        """An index is committed for the first time."""
        assert entry.index == len(self.committed) + 1
        holders = [slot for slot, twin in self.twins.items() if twin.holds(entry.index, entry.term)]
        if len(holders) < self._majority:
            raise Violation("durability", f"entry {entry.index} is committed and on the disks of {holders} alone")
        self.committed.append(entry)
        self._committed_in.append(term)
        self._obey(entry)

    # ---- execution

    def _obey(self, entry: Entry) -> None:
        """What the entry does, by the model."""
        if not entry.data:
            return
        model = self._models[-1][1].copy()
        batch = _decode_batch(entry.data)
        model.begin(batch.state_time_ms)
        expected: list[tuple[bytes, Result]] = []
        for raw in batch.envelopes:
            envelope = _decode_envelope(raw)
            result = model.obey(envelope)
            expected.append((envelope.key, result))
            if not (isinstance(result, Failed) and result.code == "TooLate"):
                if envelope.key in self._denied:
                    raise Violation("outcomes", f"a command has its place at {entry.index} that was said to have none")
                self._places.setdefault(envelope.key, entry.index)
        model.end()
        self._expected[entry.index] = expected
        self._models.append((entry.index, model))

    def executed(self, slot: int, entries: Sequence[Entry], results: Sequence[Sequence[bytes]]) -> None:
        """A member executed entries."""
        for entry, encoded in zip(entries, results, strict=True):
            if entry.index > len(self.committed) or self.committed[entry.index - 1] != entry:
                raise Violation("state machine safety", f"S{slot} executes another entry {entry.index}")
            found, known = list(encoded), self._results.get(entry.index)
            if known is None:
                self._compare(slot, entry.index, found)
            elif known != found:
                raise Violation("state machine safety", f"S{slot} comes to other results at {entry.index} than another")

    def _compare(self, slot: int, index: int, found: list[bytes]) -> None:
        """The first results of an entry against the model's."""
        expected = self._expected.pop(index, [])
        for (key, mine), encoded in zip(expected, found, strict=True):
            theirs = _decode_result.decode(encoded)
            if not same(mine, theirs):
                raise Violation("exactly once", f"S{slot} at {index} comes to {theirs}; the model says {mine}")
            self._given.setdefault(key, {}).setdefault(encoded, index)
        self._results[index] = found

    def applied(self, slot: int, index: int, set_hash: int) -> None:
        """A member's transaction is done."""
        if self._hashes.setdefault(index, set_hash) != set_hash:
            raise Violation("state machine safety", f"S{slot} has other rows at {index} than another member")

    # ---- what clients are told

    def acknowledged(self, key: bytes, result: bytes) -> None:
        """A client was given its result."""
        given = self._given.get(key)
        if given is None:
            raise Violation(
                "outcomes", f"a client was told {_decode_result.decode(result)}, and no such command is committed"
            )
        if result not in given:
            told = [_decode_result.decode(one) for one in given]
            raise Violation(
                "outcomes", f"a client was told {_decode_result.decode(result)}; the command came to {told}"
            )
        self.seen_index = max(self.seen_index, given[result])
        self.counts["acknowledged commands"] += 1

    def denied(self, key: bytes) -> None:
        """A client was told that its command did not happen, so it never must."""
        if key in self._places:
            raise Violation("outcomes", f"a client was told that its command did not happen; {self._places[key]} is it")
        self._denied.add(key)

    def read(self, query: Query, answer: Answer | Failed, must_see: int) -> None:
        """A read that began when `must_see` was the highest index seen was answered."""
        models = self._models
        first = len(models) - 1
        while models[first][0] > must_see:
            first -= 1
        for index, model in models[first:]:
            if agrees(model, query, answer):
                self.seen_index = max(self.seen_index, index)
                self.counts["reads"] += 1
                return
        expected = said(models[first][1], query)
        raise Violation(
            "linearizability",
            f"{query} was answered {answer}, as at no index from {must_see} on; there it is {expected}",
        )
