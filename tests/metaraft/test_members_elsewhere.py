"""A member moves to another host, over TCP and under load, by what docs/members.md says and the commands print."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from cluster.config import FILE_NAME, Config
from cluster.create import Shape, create
from cluster.exits import RoleExit
from cluster.ports import free_ports
from tests.folders import short_folder
from tests.metaraft.members import PATIENCE_S, Processes, client_of, equal_rows, processes_of, until
from tests.metaraft.test_members_replaced import Load

pytestmark = [pytest.mark.probe, pytest.mark.long]

MOVED = "meta-3"
TRILITH = [sys.executable, "-P", "-m", "cluster.cli.main"]
PRINTED = re.compile(r"on the new host: trilith (member prepare .+), then start it: python (.+)\n")


@pytest.fixture
def config() -> Iterator[Config]:
    """A cluster whose roles speak TLS."""
    with short_folder() as folder:
        yield create(folder / "here", Shape(chunkds=1, transport="tcp"))


def _new_host(config: Config) -> Path:
    """A folder with what the page says must be there: `cluster.toml`, and of the keys the member's own."""
    here = Path(config.base)
    there = here.with_name("there")
    (there / "tls").mkdir(parents=True)
    for file in (FILE_NAME, "tls/ca.pem", f"tls/{MOVED}.pem", f"tls/{MOVED}.key"):
        shutil.copy2(here / file, there / file)
    return there


async def _trilith(folder: Path, *arguments: str) -> str:
    """What a command prints that is run on the host with this folder."""
    environment = {**os.environ, "TRILITH_DIR": str(folder)}
    done = await trio.run_process([*TRILITH, *arguments], env=environment, cwd=folder, capture_stdout=True)
    return done.stdout.decode()


def _start(processes: Processes, there: Path, words: list[str]) -> None:
    """Start the successor in its folder, as was printed."""
    with (there / "log").open("wb") as log:
        processes.running[3] = subprocess.Popen([sys.executable, *words], cwd=there, stderr=log)


async def _move(config: Config, processes: Processes, there: Path, address: str) -> str:
    """The whole of it, as a person would type it; the last of what is said."""
    words = ["member", "replace", MOVED, "--address", address, "--elsewhere", "--yes", "--dir", config.base]
    async with await trio.open_file(there / "said", "w+") as said, trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.run_process, [*TRILITH, *words], stderr=said.wrapped))

        async def read() -> str:
            return await trio.Path(there / "said").read_text()

        printed = PRINTED.search(await until(read, lambda text: PRINTED.search(text) is not None))
        assert printed is not None
        assert await processes.wait(3) == RoleExit.CONFIG  # it finds itself retired
        await _trilith(there, *shlex.split(printed[1]))
        _start(processes, there, shlex.split(printed[2]))
    return await read()


async def test_a_member_moves_to_another_host_by_what_the_page_says_and_the_commands_print(config: Config) -> None:
    here, there = Path(config.base), _new_host(config)
    [port] = free_ports(1)
    address = f"tcp:127.0.0.1:{port}"
    with processes_of(config) as processes:
        processes.start(1, 2, 3)
        async with client_of(config) as client:
            load = Load()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(load.run, client, "load")
                await load.more(5)
                with trio.fail_after(PATIENCE_S):
                    said = await _move(config, processes, there, address)
                assert f"{MOVED} is replaced" in said
                moved = json.loads(await _trilith(here, "member", "list", "--json"))[2]
                assert (moved["state"], moved["address"]) == ("voter", address)
                assert moved["incarnation"] in said

                old = [sys.executable, "-P", "-m", "metaraft", "--config", str(here / FILE_NAME), "--node", MOVED]
                ended = await trio.run_process(old, check=False, capture_stderr=True)
                assert ended.returncode == RoleExit.CONFIG, "the old disk counts for nothing"
                assert b"`trilith member replace meta-3`" in ended.stderr

                await _trilith(there, "member", "move-leader", MOVED)
                await processes.kill(1)  # the successor leads, and counts
                await load.more(5)
                processes.start(1)
                nursery.cancel_scope.cancel()
            await until(client.status, equal_rows)
