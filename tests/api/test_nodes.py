"""The nodes as an API sees them: registration, introduction, states, and who is asked first."""

from contextlib import suppress
from pathlib import Path

import trio
import trio.testing

from api.nodes import _Pace
from cluster.errors import Unavailable
from metaraft.model import Disk
from tests.api.disks import World, random_bytes, world


async def settled(w: World) -> None:
    """Every node that is up has been looked at."""
    with trio.fail_after(60):
        while any(state.connected and state.status is None for state in w.nodes.status()):
            await trio.lowlevel.checkpoint()


async def test_disks_of_the_configuration_are_registered_up_or_not(tmp_path: Path) -> None:
    async with world(tmp_path, up=[]) as w:
        assert [disk.node for disk in sorted(w.meta.disks.values(), key=lambda d: d.node)] == ["n1", "n2", "n3"]
        assert w.nodes.up() == []
        assert {state.status for state in w.nodes.status()} == {None}


async def test_what_the_metadata_says_of_a_disk_wins(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        client = w.clients[1]
        draining = Disk(client.disk_id, "n2", "elsewhere", 7, "draining")
        w.meta.disks[client.disk_id] = draining
        await w.stop(1)
        await w.start(1)
        info = await w.nodes.space.read(since=trio.current_time())
        order = w.nodes.for_put(bytes(32), info)
        assert {node.name for node in order} == {"n1", "n3"}
        assert w.nodes.too_few(info, 2) is None
        assert w.nodes.too_few(info, 3) is not None
        assert w.meta.disks[client.disk_id] == draining


async def test_a_daemon_that_started_is_told_the_present_revision(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await settled(w)
        found = await w.store(random_bytes(100_000))
        for _ in range(2):
            w.meta.revision += 10
            await w.stop(0)
            await w.start(0)
            with trio.fail_after(60):
                kept = None
                while kept is None:  # refused until it knows the revision, and kept then: its `seen` is the present one
                    with suppress(Unavailable):
                        deadline = trio.current_time() + 5
                        kept = await w.clients[0].delete(list(found.holders), w.meta.revision, deadline=deadline)
            assert kept == [False]


async def test_the_status_says_what_a_daemon_said(tmp_path: Path) -> None:
    async with world(tmp_path, up=[0]) as w:
        await settled(w)
        first, second, _ = w.nodes.status()
        assert first.connected
        assert first.registered
        assert first.status is not None
        assert (first.status.name, first.status.state, first.status.chunks) == ("n1", "ok", 0)
        assert (second.connected, second.registered, second.status) == (False, True, None)


async def test_a_node_that_failed_comes_last_for_a_while(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        info = await w.nodes.space.read()
        names = [bytes([number]) * 32 for number in range(20)]
        firsts = {w.nodes.for_put(name, info)[0].name for name in names}
        assert firsts == {"n1", "n2", "n3"}
        w.nodes.rest(w.clients[0])
        assert {w.nodes.for_put(name, info)[-1].name for name in names} == {"n1"}
        assert all(len(w.nodes.for_put(name, info)) == 3 for name in names)


async def test_reads_go_to_the_quick_and_idle_and_to_those_that_are_down_last(tmp_path: Path) -> None:
    async with world(tmp_path, up=[0, 1]) as w:
        holders = [client.disk_id for client in w.clients]
        assert {w.nodes.for_get(holders)[2].name for _ in range(20)} == {"n3"}
        assert {w.nodes.for_get(holders)[0].name for _ in range(50)} == {"n1", "n2"}
        with w.nodes.asking(w.clients[0]):
            assert {w.nodes.for_get(holders)[0].name for _ in range(20)} == {"n2"}
        for _ in range(10):
            with w.nodes.asking(w.clients[1]) as pace:
                pace.took(0.5)
        assert {w.nodes.for_get(holders)[0].name for _ in range(20)} == {"n1"}
        assert w.nodes.for_get([b"unknown", holders[1]]) == [w.clients[1]]
        w.nodes.rest(w.clients[0])
        assert {w.nodes.for_get(holders)[0].name for _ in range(20)} == {"n2"}


async def test_a_latency_is_forgotten_in_time(autojump_clock: trio.testing.MockClock) -> None:
    slow, idle = _Pace(), _Pace()
    slow.took(1.0)
    assert slow.cost(trio.current_time()) > 100 * idle.cost(trio.current_time())
    autojump_clock.jump(100.0)
    assert slow.cost(trio.current_time()) == idle.cost(trio.current_time())


async def test_readers_of_the_space_share_one_question(tmp_path: Path) -> None:
    async with world(tmp_path, up=[], space_age_s=60.0) as w:
        asked = w.meta.space_reads
        now = trio.current_time()

        async def read() -> None:
            assert (await w.nodes.space.read(since=now)).revision == w.meta.revision

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(read)
        assert w.meta.space_reads - asked == 1
