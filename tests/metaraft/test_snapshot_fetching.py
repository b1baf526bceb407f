"""A member believes nothing of a copy: damaged, stale, foreign or cut short it is refused, and fetched anew or further;
a whole one ends the process, marked."""

import contextlib
import errno
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path

import lmdb
import msgspec
import pytest
import trio
import trio.testing
from blake3 import blake3

from cluster.errors import OutcomeUnknown, Unavailable
from cluster.limits import MIB, Limits
from metaraft import snapshot_fetching
from metaraft.applier import DiskFailed
from metaraft.journal import Journal
from metaraft.journal_disk import Disk
from metaraft.snapshot_copy import Copied, FileSink, copy_store
from metaraft.snapshot_fetching import Fetcher
from metaraft.snapshot_install import MARKER_FILE, BeginAnew, finish, next_file
from metaraft.store import LMDB_MAJOR
from metaraft.wire import CopyPiece, Method, decode_copy_piece, decode_copy_wanted, encode
from tests.metaraft.full_disk import files_of_at_most
from tests.metaraft.stores import CLUSTER, new_store, open_store, run

pytestmark = pytest.mark.usefixtures("autojump_clock")

ENTRIES = 80


class Leader:
    """A leader's answers, from a file. `spoil` may change or withhold what is read (by its number); `offers` are taken
    one after the other, the last for ever."""

    def __init__(self, folder: Path) -> None:
        store = new_store(folder / "leader")
        store.apply(list(itertools.islice(run(3), ENTRIES)))
        self.file = folder / "copy"
        self.copied = copy_store(store, self.file, bytes_per_s=1 << 40, stop=threading.Event())
        self.facts = store.facts()
        store.close()
        self.offers = [self.copied]
        self.spoil: Callable[[int, bytes], bytes] = lambda number, piece: piece
        self.asked = 0
        self.refused: list[str] = []
        self.under_way: set[int] = set()  # the offers that are not made yet, by number
        self.read: list[CopyPiece] = []
        self.done = 0

    async def call(self, slot: int, method: Method, body: bytes, deadline: float) -> bytes:
        """As the channel's."""
        await trio.lowlevel.checkpoint()
        assert slot == 2
        match method:
            case Method.COPY_OFFER:
                wanted = decode_copy_wanted(body)
                assert wanted.last_index >= 1
                self.asked += 1
                self.refused.append(wanted.refused)
                if self.asked in self.under_way:
                    raise Unavailable("CopyUnderWay", "the copy is being made")
                return encode(self.offers.pop(0) if len(self.offers) > 1 else self.offers[0])
            case Method.COPY_READ:
                piece = decode_copy_piece(body)
                if not piece.length:
                    return b""
                self.read.append(piece)
                content = self.file.read_bytes()[piece.offset : piece.offset + piece.length]
                return self.spoil(len(self.read), content)
            case _:
                self.done += 1
                return b""


class Lagging:
    """A member with a fresh journal and an empty database."""

    def __init__(self, folder: Path, leader: Leader) -> None:
        self.folder = folder
        new_store(folder / "store").close()
        Journal.create(folder / "journal", cluster_id=CLUSTER, slot=1, incarnation="i")
        self.journal = self.open_journal()
        self.fetcher = Fetcher(folder, self.journal, cluster_id=CLUSTER, call=leader.call)

    def open_journal(self) -> Journal:
        """The journal, for one process."""
        return Journal.open(self.folder / "journal", cluster_id=CLUSTER, slot=1, incarnation="i", limits=Limits())

    @property
    def marked(self) -> bool:
        """A copy is to be installed."""
        return (self.folder / MARKER_FILE).exists()

    async def fetch(self) -> None:
        """Until the process would end."""
        self.fetcher.told(2, needed=True)
        with pytest.raises(BeginAnew):
            await self.fetcher.run()

    async def fetch_in_vain(self, attempts: Callable[[], bool]) -> None:
        """Until `attempts` is true; it must not have ended then."""
        self.fetcher.told(2, needed=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.fetcher.run)
            while not attempts():  # noqa: ASYNC110 - a count tells nobody
                await trio.sleep(0.5)
            nursery.cancel_scope.cancel()
        assert not self.marked

    def install(self, leader: Leader) -> None:
        """What the next start does; the database must be the leader's then, and the log go on behind it."""
        self.journal.close()
        journal = self.open_journal()
        assert finish(self.folder, journal, Disk()) == leader.copied
        assert (journal.first_index, journal.last_index, journal.term_at(ENTRIES)) == (ENTRIES, ENTRIES, 1)
        store = open_store(self.folder / "store")
        facts = store.facts()
        assert (facts.applied, facts.set_hash) == (leader.facts.applied, leader.facts.set_hash)
        store.apply(list(itertools.islice(run(3), ENTRIES, ENTRIES + 20)))
        store.walk()
        store.close()
        journal.close()


