"""Saving from members that run: all that was acknowledged is in the file, or there is no file."""

import contextlib
import errno
import fcntl
import os
import resource
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import trio

from cluster.config import Config, address
from cluster.errors import Corrupt, OutcomeUnknown, Refused, TrilithError, Unavailable
from cluster.exits import CommandExit
from cluster.limits import KIB
from cluster.rpc import TransferPool
from metaraft.backup import save as save_module
from metaraft.backup import sending
from metaraft.backup.file import FOOT_BYTES, Manifest, verify
from metaraft.backup.save import Watcher, fetch, save
from metaraft.client import MetaClient
from metaraft.commands import CreateBucket, PutObject
from metaraft.model import Copies, Inline
from metaraft.rows import Kind, bucket_key
from metaraft.snapshot_copy import Copied, copy_store, opened
from metaraft.wire import SERVICE
from tests.metaraft.members import SMALL, Members, cluster_folder, equal_rows, identity, members_of, soon, until


class Usage(NamedTuple):
    """As `shutil.disk_usage` has it."""

    total: int
    used: int
    free: int


class Heard(Watcher):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.bytes = 0
        self.passed: list[tuple[str, str]] = []

    def step(self, what: str, total: int | None) -> None:
        self.steps.append(what)

    def moved(self, count: int) -> None:
        self.bytes += count

    def passed_over(self, member: str, error: TrilithError) -> None:
        self.passed.append((member, error.code))


async def saved(members: Members, file: Path, *, replace: bool = False, heard: Watcher | None = None) -> Manifest:
    """Save, as the command does: in a run of its own."""
    config = members.config
    work = partial(save, config, identity(config, "operator"), file, replace=replace, watcher=heard or Heard())
    return await trio.to_thread.run_sync(work)


def pool_of(config: Config) -> TransferPool:
    """For a transfer with the first member."""
    dial = address(config.member[0].listen, config.base)
    return TransferPool(dial, "meta-1", SERVICE, identity(config, "operator"), config.limits, config.timings)


def put(number: int) -> PutObject:
    """A small object."""
    return PutObject("b", 1, f"k{number:05}", 4, "e", "t", Inline(b"data"))


def names_in(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(os.listdir(folder))


def keys_in(file: Path) -> set[str]:
    """Keys of the objects in a snapshot file."""
    head = bucket_key(1, 1, Kind.VERSION)
    with opened(file) as txn:
        return {key[len(head) : -9].decode() for key, _ in txn.cursor() if key.startswith(head)}


async def fill(client: MetaClient, count: int) -> None:
    await client.commit(CreateBucket("b", "o", Copies(3)), deadline=soon())
    for number in range(count):
        await client.commit(put(number), deadline=soon())


async def test_all_that_was_acknowledged_before_is_in_it_while_writes_go_on(tmp_path: Path) -> None:
    with cluster_folder() as config:
        async with members_of(config) as (members, client), trio.open_nursery() as nursery:
            await fill(client, 20)
            acknowledged: list[str] = []

            async def write() -> None:
                for number in range(20, 100_000):
                    await client.commit(put(number), deadline=soon())
                    acknowledged.append(f"k{number:05}")

            nursery.start_soon(write)
            for number in range(5):
                before = set(acknowledged)
                heard = Heard()
                file = tmp_path / str(number)
                manifest = await saved(members, file, heard=heard)
                assert verify(file)[0] == manifest
                assert keys_in(file) >= before | {f"k{number:05}" for number in range(20)}
                assert manifest.cluster_id == config.cluster_id
                leader = f"meta-{client.leader}"
                assert f"from {leader}" not in heard.steps
                assert heard.bytes >= 2 * manifest.size
                assert heard.passed == []
                assert file.stat().st_mode & 0o777 == 0o600
            assert acknowledged
            nursery.cancel_scope.cancel()
        assert names_in(tmp_path) == ["0", "1", "2", "3", "4"]
        for member in config.member:
            assert names_in(config.path(member.directory)) == ["journal", "store"]


async def test_a_snapshot_is_the_members_rows(tmp_path: Path) -> None:
    with cluster_folder(members=1) as config:
        async with members_of(config) as (members, client):
            await fill(client, 3)
            manifest = await saved(members, tmp_path / "file")
            (status,) = await client.status()
            assert (manifest.set_hash, manifest.index) == (status.set_hash, status.applied)
            assert (manifest.term, manifest.revision) == (status.term, status.revision)


async def test_a_file_that_is_there_stays_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with cluster_folder(members=1) as config:
        async with members_of(config) as (members, client):
            await fill(client, 1)
            with pytest.raises(Refused, match="--force replaces it") as caught:
                await saved(members, tmp_path / "file")
            assert caught.value.code == "FileExists"
            assert (tmp_path / "file").read_text() == "mine"
            manifest = await saved(members, tmp_path / "file", replace=True)
            assert verify(tmp_path / "file")[0] == manifest


async def test_without_a_majority_nothing_is_saved(tmp_path: Path) -> None:
    with cluster_folder() as config:
        async with members_of(config) as (members, client):
            await fill(client, 1)
            await members.stop(1, 2)
            with pytest.raises(Unavailable):
                await saved(members, tmp_path / "file")
            assert names_in(tmp_path) == []
            await members.start(1)
            manifest = await saved(members, tmp_path / "file")
            assert verify(tmp_path / "file")[0] == manifest


async def test_a_copy_that_is_not_what_was_told_is_taken_from_another_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bit flips in the first member's copy, on its way."""
    real, sent = os.pread, []

    def flipping(descriptor: int, size: int, offset: int) -> bytes:
        data = real(descriptor, size, offset)
        sent.append(offset)
        return data if len(sent) > 1 else bytes([data[0] ^ 1]) + data[1:]

    with cluster_folder() as config:
        async with members_of(config) as (members, client):
            await fill(client, 1)
            monkeypatch.setattr(os, "pread", flipping)
            heard = Heard()
            manifest = await saved(members, tmp_path / "file", heard=heard)
            assert verify(tmp_path / "file")[0] == manifest
            assert [code for _, code in heard.passed] == ["CopyDamaged"]


async def test_a_rotten_member_is_passed_over_and_a_cluster_of_one_has_no_snapshot(tmp_path: Path) -> None:
    with cluster_folder(members=1) as config:
        async with members_of(config) as (members, client):
            await fill(client, 50)
            store = members.running[1].store
            with store._env.begin(write=True) as txn:  # a bit of a row, as rot would turn it
                key, value = next((key, value) for key, value in txn.cursor() if key[0] == Kind.VERSION)
                txn.put(key, value[:-1] + bytes([value[-1] ^ 1]))
            with pytest.raises(Corrupt, match="is not what its checksum says"):
                await saved(members, tmp_path / "file")
            assert names_in(tmp_path) == []


async def test_a_disk_that_takes_no_more_keeps_no_half_of_it(tmp_path: Path) -> None:
    """No file of this process may be longer than the limit, as on a full disk (setrlimit(2), RLIMIT_FSIZE).

    It keeps no bytecode: CPython 3.13.0 would leave half a file of it, and no later process could import that module.
    """
    with cluster_folder(members=1) as config:
        async with members_of(config) as (members, client):
            await fill(client, 1)
            with pytest.raises(OSError, match="No such file"):
                await saved(members, tmp_path / "nowhere" / "file")
            (tmp_path / "kept").write_text("kept")
            for name in ("file", "kept"):
                command = [sys.executable, "-P", "-m", "metaraft.backup", "save", str(tmp_path / name), "--force"]
                done = await trio.run_process(
                    [*command, "--dir", config.base],
                    capture_stderr=True,
                    check=False,
                    env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000)),
                )
                assert done.returncode == CommandExit.REFUSED
                assert b"File too large" in done.stderr
            assert names_in(tmp_path) == ["kept"]
            assert (tmp_path / "kept").read_bytes() == b"kept"


