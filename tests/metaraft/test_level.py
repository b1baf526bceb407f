"""The level of command meaning, raised by its number."""

import sys
from typing import Any

import pytest
import trio

from cluster.errors import OutcomeUnknown
from cluster.identity import OPERATOR_NAME
from metaraft.client import MetaClient
from metaraft.commands import Command
from metaraft.members.level import raise_to
from metaraft.results import Result
from metaraft.rows import LEVEL
from tests.metaraft.members import cluster_folder, identity, members_of


class Unsure(MetaClient):
    """A client whose answers are lost."""

    async def commit(self, command: Command, **options: Any) -> Result:
        await super().commit(command, **options)
        raise OutcomeUnknown("LeadershipLost", "it may have happened")


async def test_a_level_that_may_have_been_raised_is_asked_for_by_its_number_and_not_raised_twice() -> None:
    with cluster_folder(members=1) as config:
        async with members_of(config) as (_, client), trio.open_nursery() as nursery:
            unsure = Unsure(config, identity(config, OPERATOR_NAME))
            await nursery.start(unsure.run)
            with pytest.raises(OutcomeUnknown, match=f"`trilith level --raise {LEVEL}` ends it"):
                await raise_to(unsure, LEVEL)
            command = [sys.executable, "-P", "-m", "metaraft.members.level", "--dir", config.base]
            for named in ([str(LEVEL)], []):
                done = await trio.run_process([*command, "--raise", *named], check=False, capture_stdout=True)
                assert done.stdout.startswith(f"level {LEVEL}\n".encode()) == bool(named)
                assert done.returncode == (0 if named else 1)  # nobody knows the next one
            assert {status.level for status in await client.status()} == {LEVEL}
            nursery.cancel_scope.cancel()
