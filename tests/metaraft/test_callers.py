"""Who may have members changed, the leader moved and the metadata copied: operators, and nobody else with a name."""

from pathlib import Path

import msgspec
import pytest
import trio
from structlog.testing import capture_logs

from cluster.config import Address, ChunkdConfig, Config, MemberConfig, TcpAddress, UnixAddress, address
from cluster.errors import Refused, TrilithError, Unavailable
from cluster.frames import Frame, Kind
from cluster.identity import OPERATOR_NAME
from cluster.rpc import Channel, Peer, Request, TransferPool
from metaraft.backup.save import Watcher, fetch
from metaraft.callers import Callers
from metaraft.commands import Envelope, RaiseLevel, Touch
from metaraft.core import Admit, Change, Retire
from metaraft.wire import SERVICE, Method, MoveLeader, encode
from tests.metaraft.members import cluster_folder, identity, members_of, soon

UNIX, TCP = UnixAddress("/s"), TcpAddress("127.0.0.1", 1)


def request(name: str, where: Address) -> Request:
    """A request by name."""
    return Request(Frame(Kind.REQUEST, Method.CHANGE, 1, 1000, bytes(8), 0, b""), 1.0, Peer(name, where))


@pytest.mark.parametrize(
    ("name", "where", "may"),
    [
        ("meta-1", UNIX, True),
        ("meta-1", TCP, True),
        (OPERATOR_NAME, UNIX, True),
        (OPERATOR_NAME, TCP, False),  # no certificate says so
        ("chunk-1", TCP, False),
        ("api-1", UNIX, False),
        ("meta-4", TCP, False),
    ],
)
def test_operators_are_members_and_on_one_machine_who_says_so(name: str, where: Address, may: bool) -> None:
    member = MemberConfig(name="meta-1", slot=1, incarnation="", listen="unix:s", directory="m")
    callers = Callers(Config(format=1, cluster_id="", member=(member,)))
    if may:
        callers.refuse_but_operators(request(name, where))
        return
    with pytest.raises(Refused, match=f"{name} may neither .* of a member: meta-1") as refused:
        callers.refuse_but_operators(request(name, where))
    assert refused.value.code == "NotAnOperator"


async def refusal(config: Config, name: str, method: Method, body: bytes) -> str:
    """The code that the first member refuses by."""
    where = address(config.member[0].listen, config.base)
    channel = Channel(where, "meta-1", SERVICE, identity(config, name), config.limits, config.timings)
    code = ""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.run)
        await channel.wait_connected()
        try:
            await channel.call(method, body, deadline=soon())
        except TrilithError as error:
            code = error.code
        nursery.cancel_scope.cancel()
    return code


async def test_a_chunk_daemon_neither_writes_nor_reads_the_metadata() -> None:
    with cluster_folder(members=1) as config:
        daemon = ChunkdConfig(name="chunk-1", disk_id="0" * 32, listen="unix:c", directory="c")
        async with members_of(msgspec.structs.replace(config, chunkd=(daemon,))) as (_, client):
            await client.commit(Touch(), deadline=soon())
            for method in (Method.COMMIT, Method.READ, Method.INDEX):
                assert await refusal(config, "chunk-1", method, b"") == "NotAClient"
                assert await refusal(config, "steward", method, b"") != "NotAClient"


async def test_no_stranger_raises_the_level() -> None:
    with cluster_folder(members=1) as config:
        async with members_of(config) as (_, client):
            await client.commit(Touch(), deadline=soon())
            raising = encode(Envelope(1, 1, b"k" * 16, 1000, RaiseLevel(2)))
            assert await refusal(config, "api-1", Method.COMMIT, raising) == "NotAnOperator"
            assert await refusal(config, OPERATOR_NAME, Method.COMMIT, raising) == "UnknownLevel"


async def test_no_stranger_changes_members_moves_the_leader_or_has_a_copy(tmp_path: Path) -> None:
    with cluster_folder(members=1) as config:
        async with members_of(config):
            change: Change = Admit(1, config.member[0].incarnation)
            for method, body in ((Method.CHANGE, encode(change)), (Method.MOVE_LEADER, encode(MoveLeader(1)))):
                assert await refusal(config, "api-1", method, body) == "NotAnOperator"
            where = address(config.member[0].listen, config.base)
            pool = TransferPool(where, "meta-1", SERVICE, identity(config), config.limits, config.timings)
            with (tmp_path / "file").open("wb") as target, pytest.raises(Refused) as refused:
                await fetch(pool, "meta-1", 0, target.fileno(), Watcher())
            assert refused.value.code == "NotAnOperator"


async def test_a_copy_is_logged_with_who_asked_though_it_is_never_finished(tmp_path: Path) -> None:
    with cluster_folder(members=1) as config, capture_logs() as logs:
        async with members_of(config) as (members, _):
            where = address(config.member[0].listen, config.base)
            who = identity(config, OPERATOR_NAME)
            pool = TransferPool(where, "meta-1", SERVICE, who, config.limits, config.timings)
            async with members.running[1].copying:  # so that none is made
                with (tmp_path / "file").open("wb") as target, pytest.raises(Unavailable):
                    await fetch(pool, "meta-1", 0, target.fileno(), Watcher())
    assert [line["by"] for line in logs if line["event"] == "copy_asked"] == [OPERATOR_NAME]
    assert not [line for line in logs if line["event"] == "copy_sent"]


async def test_a_change_is_logged_with_who_asked_and_no_successor_without_a_folder_to_be_is_taken() -> None:
    with cluster_folder(members=1) as config, capture_logs() as logs:
        async with members_of(config):
            for successor in ("1" * 31, "G" * 32, "../" + "0" * 29):
                code = await refusal(config, OPERATOR_NAME, Method.CHANGE, encode(Retire(1, successor)))
                assert code == "BadIncarnation"
            code = await refusal(config, OPERATOR_NAME, Method.CHANGE, encode(Retire(1, "1" * 32)))
            assert code in ("LastMember", "NotLeader")
    found = [(line["by"], line["change"]) for line in logs if line["event"] == "change_asked"]
    assert found == [(OPERATOR_NAME, str(Retire(1, "1" * 32)))]