async def test_a_member_whose_disk_is_full_says_so_and_another_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def copying(*arguments: Any, **options: Any) -> Copied:
        asked.append(1)
        if len(asked) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return copy_store(*arguments, **options)

    monkeypatch.setattr("metaraft.snapshot_copy.copy_store", copying)
    with cluster_folder() as config:
        async with members_of(config) as (members, client):
            await fill(client, 1)
            heard = Heard()
            manifest = await saved(members, tmp_path / "file", heard=heard)
            assert verify(tmp_path / "file")[0] == manifest
            assert [code for _, code in heard.passed] == ["CopyFailed"]


async def test_a_member_that_refuses_is_passed_over_and_the_last_one_has_the_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster_folder() as config:
        async with members_of(config) as (members, client):
            await fill(client, 1)
            names = [f"meta-{slot}" for slot in (1, 2, 3)]
            refusing = set(names)
            real = save_module.fetch

            async def fetching(pool: TransferPool, name: str, *arguments: Any) -> Copied:
                if name in refusing:
                    await trio.lowlevel.checkpoint()
                    raise Refused("SomethingNew", "a newer program refuses this")
                return await real(pool, name, *arguments)

            monkeypatch.setattr(save_module, "fetch", fetching)
            heard = Heard()
            with pytest.raises(Refused, match="a newer program"):
                await saved(members, tmp_path / "file", heard=heard)
            assert sorted(heard.passed) == [(name, "SomethingNew") for name in names]
            assert names_in(tmp_path) == []
            refusing -= {"meta-2"}
            assert await saved(members, tmp_path / "file") == verify(tmp_path / "file")[0]


def test_what_an_earlier_try_has_written_counts_as_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = 40 * KIB
    (tmp_path / "file").write_bytes(b"x" * written)
    monkeypatch.setattr(shutil, "disk_usage", lambda _where: Usage(1 << 30, 1 << 30, 0))
    descriptor = os.open(tmp_path / "file", os.O_RDWR)
    try:
        save_module._require_room(descriptor, written - FOOT_BYTES)
        with pytest.raises(Refused, match="there is room for") as refused:
            save_module._require_room(descriptor, written)
        assert refused.value.code == "NoRoom"
    finally:
        os.close(descriptor)


