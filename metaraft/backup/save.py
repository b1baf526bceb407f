"""Saving a snapshot: all that was acknowledged before it began, from one member, in a file that was read again.

Rules:
* The leader is asked first how far a copy must be (a linearizable read of the index alone), so nothing that was
  acknowledged by then can be missing, whichever member is copied. A follower is asked for the copy before the leader
  is: it has no clients to answer.
* The file has another name until every byte and row of it was read again from the disk, and is durable under its own
  name when this returns. One that is there already stays, unless it is to be replaced.
* A member that fails or refuses, or sends what is not what it should be, is passed over for the next one. Only what is
  wrong here, as a full disk, ends the save.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import msgspec
import trio

from cluster.config import Config, MemberConfig
from cluster.errors import UNDECODABLE, Corrupt, Refused, TrilithError, Unavailable
from cluster.identity import NodeIdentity
from cluster.limits import MIB
from cluster.locked_file import is_named, lock_file
from cluster.rpc import TransferPool, TransferStream
from metaraft.backup.file import FOOT_BYTES, Manifest, check_bytes, finish, read_manifest
from metaraft.backup.sending import COPIED, RECORD
from metaraft.client import MetaClient
from metaraft.files import sync_directory
from metaraft.snapshot_copy import Copied, FileSink, damaged
from metaraft.wire import SERVICE, CopyAsk, Method, encode

PARTIAL = ".partial"
"""Ends the name of a file that is not whole yet."""

CATCH_UP_S = 10.0
"""How long all members together may take to be where the leader is (chosen); they are within a second."""

FOLLOWERS_S = 2.0
"""How long the leader is spared while a follower is merely late (chosen)."""

_LATER = ("NotThereYet", "CopyUnderWay")
_PAUSE_S = 0.1
_BLOCK_BYTES = 512  # stat(2), whatever the file system's are
_PIECE_BYTES = MIB
_COPIED_BYTES_MAX = 64 * 1024
_decode_copied = msgspec.msgpack.Decoder(Copied).decode


class NoRoomHere(Refused):
    """The file has no room where it is to be, whichever member is asked (code NoRoom)."""


class Watcher:
    """Is told what happens; this one does nothing with it."""

    def step(self, what: str, total: int | None) -> None:
        """A next step begins, over so many bytes."""

    def moved(self, count: int) -> None:
        """So many more bytes."""

    def passed_over(self, member: str, error: TrilithError) -> None:
        """A member could not give a copy."""


def save(config: Config, me: NodeIdentity, file: Path, *, replace: bool, watcher: Watcher) -> Manifest:
    """Save a snapshot of the running cluster. Blocking.

    Raises Refused (FileExists, SaveUnderWay, NoRoom), Unavailable (NoQuorum, ...), Corrupt, OSError; the file is then
    as it was before.
    """
    if file.exists() and not replace:
        raise Refused("FileExists", f"{file} is there already; --force replaces it")
    partial = file.with_name(file.name + PARTIAL)
    with _opened(partial) as descriptor:
        manifest = trio.run(_save_from_any, config, me, partial, descriptor, watcher)
        if file.exists() and not replace:
            raise Refused("FileExists", f"{file} came to be there meanwhile; --force replaces it")
        partial.replace(file)
        sync_directory(file.parent)
    return manifest


@contextlib.contextmanager
def _opened(partial: Path) -> Iterator[int]:
    """The file that is written, for this process alone; it is not there afterwards, unless as another's."""
    descriptor = _locked(partial)
    try:
        try:
            yield descriptor
        finally:
            if is_named(partial, descriptor):
                partial.unlink()
    finally:
        os.close(descriptor)  # and no sooner: under the lock the name is no other's


def _locked(partial: Path) -> int:
    try:
        return lock_file(partial)
    except BlockingIOError:
        raise Refused("SaveUnderWay", f"another process writes {partial}") from None


async def _save_from_any(
    config: Config, me: NodeIdentity, partial: Path, descriptor: int, watcher: Watcher
) -> Manifest:
    client = MetaClient(config, me)
    saved: Manifest | TrilithError | OSError
    async with trio.open_nursery() as nursery:
        await nursery.start(client.run)
        try:
            saved = await _Saving(config, me, client, partial, descriptor, watcher).run()
        except (TrilithError, OSError) as error:
            saved = error
        nursery.cancel_scope.cancel()
    if isinstance(saved, Exception):
        raise saved
    return saved


