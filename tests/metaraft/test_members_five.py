"""Five members as real processes under load: two may be missing, and one may be replaced while another is."""

import pytest
import trio

from cluster.errors import OutcomeUnknown, Unavailable
from metaraft.client import MetaClient
from metaraft.commands import CreateBucket
from metaraft.model import Copies
from metaraft.queries import ListBuckets
from tests.metaraft.members import soon, until
from tests.metaraft.test_members_replaced import all_answer, leader, site

pytestmark = pytest.mark.probe

DEADLINE_S = 1.0
LATE_S = 30.0
"""How much later than its deadline a busy machine may say that a request failed: what takes longer hangs."""


async def _refused(client: MetaClient) -> None:
    """Nothing is written and nothing is read, and that is said in time."""

    async def write() -> None:
        with pytest.raises((Unavailable, OutcomeUnknown)):
            await client.commit(CreateBucket("refused", "owner", Copies(3)), deadline=soon(DEADLINE_S))

    async def read() -> None:
        with pytest.raises(Unavailable):
            await client.read(ListBuckets(), deadline=soon(DEADLINE_S))

    with trio.fail_after(DEADLINE_S + LATE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            nursery.start_soon(read)


async def test_five_go_on_without_two_refuse_without_three_and_replace_one_while_another_is_down() -> None:
    async with site(members=5) as made:
        first = await leader(made)
        second, third, fourth, fifth = sorted({1, 2, 3, 4, 5} - {first})
        for slot in (first, second):
            await made.processes.kill(slot)
        await made.load.more(5)

        await made.processes.kill(third)
        await _refused(made.client)

        made.processes.start(first, second, third)
        await made.load.more(5)
        await until(made.status, all_answer)

        await made.wipe(f"meta-{fourth}")
        await made.processes.kill(fifth)
        await made.replace(f"meta-{fourth}")
        await made.processes.kill(first)  # the successor counts: without it there are two
        await made.load.more(5)
        made.processes.start(first, fifth)
