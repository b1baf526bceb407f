"""A leader makes one copy for all who ask, hands it out at a limited rate, keeps the log behind it, and lets go."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
from blake3 import blake3

from cluster.config import UnixAddress
from cluster.errors import Refused, TrilithError, Unavailable
from cluster.frames import Frame, Kind
from cluster.limits import KIB, Limits
from cluster.rpc import Peer, Request
from metaraft.snapshot_copy import Copied
from metaraft.snapshot_serving import COPY_FILE, PIECE_BYTES_MAX, Copies
from metaraft.store import Store
from metaraft.wire import CopyPiece, CopyWanted, Method, encode
from tests.metaraft.full_disk import files_of_at_most
from tests.metaraft.members import PATIENCE_S
from tests.metaraft.stores import new_store, run

ENTRIES = 80
FAST = Limits(copy_bytes_per_s=1 << 40)

_decode_copied = msgspec.msgpack.Decoder(Copied).decode


def request(body: bytes, slot: int = 2) -> Request:
    """A member's."""
    frame = Frame(Kind.REQUEST, 0, 1, 1000, b"", 1, body)
    return Request(frame, float("inf"), Peer(f"meta-{slot}", UnixAddress("/s")))


def slot_of(asked: Request) -> int:
    """Slots 1 to 3 are members."""
    slot = int(asked.peer.name.removeprefix("meta-"))
    if slot > 3:
        raise Refused("NotAMember", "no member")
    return slot


class World:
    """A leader's copies; `leads` and `first_index` are what the test says."""

    def __init__(self, folder: Path, store: Store, limits: Limits, keep_s: float) -> None:
        self.store = store
        self.file = folder / COPY_FILE
        self.leads = True
        self.first_index = 1
        self.match: dict[int, int] = {}
        self.copies = Copies(
            store,
            folder,
            limits,
            copying=trio.Lock(),
            slot_of=slot_of,
            leads=lambda: self.leads,
            first_index=lambda: self.first_index,
            match=lambda slot: self.match.get(slot, 0),
            keep_s=keep_s,
        )

    async def offer(self, last_index: int = 1, slot: int = 2, refused: str = "") -> Copied:
        """Ask until there is one; the first time, say which one was refused."""
        with trio.fail_after(PATIENCE_S):
            while True:
                wanted, refused = CopyWanted(last_index, refused), ""
                try:
                    return _decode_copied(await self.copies.offer(request(encode(wanted), slot)))
                except Unavailable as error:
                    if error.code != "CopyUnderWay":
                        raise
                await trio.sleep(0.01)

    async def read(self, copied: Copied, offset: int, length: int, slot: int = 2) -> bytes:
        """A piece."""
        return await self.copies.read(request(encode(CopyPiece(copied.blake3, offset, length)), slot))

    async def done(self, copied: Copied, slot: int = 2) -> None:
        """It has all."""
        await self.copies.done(request(encode(CopyPiece(copied.blake3)), slot))

    async def until_removed(self) -> None:
        """Wait until the file is gone."""
        with trio.fail_after(PATIENCE_S):
            while self.file.exists():  # noqa: ASYNC110 - a file tells nobody
                await trio.sleep(0.01)


@asynccontextmanager
async def leading(folder: Path, limits: Limits = FAST, keep_s: float = 60.0) -> AsyncIterator[World]:
    store = new_store(folder / "store")
    store.apply(list(itertools.islice(run(3), ENTRIES)))
    world = World(folder, store, limits, keep_s)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.copies.run)
        yield world
        nursery.cancel_scope.cancel()
    store.close()


async def test_all_who_ask_get_the_same_copy_and_its_bytes(tmp_path: Path) -> None:
    async with leading(tmp_path) as world:
        copied = await world.offer()
        assert (copied.index, copied.term) == (ENTRIES, 1)
        assert copied.blake3 == blake3(world.file.read_bytes()).hexdigest()
        world.store.apply(list(itertools.islice(run(3), ENTRIES, ENTRIES + 5)))
        assert await world.offer(slot=3) == copied
        pieces = [await world.read(copied, at, 9000) for at in range(0, copied.size, 9000)]
        assert b"".join(pieces) == world.file.read_bytes()


async def test_a_copy_that_helps_nobody_any_more_is_made_anew(tmp_path: Path) -> None:
    async with leading(tmp_path) as world:
        first = await world.offer()
        world.store.apply(list(itertools.islice(run(3), ENTRIES, ENTRIES + 5)))
        world.first_index = ENTRIES + 1
        second = await world.offer()
        assert second.index == ENTRIES + 5
        assert (await world.offer(last_index=ENTRIES + 2)) == second
        with pytest.raises(Unavailable, match="not kept"):
            await world.read(first, 0, 10)