@pytest.fixture
def leader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Leader:
    """Somebody who has a copy; it is read in many small pieces, and a few are written together."""
    monkeypatch.setattr(snapshot_fetching, "PIECE_BYTES", 10_000)
    monkeypatch.setattr(snapshot_fetching, "WRITE_BYTES", 30_000)
    return Leader(tmp_path)


@pytest.fixture
def lagging(tmp_path: Path, leader: Leader) -> Lagging:
    """Who needs it."""
    (tmp_path / "lagging").mkdir()
    return Lagging(tmp_path / "lagging", leader)


async def test_a_copy_is_fetched_marked_and_installed_by_the_next_start(leader: Leader, lagging: Lagging) -> None:
    await lagging.fetch()
    assert leader.done == 1
    assert [piece.offset for piece in leader.read] == list(range(0, leader.copied.size, 10_000))
    lagging.install(leader)


async def test_a_copy_that_was_damaged_on_its_way_is_refused_and_fetched_anew(leader: Leader, lagging: Lagging) -> None:
    def flip(number: int, piece: bytes) -> bytes:
        return piece[:-1] + bytes([piece[-1] ^ 4]) if number == 5 else piece

    leader.spoil = flip
    leader.under_way = {2}
    await lagging.fetch()
    assert (leader.asked, leader.done) == (3, 1)
    assert leader.refused == ["", leader.copied.blake3, ""]
    assert [piece.offset for piece in leader.read].count(0) == 2
    lagging.install(leader)


