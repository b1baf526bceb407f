"""Metadata over a real store that dies at any time, beside the same metadata in memory that never does.

A command is done in memory at once; the store is given it later, with others: several to an entry, several entries to
a transaction. Each entry is noted with its results and the set hash behind it, as a journal that loses nothing would.
What must hold: the store answers each command as memory did, also when it is applied a second time in transactions
with other borders; after a death it stands at the entry at which it must, with the set hash of that entry; entries
that it has are skipped; and once nothing waits, its rows, counted anew, are those of memory, and it answers queries.

A death leaves the bytes that were in the file, and nothing else: what was written, or, when power is lost, what was
written at the last sync or at any commit since (LMDB with `metasync=False` keeps whole transactions).
"""

import tempfile
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from metaraft.commands import Command
from metaraft.memory_rows import MemoryRows
from metaraft.queries import Answer, Ask, Query
from metaraft.results import Result
from metaraft.rows import Kind
from metaraft.store import DATA_FILE
from tests.metaraft.metadata import LogEntry, Metadata, ask, batch, encode, results
from tests.metaraft.stores import Twin, faults_of_file, new_store, open_store

RESULTS_GONE_MS = 180_000
"""After this no result is kept of what was sent before (a limit of 5 s, 60 s, and the minute's end)."""


class Entered(NamedTuple):
    """An entry of the log, what its commands were answered, and the set hash behind it."""

    entry: LogEntry
    results: list[bytes]
    set_hash: str


class Waiting(NamedTuple):
    """A command that the store was not given yet, and what memory answered."""

    now_ms: int
    envelope: msgspec.Raw
    result: bytes


class Written(NamedTuple):
    """The file as it was after a commit."""

    applied: int
    data: bytes