async def test_two_saves_to_one_file_are_one_too_many(tmp_path: Path) -> None:
    with cluster_folder(members=1) as config:
        async with members_of(config) as (members, client):
            await fill(client, 1)
            results: list[object] = []

            async def try_it() -> None:
                try:
                    results.append(await saved(members, tmp_path / "file"))
                except Refused as error:
                    results.append(error.code)

            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(try_it)
            assert len([done for done in results if isinstance(done, Manifest)]) == 1
            assert next(done for done in results if isinstance(done, str)) in ("SaveUnderWay", "FileExists")
            assert verify(tmp_path / "file")


def test_a_snapshot_that_was_just_finished_is_not_taken_for_one_that_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another save gives its file the name between this one's open and lock."""
    file, partial = tmp_path / "file", tmp_path / "file.partial"
    partial.write_text("whole")
    real = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        if not file.exists():
            partial.rename(file)
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with save_module._opened(partial) as descriptor:
        os.ftruncate(descriptor, 0)
        assert file.read_text() == "whole"
    assert names_in(tmp_path) == ["file"]


def test_who_has_finished_does_not_remove_what_another_has_begun(tmp_path: Path) -> None:
    file, partial = tmp_path / "file", tmp_path / "file.partial"
    with contextlib.ExitStack() as other:
        with save_module._opened(partial):
            with pytest.raises(Refused) as refused, save_module._opened(partial):
                pass
            assert refused.value.code == "SaveUnderWay"
            partial.rename(file)
            other.enter_context(save_module._opened(partial))
        assert names_in(tmp_path) == ["file", "file.partial"]
    assert names_in(tmp_path) == ["file"]


async def test_a_client_that_goes_away_stops_the_copy(tmp_path: Path) -> None:
    """At this rate it takes seconds."""
    with cluster_folder(members=1, limits=msgspec.structs.replace(SMALL, copy_bytes_per_s=200 * KIB)) as config:
        async with members_of(config) as (members, client):
            await fill(client, 1)
            for number in range(40):
                big = PutObject("b", 1, f"big{number}", 16_000, "e", "t", Inline(os.urandom(16_000)))
                await client.commit(big, deadline=soon())
            folder = config.path(config.member[0].directory)
            with trio.move_on_after(0.5) as scope, (tmp_path / "file").open("wb") as target:
                await fetch(pool_of(config), "meta-1", 0, target.fileno(), Heard())
            assert scope.cancelled_caught
            assert names_in(folder) == [sending.BACKUP_FILE, "journal", "store"]

            async def inside() -> list[str]:
                await trio.lowlevel.checkpoint()
                return names_in(folder)

            await until(inside, lambda names: names == ["journal", "store"])
            assert await saved(members, tmp_path / "next") == verify(tmp_path / "next")[0]


async def test_a_member_that_goes_away_in_the_middle_is_passed_over(tmp_path: Path) -> None:
    """At this rate each copy takes seconds."""
    with cluster_folder(limits=msgspec.structs.replace(SMALL, copy_bytes_per_s=200 * KIB)) as config:
        async with members_of(config) as (members, client):
            await fill(client, 1)
            for number in range(20):
                big = PutObject("b", 1, f"big{number}", 16_000, "e", "t", Inline(os.urandom(16_000)))
                await client.commit(big, deadline=soon())
            heard = Heard()
            done: list[Manifest] = []

            async def try_it() -> None:
                done.append(await saved(members, tmp_path / "file", heard=heard))

            async def copying() -> list[int]:
                await trio.lowlevel.checkpoint()
                folders = {member.slot: config.path(member.directory) for member in config.member}
                return [slot for slot, folder in folders.items() if sending.BACKUP_FILE in names_in(folder)]

            async with trio.open_nursery() as nursery:
                nursery.start_soon(try_it)
                (slot,) = await until(copying, bool)
                await members.stop(slot)
            assert [member for member, _ in heard.passed] == [f"meta-{slot}"]
            assert done == [verify(tmp_path / "file")[0]]


async def test_a_member_makes_one_copy_at_a_time_for_whoever_wants_it(tmp_path: Path) -> None:
    with cluster_folder(members=1) as config:
        async with members_of(config) as (members, client):
            await fill(client, 1)
            async with members.running[1].copying:
                with pytest.raises(Unavailable, match="makes a copy already"), (tmp_path / "file").open("wb") as target:
                    await fetch(pool_of(config), "meta-1", 0, target.fileno(), Heard())
            assert await saved(members, tmp_path / "next") == verify(tmp_path / "next")[0]


async def test_the_index_covers_what_was_acknowledged_and_only_a_leader_tells_it() -> None:
    with cluster_folder() as config:
        async with members_of(config) as (members, client):
            await fill(client, 5)
            index = await client.index(deadline=soon())
            assert index >= 6
            found = await until(client.status, equal_rows)
            assert all(status.applied >= index for status in found)
            await members.stop(1, 2)
            with pytest.raises((Unavailable, OutcomeUnknown)):
                await client.index(deadline=trio.current_time() + 2)