class _Saving:
    """One save: whom to ask, and what of it is kept."""

    def __init__(
        self,
        config: Config,
        me: NodeIdentity,
        client: MetaClient,
        partial: Path,
        descriptor: int,
        watcher: Watcher,
    ) -> None:
        self._config = config
        self._me = me
        self._client = client
        self._partial = partial
        self._descriptor = descriptor
        self._watcher = watcher
        self._last: TrilithError = Unavailable("NoQuorum", "no member answered")

    async def run(self) -> Manifest:
        """Ask one member after the other; those that are merely late, again. Raises what the last one said."""
        begun = trio.current_time()
        at_least = await self._client.index(deadline=begun + self._config.timings.metadata_deadline_s)
        patience = begun + CATCH_UP_S
        failed: set[int] = set()
        while members := [member for member in await self._in_order() if member.slot not in failed]:
            if len(members) > 1 and trio.current_time() < begun + FOLLOWERS_S:
                del members[-1]  # the leader
            for member in members:
                try:
                    pool = self._pool(member)
                    copied = await fetch(pool, member.name, at_least, self._descriptor, self._watcher)
                    return await trio.to_thread.run_sync(self._checked, copied, at_least)
                except NoRoomHere:
                    raise
                except TrilithError as error:
                    self._last = error
                    if error.code not in _LATER:
                        self._watcher.passed_over(member.name, error)
                        failed.add(member.slot)
                        patience = trio.current_time() + CATCH_UP_S
            if trio.current_time() > patience:
                break
            await trio.sleep(_PAUSE_S)
        raise self._last

    def _pool(self, member: MemberConfig) -> TransferPool:
        """For one transfer with a member, where the client reaches it now."""
        dial = self._client.channel(member.slot).dial
        return TransferPool(dial, member.name, SERVICE, self._me, self._config.limits, self._config.timings)

    async def _in_order(self) -> list[MemberConfig]:
        """Whom to ask: the followers, the furthest first, then the leader; nobody who does not answer."""
        members = {member.slot: member for member in self._config.member}
        there = [status for status in await self._client.status() if status.role != "unreachable"]
        there.sort(key=lambda status: (status.role == "leader", -status.applied))
        return [members[status.slot] for status in there]

    def _checked(self, copied: Copied, at_least: int) -> Manifest:
        """Make of the bytes that were written, and are read from the disk here, a snapshot file, and read that too."""
        if copied.cluster_id != self._config.cluster_id or copied.index < at_least:
            raise damaged(self._partial, f"it is of entry {copied.index} of cluster {copied.cluster_id}")
        self._watcher.step("checking rows", None)
        manifest = finish(self._partial, copied, version("trilith"))
        self._watcher.step("reading again", manifest.size)
        if read_manifest(self._partial) != manifest:
            raise damaged(self._partial, "its foot is not what was written")
        check_bytes(self._partial, manifest, self._watcher.moved, lambda _piece: None)
        return manifest


async def fetch(pool: TransferPool, name: str, at_least: int, descriptor: int, watcher: Watcher) -> Copied:
    """Have a member's copy, with entry `at_least` in it, written and synced from a file's start on.

    Raises NoRoomHere, what the member says, OutcomeUnknown, Corrupt (CopyDamaged), OSError.
    """
    try:
        async with pool.open() as stream:
            await stream.send_request(Method.COPY, encode(CopyAsk(at_least)), remaining_s=float("inf"))
            await stream.receive_response()
            watcher.step(f"{name} copies", None)
            copied = await _receive_copied(stream, name, watcher.moved)
            _require_room(descriptor, copied.size)
            watcher.step(f"from {name}", copied.size)
            os.ftruncate(descriptor, 0)
            sink = FileSink(descriptor)
            await _receive_bytes(stream, copied, sink, watcher.moved)
    finally:
        pool.close()
    if sink.blake3 != copied.blake3:
        raise Corrupt("CopyDamaged", f"{name} sent a copy with BLAKE3 {sink.blake3}, not {copied.blake3}")
    return copied


async def _receive_copied(stream: TransferStream, name: str, moved: Callable[[int], object]) -> Copied:
    seen = 0
    while (size := RECORD.unpack(await _receive(stream, RECORD.size))[0]) != COPIED:
        moved(max(0, size - seen))
        seen = max(seen, size)
    (length,) = RECORD.unpack(await _receive(stream, RECORD.size))
    if length > _COPIED_BYTES_MAX:
        raise Corrupt("CopyDamaged", f"{name} describes its copy in {length} bytes")
    try:
        return _decode_copied(await _receive(stream, length))
    except UNDECODABLE as error:
        raise Corrupt("CopyDamaged", f"{name} describes its copy as cannot be read: {error}") from error


async def _receive_bytes(
    stream: TransferStream, copied: Copied, sink: FileSink, moved: Callable[[int], object]
) -> None:
    buffer = memoryview(bytearray(_PIECE_BYTES))
    left = copied.size
    while left:
        piece = buffer[: min(left, _PIECE_BYTES)]
        await stream.receive_raw_into(piece)
        await trio.to_thread.run_sync(sink.write, piece)
        moved(len(piece))
        left -= len(piece)
    await trio.to_thread.run_sync(sink.sync)


async def _receive(stream: TransferStream, size: int) -> bytes:
    data = bytearray(size)
    await stream.receive_raw_into(memoryview(data))
    return bytes(data)


def _require_room(descriptor: int, size: int) -> None:
    """Raises NoRoomHere unless the file can come to have `size` bytes and its foot; those that it has count."""
    room = shutil.disk_usage(descriptor).free + os.fstat(descriptor).st_blocks * _BLOCK_BYTES
    if room < size + FOOT_BYTES:
        raise NoRoomHere("NoRoom", f"the snapshot has {size + FOOT_BYTES} bytes, and there is room for {room}")