class StoredMetadata(Metadata):
    """Metadata in memory, which the commands are done on, and a store that follows it. `rows` and answers are the
    store's whenever nothing waits."""

    def __init__(self) -> None:
        super().__init__()
        self._memory = self.rows
        self._twin = Twin()
        self._folder = tempfile.TemporaryDirectory(prefix="tl")
        self._directory = Path(self._folder.name, "s")
        self._store = new_store(self._directory)
        self._journal: list[Entered] = []
        self._waiting: list[Waiting] = []
        self._written: list[Written] = []
        self._dies = False
        self.arrange(waits=3, entries=[2, 1, 3], transactions=[1, 3], again=1)
        self.sync()
        self._show()

    def arrange(self, *, waits: int, entries: Sequence[int], transactions: Sequence[int], again: int) -> None:
        """From now on up to `waits` commands wait for others. They come in entries and transactions of these sizes, in
        turn; each transaction is given also the last `again` entries that the store has."""
        self._waits, self._again = waits, again
        self._entry_sizes, self._transaction_sizes = cycle(entries), cycle(transactions)

    def enter(self, envelopes: Sequence[msgspec.Raw]) -> list[Result]:
        """In memory, and, if enough wait, in the store."""
        applied = self.machine.apply(batch(self.now_ms, envelopes))
        self.machine.flush()
        self._waiting += [Waiting(self.now_ms, *both) for both in zip(envelopes, applied, strict=True)]
        if len(self._waiting) > self._waits:
            self.settle()
        else:
            self.rows = self._memory
        return results(applied)

    def ask(self, query: Query, *, rows_max: int = 10_000) -> Answer:
        """The answer to a query."""
        known = ask(self._memory, query, rows_max=rows_max)
        if not self._waiting:
            answer = msgspec.msgpack.decode(self._store.answer(encode(Ask(1, query))), type=Answer)
            assert answer == known
        return known

    def settle(self) -> None:
        """Give the store all that waits."""
        self._log()
        if self._dies and self._rest():
            self._dies = False
            some = self._rest()[: next(self._transaction_sizes)]
            assert self._store.execute([one.entry for one in some]) == [one.results for one in some]
            before = self._store.applied
            self._die(self._written_now())
            assert self._store.applied == before, "nothing is there of what was not committed"
        self._catch_up()
        self._show()

    def restart(self) -> None:
        """The process is killed between two transactions."""
        applied = self._store.applied
        self._die(self._written_now())
        assert self._store.applied == applied

    def die_next(self) -> None:
        """The process will be killed when it has executed the next transaction and not committed it."""
        self._dies = True

    def cut_power(self, lasted: int) -> None:
        """Power is lost: what was synced is there, and `lasted` of the transactions since, if there are so many."""
        written = self._written[min(lasted, len(self._written) - 1)]
        self._die(written.data)
        assert self._store.applied == written.applied
        del self._written[self._written.index(written) + 1 :]
        self._catch_up()

    def sync(self) -> None:
        """What is applied is durable."""
        assert self._store.sync() == len(self._journal)
        self._written = [Written(self._store.applied, self._written_now())]

    def lead_anew(self) -> None:
        """A new leader's first entry is empty."""
        self._log()
        self._note(b"")
        self.settle()

    def end(self) -> None:
        """Judge the whole file, and remove it."""
        try:
            self.settle()
            assert self._store.walk().set_hash == self._twin.set_hash
        finally:
            self._store.close()
        assert faults_of_file(self._directory) == []
        self._folder.cleanup()

    # ---- the log

    def _log(self) -> None:
        """Put what waits into entries; those of one entry were sent at one time."""
        while self._waiting:
            size = next(self._entry_sizes)
            some = [one for one in self._waiting[:size] if one.now_ms == self._waiting[0].now_ms]
            del self._waiting[: len(some)]
            applied = self._note(batch(some[0].now_ms, [one.envelope for one in some]))
            assert applied == [one.result for one in some], "in an entry with others it is answered alike"

    def _note(self, data: bytes) -> list[bytes]:
        entry = LogEntry(len(self._journal) + 1, data)
        applied = self._twin.apply(entry)
        self._journal.append(Entered(entry, applied, self._twin.set_hash))
        return applied

    def _rest(self) -> list[Entered]:
        return self._journal[self._store.applied :]

    # ---- the store

    def _catch_up(self) -> None:
        while self._rest():
            has = self._store.applied
            start = max(0, has - self._again)
            some = self._journal[start : has + next(self._transaction_sizes)]
            applied = self._store.apply([one.entry for one in some])
            assert applied == [[] for _ in range(start, has)] + [one.results for one in some[has - start :]]
            self._stands()
            self._written.append(Written(self._store.applied, self._written_now()))

    def _die(self, left: bytes) -> None:
        """The store is gone, and opened anew on the bytes that are left."""
        self._store.close()
        for file in self._directory.iterdir():
            file.unlink()
        (self._directory / DATA_FILE).write_bytes(left)
        self._store = open_store(self._directory)
        self._stands()

    def _stands(self) -> None:
        """The store is as it was, or is to be, at the entry that it names."""
        applied = self._store.applied
        expected = self._journal[applied - 1].set_hash if applied else Twin().set_hash
        assert self._store.facts().set_hash == expected, f"at entry {applied}"

    def _show(self) -> None:
        """Nothing waits: the rows are the store's from here on, and those of a machine that never died."""
        assert self._store.applied == len(self._journal)
        self.rows = MemoryRows()
        for key, value in self._stored():
            self.rows.insert(key, value)
        assert self.rows.items() == self._twin.rows.items()
        assert self.rows.set_hash == self._twin.rows.set_hash
        assert self._store.revision == self.machine.revision()
        assert self._store.state_time_ms == self._twin.machine.state_time_ms

    def _stored(self) -> Iterator[tuple[bytes, bytes]]:
        with self._store.reader() as rows:
            yield from rows.scan(bytes([Kind.STATE]), b"\xff")

    def _written_now(self) -> bytes:
        return (self._directory / DATA_FILE).read_bytes()


sizes = st.lists(st.integers(1, 5), min_size=1, max_size=4)


class Dying(RuleBasedStateMachine):
    """The rules that a world has more when its metadata is on a store."""

    on_disk: StoredMetadata

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Command, Result]] = []
        super().__init__()

    def new_metadata(self) -> StoredMetadata:
        """What the world is about."""
        self.on_disk = StoredMetadata()
        return self.on_disk

    @rule(waits=st.sampled_from([0, 0, 3, 9]), entries=sizes, transactions=sizes, again=st.integers(0, 3))
    def arrange(self, waits: int, entries: list[int], transactions: list[int], again: int) -> None:
        self.on_disk.arrange(waits=waits, entries=entries, transactions=transactions, again=again)

    @rule()
    def settle(self) -> None:
        self.on_disk.settle()

    @rule()
    def sync(self) -> None:
        self.on_disk.settle()
        self.on_disk.sync()

    @rule()
    def kill(self) -> None:
        self.on_disk.restart()

    @rule()
    def die_in_the_next_transaction(self) -> None:
        self.on_disk.die_next()

    @rule(lasted=st.integers(0, 9))
    def cut_power(self, lasted: int) -> None:
        self.on_disk.cut_power(lasted)

    @rule()
    def lead_anew(self) -> None:
        self.on_disk.lead_anew()

    @rule()
    def wait_until_results_are_gone(self) -> None:
        self.on_disk.now_ms += RESULTS_GONE_MS
        self.sent.clear()

    def teardown(self) -> None:
        self.on_disk.end()
