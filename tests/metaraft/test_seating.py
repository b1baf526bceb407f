"""One member's look at the seats: what another says wrongly harms nobody, and a bad disk is told as one."""

import pytest
import trio

from cluster.config import Config, address
from cluster.errors import TrilithError
from cluster.rpc import Channel, Request, Service, serve
from metaraft.addresses import LISTEN_FILE, listen_address, write_listen
from metaraft.applier import DiskFailed
from metaraft.callers import Callers
from metaraft.seating import Seating, first_seats
from metaraft.server import store_directory
from metaraft.store import Store
from metaraft.wire import SERVICE, Method
from tests.metaraft.members import PATIENCE_S, SMALL, cluster_folder, identity


def store_of(config: Config) -> Store:
    """The first member's database."""
    directory = store_directory(config, config.member[0])
    return Store.open(directory, cluster_id=config.cluster_id, limits=SMALL, first_seats=first_seats(config))


def seating_of(config: Config, store: Store, channels: dict[int, Channel]) -> Seating:
    """The first member's."""
    node = config.member[0]
    return Seating(config, node, node.incarnation, store, channels, callers=Callers(config))


async def test_a_database_that_cannot_be_read_ends_the_process_as_a_bad_disk() -> None:
    with cluster_folder() as config:
        store = store_of(config)
        store.close()
        with pytest.raises(DiskFailed):
            await seating_of(config, store, {}).ask()


async def test_a_member_whose_answer_cannot_be_read_is_asked_again_later() -> None:
    with cluster_folder() as config:
        asked, other = trio.Event(), config.member[1]
        count = 0

        async def garbage(_request: Request) -> bytes:
            nonlocal count
            await trio.lowlevel.checkpoint()
            count += 1
            if count == 2:
                asked.set()
            return b"\x93\x01\xa1\xff\x03"

        where = address(other.listen, config.base)
        service = Service(SERVICE, handlers={Method.MEMBERS: garbage})
        me = identity(config, config.member[0].name)
        channel = Channel(where, other.name, SERVICE, me, config.limits, config.timings)
        store = store_of(config)
        async with trio.open_nursery() as nursery:
            theirs = identity(config, other.name)
            await nursery.start(serve, service, where, theirs, config.limits, config.timings)
            nursery.start_soon(channel.run)
            await channel.wait_connected()
            nursery.start_soon(seating_of(config, store, {2: channel}).ask)
            with trio.fail_after(PATIENCE_S):
                await asked.wait()
            nursery.cancel_scope.cancel()
        store.close()


def test_a_member_listens_where_its_folder_says() -> None:
    with cluster_folder() as config:
        node = config.member[0]
        folder = config.path(node.directory)
        assert listen_address(config, node) == address(node.listen, config.base)
        write_listen(folder, "unix:s/moved")
        assert (folder / LISTEN_FILE).read_text() == "unix:s/moved\n"
        assert listen_address(config, node) == address("unix:s/moved", config.base)
        with pytest.raises((TrilithError, OSError)):
            write_listen(folder / "nowhere", "unix:s/moved")
