"""Three members in one trio run: they agree, keep to exactly once, refuse what they must, and come back."""

import contextlib
import shutil
from dataclasses import dataclass

import msgspec
import pytest
import trio

from cluster.config import Config, address
from cluster.errors import Corrupt, OutcomeUnknown, Refused, TrilithError, Unavailable
from cluster.identity import OPERATOR_NAME
from cluster.rpc import Channel
from metaraft.applier import DiskFailed
from metaraft.client import MetaClient
from metaraft.commands import (
    CreateBucket,
    DeleteBucket,
    RaiseLevel,
    Touch,
)
from metaraft.journal import Journal
from metaraft.journal_disk import Disk
from metaraft.model import Copies
from metaraft.queries import (
    BucketFound,
    GetBucket,
    ListBuckets,
)
from metaraft.results import (
    BucketDone,
    Done,
)
from metaraft.rows import Kind
from metaraft.server import Member, journal_directory, prepare, store_directory
from metaraft.wire import SERVICE, Method
from tests.metaraft.members import (
    PATIENCE_S,
    SMALL,
    client_of,
    cluster_folder,
    equal_rows,
    identity,
    members_of,
    one_leader,
    soon,
    until,
)
from tests.metaraft.replies import envelope
from tests.metaraft.rot import flip_row


def bucket(name: str) -> CreateBucket:
    return CreateBucket(name, "owner", Copies(3))


async def names(client: MetaClient) -> list[str]:
    found = await client.read(ListBuckets(), deadline=soon())
    return [bucket.name for bucket in found.buckets]  # type: ignore[union-attr]


async def test_members_elect_a_leader_and_hold_the_same_rows() -> None:
    with cluster_folder() as config:
        async with members_of(config) as (_, client):
            done = await client.commit(bucket("a"), deadline=soon())
            assert isinstance(done, BucketDone)
            found = await client.read(GetBucket("a"), deadline=soon())
            assert isinstance(found, BucketFound)
            assert found.bucket == done.bucket
            statuses = await until(client.status, equal_rows)
            assert one_leader(statuses)
            assert client.state_time_ms >= done.bucket.created_ms > 1_700_000_000_000


async def test_a_single_member_works_too() -> None:
    with cluster_folder(members=1) as config:
        async with members_of(config) as (_, client):
            await client.commit(bucket("a"), deadline=soon())
            assert await names(client) == ["a"]


async def test_many_commits_at_once_share_entries() -> None:
    with cluster_folder() as config:
        async with members_of(config) as (_, client):
            await client.commit(Touch(), deadline=soon())
            before = max(status.commit for status in await client.status())
            async with trio.open_nursery() as nursery:
                for number in range(300):
                    nursery.start_soon(commit_one, client, f"b-{number:03}")
            after = max(status.commit for status in await client.status())
            assert after - before < 150
            assert await names(client) == [f"b-{number:03}" for number in range(300)]


async def commit_one(client: MetaClient, name: str) -> None:
    await client.commit(bucket(name), deadline=soon())


async def test_the_same_key_has_one_effect_and_one_result() -> None:
    with cluster_folder() as config:
        async with members_of(config) as (_, client):
            key = b"k" * 16
            first = await client.commit(bucket("a"), key=key, deadline=soon())
            assert await client.commit(bucket("a"), key=key, deadline=soon()) == first
            with pytest.raises(Refused, match="already") as refused:
                await client.commit(bucket("a"), deadline=soon())
            assert refused.value.code == "BucketAlreadyExists"


async def test_a_follower_names_the_leader_and_takes_nothing() -> None:
    with cluster_folder() as config:
        async with members_of(config) as (_, client):
            await client.commit(Touch(), deadline=soon())
            statuses = await until(client.status, lambda found: all(status.leader for status in found))
            follower = next(status for status in statuses if status.role == "follower")
            for method, body in ((Method.COMMIT, envelope()), (Method.READ, b"")):
                with pytest.raises(Unavailable) as refused:
                    await ask(config, follower.name, method, body)
                assert refused.value.code == "NotLeader"
                assert refused.value.detail == {"leader": str(follower.leader)}


