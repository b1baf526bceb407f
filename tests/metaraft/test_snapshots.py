"""Members that lag more than the kept tail of the log come back by a copy of the leader's database, under load; whoever
asks, whatever is damaged, and wherever it ends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from cluster.limits import KIB, Limits
from metaraft.client import MetaClient
from metaraft.commands import Touch
from metaraft.snapshot_install import MARKER_FILE, next_file
from metaraft.snapshot_serving import COPY_FILE
from tests.metaraft.members import SMALL, Members, cluster_folder, equal_rows, members_of, soon, until

TAIL = msgspec.structs.replace(
    SMALL, journal_segment_bytes=64 * KIB, journal_cache_bytes=64 * KIB, journal_tail_bytes=128 * KIB
)
"""Limits under which a log is cut soon."""


def files(members: Members) -> set[str]:
    """What transfers leave in the members' folders."""
    folders = [Path(members.config.base, member.directory) for member in members.config.member]
    found = [file for folder in folders for file in (folder / MARKER_FILE, folder / COPY_FILE, next_file(folder))]
    return {file.name for file in found if file.exists()}


async def write(client: MetaClient, bytes_min: int) -> None:
    """Entries of so many bytes together."""
    for number in range(0, bytes_min, 16_000):
        await client.commit(Touch(b"%d" % number + b"x" * 16_000), deadline=soon())


async def cut_beyond(members: Members, client: MetaClient, index: int) -> None:
    """Write until no running member's log goes back to `index`."""
    with trio.fail_after(120):
        while min(member.journal.first_index for member in members.running.values()) <= index:
            await write(client, 64 * KIB)


@asynccontextmanager
async def one_left_behind(limits: Limits = TAIL) -> AsyncIterator[tuple[Members, MetaClient, int]]:
    """A cluster, one slot of which is down and needs a copy."""
    with cluster_folder(limits=limits) as config:
        async with members_of(config) as (members, client):
            await client.commit(Touch(), deadline=soon())
            slot = next(slot for slot in members.running if slot != client.leader)
            await write(client, 10 * KIB)
            index = members.running[slot].journal.last_index
            await members.stop(slot)
            await cut_beyond(members, client, index)
            yield members, client, slot


async def test_a_member_that_lags_more_than_the_tail_comes_back_by_a_copy_under_load() -> None:
    async with one_left_behind() as (members, client, slot):
        async with trio.open_nursery() as nursery:

            async def load() -> None:
                while True:
                    await write(client, 16 * KIB)

            nursery.start_soon(load)
            await members.start(slot)
            await until(client.status, lambda _: members.installed == [slot])
            nursery.cancel_scope.cancel()
        await until(client.status, equal_rows)
        assert members.installed == [slot]
        assert {member.store.walk().set_hash for member in members.running.values()} == {
            members.running[slot].store.facts().set_hash
        }
        await until(client.status, lambda _: not files(members))