async def test_the_leader_is_told_which_copy_was_refused_until_it_has_heard_it(
    leader: Leader, lagging: Lagging, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flip(number: int, piece: bytes) -> bytes:
        return b"?" + piece[1:] if number == 1 else piece

    real, lost = leader.call, [2]

    async def call(slot: int, method: Method, body: bytes, deadline: float) -> bytes:
        answer = await real(slot, method, body, deadline)
        if method == Method.COPY_OFFER and leader.asked in lost:
            raise OutcomeUnknown("ConnectionLost", "the connection was lost")
        return answer

    leader.spoil = flip
    monkeypatch.setattr(lagging.fetcher, "_call", call)
    await lagging.fetch()
    blake3 = leader.copied.blake3
    assert leader.refused == ["", blake3, blake3]


async def test_a_disk_that_fails_while_the_copy_is_verified_ends_the_member(
    leader: Leader, lagging: Lagging, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(file: Path, copied: Copied) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(snapshot_fetching, "verify_copy", unreadable)
    lagging.fetcher.told(2, needed=True)
    with pytest.raises(DiskFailed, match="Input/output error"):
        await lagging.fetcher.run()


async def test_a_piece_of_another_length_is_refused(leader: Leader, lagging: Lagging) -> None:
    leader.spoil = lambda number, piece: piece + b"?" if number == 2 else piece
    await lagging.fetch()
    lagging.install(leader)


async def test_a_transfer_that_was_cut_goes_on_where_it_ended(leader: Leader, lagging: Lagging) -> None:
    def cut(number: int, piece: bytes) -> bytes:
        if number == 8:
            raise OutcomeUnknown("ConnectionLost", "the connection was lost")
        return piece

    leader.spoil = cut
    await lagging.fetch()
    assert leader.asked == 2
    offsets = [piece.offset for piece in leader.read]
    assert offsets.count(0) == 1
    assert len(offsets) <= -(-leader.copied.size // 10_000) + 3  # what was read and not written yet is read again
    lagging.install(leader)


async def test_a_transfer_whose_disk_filled_up_begins_anew_when_there_is_room(leader: Leader, lagging: Lagging) -> None:
    with contextlib.ExitStack() as full:

        def emptied(number: int, piece: bytes) -> bytes:
            if number == 7:
                full.close()
            return piece

        leader.spoil = emptied
        full.enter_context(files_of_at_most(50_000))  # in the middle of the second write, of pieces 4 to 6
        await lagging.fetch()
    assert leader.refused == ["", ""]
    assert [piece.offset for piece in leader.read].count(0) == 2
    lagging.install(leader)


async def test_a_sync_that_found_no_room_is_not_tried_again_on_the_same_file(
    leader: Leader, lagging: Lagging, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, synced = FileSink.sync, list[FileSink]()

    def sync(sink: FileSink, call: Callable[[int], None] = os.fsync) -> None:
        synced.append(sink)
        if len(synced) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(sink, call)

    monkeypatch.setattr(FileSink, "sync", sync)
    await lagging.fetch()
    assert len(synced) == len(set(synced)) == 2
    assert leader.refused == ["", ""]
    lagging.install(leader)


async def test_another_copy_is_fetched_from_its_start(leader: Leader, lagging: Lagging) -> None:
    def gone(number: int, piece: bytes) -> bytes:
        if number == 8:
            raise Unavailable("NoSuchCopy", "this copy is not kept here any more")
        return piece

    leader.spoil = gone
    leader.offers.insert(0, msgspec.structs.replace(leader.copied, blake3="00" * 32))
    await lagging.fetch()
    assert [piece.offset for piece in leader.read].count(0) == 2
    lagging.install(leader)


@pytest.mark.parametrize(
    "wrong",
    [{"index": 1}, {"index": 0}, {"cluster_id": "another"}, {"size": 1 << 60}],
    ids=["of the log's last entry", "of one before it", "of another cluster", "for which there is no room"],
)
async def test_a_copy_that_cannot_be_taken_is_not_read(
    leader: Leader, lagging: Lagging, wrong: dict[str, object]
) -> None:
    leader.offers = [msgspec.structs.replace(leader.copied, **wrong)]
    await lagging.fetch_in_vain(lambda: leader.asked > 2)
    assert not leader.read


@pytest.mark.parametrize("wrong", [{"index": ENTRIES + 1}, {"term": 2}, {"set_hash": "00" * 16}, {"blake3": "00" * 32}])
async def test_a_copy_that_is_not_what_was_offered_is_never_marked(
    leader: Leader, lagging: Lagging, wrong: dict[str, object]
) -> None:
    leader.offers = [msgspec.structs.replace(leader.copied, **wrong)]
    await lagging.fetch_in_vain(lambda: leader.asked > 2)
    assert leader.read
    assert not leader.done


async def test_rows_that_the_leader_lost_before_are_noticed_by_whoever_fetches_them(
    leader: Leader, lagging: Lagging
) -> None:
    with (
        lmdb.open(str(leader.file), subdir=False, lock=False, lib_version=LMDB_MAJOR, map_size=256 * MIB) as env,
        env.begin(write=True) as txn,
    ):
        cursor = txn.cursor()
        assert cursor.last()
        cursor.delete()
    size = leader.file.stat().st_size
    leader.offers = [
        msgspec.structs.replace(leader.copied, size=size, blake3=blake3(leader.file.read_bytes()).hexdigest())
    ]
    await lagging.fetch_in_vain(lambda: leader.asked > 2)
    assert not leader.done


async def test_who_has_caught_up_by_the_log_meanwhile_takes_no_copy(leader: Leader, lagging: Lagging) -> None:
    def caught_up(number: int, piece: bytes) -> bytes:
        if number == 8:
            lagging.fetcher.told(2, needed=False)
        return piece

    leader.spoil = caught_up
    await lagging.fetch_in_vain(lambda: leader.done > 0)
    assert not next_file(lagging.folder).exists()


async def test_entries_that_were_acknowledged_during_the_transfer_are_kept(leader: Leader, lagging: Lagging) -> None:
    def acknowledge(number: int, piece: bytes) -> bytes:
        if number == 8:
            for index in range(2, ENTRIES + 2):
                lagging.journal.add(index, 0, b"from another leader")
            lagging.journal.sync()
        return piece

    leader.spoil = acknowledge
    lagging.fetcher.told(2, needed=True)
    with trio.move_on_after(5.0):
        await lagging.fetcher.run()
    assert leader.done
    assert not lagging.marked