async def ask(config: Config, member: str, method: int, body: bytes) -> bytes:
    node = next(node for node in config.member if node.name == member)
    channel = Channel(
        address(node.listen, config.base), member, SERVICE, identity(config), config.limits, config.timings
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.run)
        await channel.wait_connected()
        try:
            return await channel.call(method, body, deadline=soon())
        except TrilithError as error:
            failure = error
        finally:
            nursery.cancel_scope.cancel()
    raise failure


async def test_a_stranger_cannot_send_raft_messages() -> None:
    with cluster_folder() as config:
        async with members_of(config) as (members, client):
            await client.commit(Touch(), deadline=soon())
            node = config.member[0]
            changes: list[bool] = []
            gone = trio.Event()

            def changed(up: bool) -> None:
                changes.append(up)
                if not up:
                    gone.set()

            stranger = Channel(
                address(node.listen, config.base),
                node.name,
                SERVICE,
                identity(config, "api-1"),
                config.limits,
                config.timings,
                on_change=changed,
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stranger.run)
                await stranger.wait_connected()
                stranger.post_nowait(Method.RAFT, msgspec.msgpack.encode([3, 99, 99, 99]))
                with trio.fail_after(30):
                    await gone.wait()
                nursery.cancel_scope.cancel()
            assert members.running[1].driver.status.term < 99


async def test_without_a_majority_nothing_is_acknowledged_and_nothing_hangs() -> None:
    with cluster_folder() as config:
        async with members_of(config) as (members, client):
            await client.commit(bucket("a"), deadline=soon())
            leader = client.leader
            assert leader is not None
            await members.stop(*({1, 2, 3} - {leader}))
            with pytest.raises((Unavailable, OutcomeUnknown)):
                await client.commit(bucket("b"), deadline=trio.current_time() + 1.0)
            with pytest.raises(Unavailable) as refused:
                await client.read(ListBuckets(), deadline=trio.current_time() + 1.0)
            assert refused.value.code == "NoQuorum"


async def test_a_member_that_was_away_catches_up() -> None:
    with cluster_folder() as config:
        async with members_of(config) as (members, client):
            await client.commit(Touch(), deadline=soon())
            leader = client.leader
            assert leader is not None
            away = leader % 3 + 1
            await members.stop(away)
            for number in range(20):
                await client.commit(bucket(f"b-{number:02}"), deadline=soon())
            await members.start(away)
            await until(client.status, equal_rows)


async def test_all_members_at_once_come_back_with_everything() -> None:
    with cluster_folder() as config:
        async with members_of(config) as (members, client):
            for number in range(10):
                await client.commit(bucket(f"b-{number}"), deadline=soon())
            before = client.state_time_ms
            await members.stop(1, 2, 3)
            await members.start(1, 2, 3)
            assert await names(client) == [f"b-{number}" for number in range(10)]
            await client.commit(DeleteBucket("b-0"), deadline=soon())
            await until(client.status, equal_rows)
            assert client.state_time_ms >= before


async def test_commits_go_on_under_a_new_leader_and_nothing_acknowledged_is_lost() -> None:
    with cluster_folder() as config:
        async with members_of(config) as (members, client):
            acknowledged: list[str] = []

            async def write(worker: int) -> None:
                for number in range(15):
                    name = f"b-{worker}-{number:02}"
                    await client.commit(bucket(name), deadline=soon())
                    acknowledged.append(name)

            async with trio.open_nursery() as nursery:
                for worker in range(8):
                    nursery.start_soon(write, worker)
                with trio.fail_after(60):
                    while len(acknowledged) < 30:
                        await client.status()
                leader = client.leader
                assert leader is not None
                await members.stop(leader)
            await members.start(leader)
            assert await names(client) == sorted(acknowledged)
            assert len(acknowledged) == 120
            await until(client.status, equal_rows)


@dataclass(frozen=True)
class Short:
    code: str
    limits: dict[str, float]


@pytest.mark.parametrize(
    "short",
    [
        Short("NoSpace", {"free_bytes_min": 1 << 60}),
        Short("NoSpace", {"free_percent_min": 100.1}),
        Short("LogFull", {"log_bytes_max": 1}),
    ],
)
async def test_while_space_is_short_growing_commands_are_refused_and_deletes_pass(short: Short) -> None:
    limits = msgspec.structs.replace(SMALL, **short.limits)
    with cluster_folder(limits=limits) as config:
        async with members_of(config) as (_, client):
            with pytest.raises(Unavailable) as refused:
                await client.commit(bucket("a"), deadline=soon())
            assert refused.value.code == short.code
            with pytest.raises(Refused) as passed:
                await client.commit(DeleteBucket("a"), deadline=soon())
            assert passed.value.code == "NoSuchBucket"
            statuses = await client.status()
            assert short.code in {status.refusal for status in statuses}