async def test_a_copy_that_rotted_where_it_lies_is_made_anew_for_who_found_it(tmp_path: Path) -> None:
    async with leading(tmp_path) as world:
        copied = await world.offer()
        with world.file.open("r+b") as file:
            file.seek(copied.size // 2)
            file.write(b"rot")
        assert await world.offer(slot=3) == copied  # nobody has read it yet
        assert await world.offer(refused="00" * 32) == copied  # an older one, which is gone
        again = await world.offer(refused=copied.blake3)
        assert again == copied  # nothing was written between
        assert blake3(world.file.read_bytes()).hexdigest() == again.blake3


async def test_nothing_is_copied_for_who_has_all_that_is_applied(tmp_path: Path) -> None:
    async with leading(tmp_path) as world:
        with pytest.raises(Unavailable, match="nothing beyond"):
            await world.offer(last_index=ENTRIES)
        assert not world.file.exists()


async def test_only_members_are_served_and_only_by_the_leader(tmp_path: Path) -> None:
    async with leading(tmp_path) as world:
        copied = await world.offer()
        for ask in (world.offer(slot=4), world.read(copied, 0, 1, slot=4), world.done(copied, slot=4)):
            with pytest.raises(Refused, match="no member"):
                await ask
        world.leads = False
        with pytest.raises(Unavailable, match="does not lead"):
            await world.offer()
        assert await world.read(copied, 0, 10)  # what it has it hands out to the end


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1), (0, PIECE_BYTES_MAX + 1), (1 << 40, 1)])
async def test_a_piece_that_cannot_be_is_refused(tmp_path: Path, offset: int, length: int) -> None:
    async with leading(tmp_path) as world:
        with pytest.raises(Refused, match="cannot be read"):
            await world.read(await world.offer(), offset, length)


@pytest.mark.parametrize("method", [Method.COPY_OFFER, Method.COPY_READ])
async def test_what_cannot_be_read_is_refused(tmp_path: Path, method: Method) -> None:
    async with leading(tmp_path) as world:
        handler = world.copies.offer if method == Method.COPY_OFFER else world.copies.read
        for body in (b"", b"\xc1", encode("x"), b"\x91\xa1\xff"):
            with pytest.raises(TrilithError, match="cannot be read"):
                await handler(request(body))


async def test_pieces_leave_at_the_limited_rate_whoever_asks(tmp_path: Path) -> None:
    async with leading(tmp_path) as world:
        copied = await world.offer()
        world.copies._limits = Limits(copy_bytes_per_s=100 * KIB)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for at in range(6):
                nursery.start_soon(world.read, copied, at * 10 * KIB, 10 * KIB, 2 + at % 2)
        assert trio.current_time() - began >= 0.5


async def test_the_log_behind_a_copy_is_kept_from_its_beginning_until_a_while_after_its_use(tmp_path: Path) -> None:
    async with leading(tmp_path, Limits(copy_bytes_per_s=1), keep_s=0.4) as world:
        assert world.copies.hold is None
        with pytest.raises(Unavailable, match="being made"):
            await world.copies.offer(request(encode(CopyWanted(1))))
        with trio.fail_after(PATIENCE_S):
            while world.copies.hold is None:  # noqa: ASYNC110 - nobody is told
                await trio.sleep(0.01)
        assert world.copies.hold == ENTRIES
        assert world.copies._copied is None  # it is under way, and will be for long: that it is stopped is the end
    async with leading(tmp_path / "other", keep_s=0.4) as world:
        copied = await world.offer()
        await world.done(copied)
        await world.until_removed()
        assert world.copies.hold == ENTRIES
        await trio.sleep(0.5)
        assert world.copies.hold is None


async def test_the_log_behind_a_copy_is_let_go_when_all_who_used_it_have_caught_up(tmp_path: Path) -> None:
    async with leading(tmp_path) as world:
        copied = await world.offer()
        await world.offer(slot=3)
        for slot in (2, 3):
            await world.done(copied, slot)
            assert world.copies.hold == ENTRIES  # it has the file, and is not known to have installed it
            world.leads = False
            assert world.copies.hold is None
            world.leads = True
            world.match[slot] = ENTRIES
        assert world.copies.hold is None


async def test_a_copy_is_removed_when_the_last_one_has_it_or_is_not_heard_of(tmp_path: Path) -> None:
    async with leading(tmp_path, keep_s=0.4) as world:
        copied = await world.offer()
        await world.offer(slot=3)
        await world.done(copied)
        await trio.sleep(0.1)
        assert world.file.exists()
        await world.done(copied, slot=3)
        await world.until_removed()
        await world.offer()
        await world.until_removed()


async def test_a_copy_that_was_asked_for_again_and_again_while_it_was_made_is_offered_and_stays(tmp_path: Path) -> None:
    async with leading(tmp_path, Limits(copy_bytes_per_s=200 * KIB), keep_s=1.0) as world:
        made = [await world.offer() for _ in range(2)]
        assert made[0] == made[1]
        assert world.file.exists()
        await world.until_removed()


async def test_a_copy_that_nobody_asked_for_since_it_was_begun_is_kept_for_who_asked_then(tmp_path: Path) -> None:
    async with leading(tmp_path) as world:
        with pytest.raises(Unavailable, match="being made"):
            await world.copies.offer(request(encode(CopyWanted(1))))
        with trio.fail_after(PATIENCE_S):
            while (made := world.copies._copied) is None:  # noqa: ASYNC110 - nobody is told
                await trio.sleep(0.01)
        world.copies._bell.set()
        await trio.testing.wait_all_tasks_blocked()
        assert world.copies._copied is made


async def test_what_an_earlier_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / COPY_FILE).write_bytes(b"half of a copy")
    async with leading(tmp_path) as world:
        await world.until_removed()


async def test_a_copy_that_cannot_be_made_is_said_and_not_tried_again_at_once(tmp_path: Path) -> None:
    async with leading(tmp_path) as world:
        with files_of_at_most(10_000), pytest.raises(Unavailable, match="could not be made"):
            await world.offer()
        with pytest.raises(Unavailable, match="could not be made"):
            await world.offer()