@pytest.mark.parametrize("leads", [True, False])
async def test_while_a_member_has_no_room_left_every_command_is_refused_and_reads_go_on(
    leads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster_folder() as config:
        async with members_of(config) as (members, client):
            await client.commit(bucket("a"), deadline=soon())
            leader = client.leader
            assert leader is not None
            full = members.running[leader if leads else leader % 3 + 1]
            used = full.store.facts().used_bytes
            with monkeypatch.context() as disks:
                disks.setattr("metaraft.store.free_bytes", lambda _: 0)
                disks.setattr(full.store, "_room_end", used + full.store.room.piece // 5)

                async def said() -> str:
                    try:
                        await client.commit(DeleteBucket("b"), deadline=soon())
                    except (Refused, Unavailable) as error:
                        return error.code
                    raise AssertionError("there is no such bucket")

                await until(said, lambda code: code == "NoSpace")
                assert await names(client) == ["a"]
                await until(client.status, lambda found: "NoSpace" in {status.refusal for status in found})
            await until(said, lambda code: code == "NoSuchBucket")
            await client.commit(bucket("c"), deadline=soon())


async def test_the_log_is_cut_at_every_member_below_what_all_have() -> None:
    limits = msgspec.structs.replace(SMALL, journal_segment_bytes=64 * 1024, journal_cache_bytes=64 * 1024)
    with cluster_folder(limits=limits) as config:
        async with members_of(config) as (members, client):

            async def first_indices() -> set[int]:
                await client.commit(Touch(b"x" * 16_000), deadline=soon())
                return {member.journal.first_index for member in members.running.values()}

            await until(first_indices, lambda found: min(found) > 1)
            await members.stop(1, 2, 3)
            await members.start(1, 2, 3)
            await client.commit(Touch(), deadline=soon())
            await until(client.status, equal_rows)


async def test_the_log_is_cut_no_further_than_the_database_says_that_its_disk_has_all() -> None:
    limits = msgspec.structs.replace(SMALL, journal_segment_bytes=64 * 1024)
    with cluster_folder(members=1, limits=limits) as config:
        async with members_of(config) as (members, client):
            member = members.running[1]
            sync, durable = member.store.sync, list[int]()

            def sync_the_first_entries() -> int:
                durable.append(min(sync(), 10))
                return durable[-1]

            member.store.sync = sync_the_first_entries  # type: ignore[method-assign]

            async def syncs() -> int:
                await client.commit(Touch(b"x" * 16_000), deadline=soon())
                return len(durable)

            await until(syncs, lambda count: count > 1)  # the first cut is done by then
            assert member.journal.last_index > 20
            assert 1 < member.journal.first_index <= 10


async def test_the_log_is_kept_for_a_member_that_is_away() -> None:
    limits = msgspec.structs.replace(SMALL, journal_segment_bytes=64 * 1024)
    with cluster_folder(limits=limits) as config:
        async with members_of(config) as (members, client):
            await client.commit(Touch(), deadline=soon())
            leader = client.leader
            assert leader is not None
            away = leader % 3 + 1
            await members.stop(away)
            for _ in range(40):
                await client.commit(Touch(b"x" * 16_000), deadline=soon())
            assert {member.journal.first_index for member in members.running.values()} == {1}
            await members.start(away)
            await until(client.status, equal_rows)


async def test_no_cut_takes_what_follows_a_copy_that_was_offered_while_it_was_prepared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = msgspec.structs.replace(SMALL, journal_segment_bytes=64 * 1024)
    with cluster_folder(members=1, limits=limits) as config:
        async with members_of(config) as (members, client):
            member, prepared = members.running[1], trio.Event()
            sync, cut, cuts = member.store.sync, member.driver.cut, list[int]()

            def offered_meanwhile() -> int:
                member._copies._holds.use(2, 1, float("inf"))
                return sync()

            def note(below: int) -> None:
                cuts.append(below)
                cut(below)
                prepared.set()

            monkeypatch.setattr(member.store, "sync", offered_meanwhile)
            monkeypatch.setattr(member.driver, "cut", note)
            for _ in range(40):
                await client.commit(Touch(b"x" * 16_000), deadline=soon())
            with trio.fail_after(PATIENCE_S):
                await prepared.wait()
            assert cuts == [1]


async def test_the_level_is_not_raised_above_what_all_programs_know() -> None:
    with cluster_folder() as config:
        async with members_of(config) as (_, client), client_of(config, OPERATOR_NAME) as operator:
            with pytest.raises(Refused) as refused:
                await operator.commit(RaiseLevel(2), deadline=soon())
            assert refused.value.code == "UnknownLevel"
            assert isinstance(await client.commit(Touch(), deadline=soon()), Done)


class FailingDisk(Disk):
    """A disk whose syncs fail once `failing` is set."""

    failing = False

    def fdatasync(self, fd: int) -> None:
        """Fail, or sync."""
        if self.failing:
            raise OSError(5, "Input/output error")
        super().fdatasync(fd)


async def test_a_member_whose_journal_fails_ends_and_the_others_go_on() -> None:
    with cluster_folder() as config:
        async with members_of(config) as (members, client):
            await client.commit(Touch(), deadline=soon())
            leader = client.leader
            assert leader is not None
            away = leader % 3 + 1
            await members.stop(away)
            node = config.member[away - 1]
            disk = FailingDisk()

            def open_journal(*arguments: object, **named: object) -> Journal:
                return Journal.open(*arguments, **named, disk=disk)  # type: ignore[arg-type]

            member = Member(config, node, identity(config, node.name), open_journal=open_journal)
            try:
                with pytest.RaisesGroup(DiskFailed, flatten_subgroups=True):
                    async with trio.open_nursery() as nursery:
                        await nursery.start(member.run)
                        disk.failing = True
                        await client.commit(Touch(), deadline=soon())
                        await trio.sleep_forever()
            finally:
                member.close()
            await client.commit(Touch(), deadline=soon())


@pytest.mark.parametrize("found_by", ["a read", "an apply"])
async def test_rot_that_is_found_in_passing_is_written_down_for_the_next_start(
    found_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster_folder(members=1) as config:
        async with members_of(config) as (members, client):
            await client.commit(bucket("a"), deadline=soon())
            await members.stop(1)
            node = config.member[0]
            store = store_directory(config, node)
            flip_row(store, bytes([Kind.NAME]) + b"a")
            member = Member(config, node, identity(config, node.name))
            monkeypatch.setattr(member.store.background, "piece", lambda seconds: False)  # the walk shall not find it

            async def touch_it() -> None:
                with contextlib.suppress(TrilithError):
                    if found_by == "a read":
                        await client.read(GetBucket("a"), deadline=soon())
                    else:
                        await client.commit(DeleteBucket("a"), deadline=soon())

            try:
                with pytest.RaisesGroup(DiskFailed, flatten_subgroups=True):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(member.run)
                        await touch_it()
                        await trio.sleep_forever()
            finally:
                member.close()
        with pytest.raises(Corrupt) as refused:
            Member(config, node, identity(config, node.name))
        assert refused.value.code == "StoreCondemned"


def test_a_member_is_prepared_once() -> None:
    with cluster_folder(members=1) as config, pytest.raises(Refused) as refused:
        prepare(config, config.member[0])
    assert refused.value.code == "MemberExists"


async def test_a_journal_that_is_behind_its_database_ends_the_member() -> None:
    with cluster_folder(members=1) as config:
        async with members_of(config) as (members, client):
            await client.commit(bucket("a"), deadline=soon())
            await members.stop(1)
            node = config.member[0]
            shutil.rmtree(journal_directory(config, node))
            Journal.create(
                journal_directory(config, node),
                cluster_id=config.cluster_id,
                slot=node.slot,
                incarnation=node.incarnation,
            )
            member = Member(config, node, identity(config, node.name))
            try:
                with pytest.raises(DiskFailed, match="the state machine has applied"):
                    await member.run()
            finally:
                member.close()
