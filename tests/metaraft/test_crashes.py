"""What a member does about the crash of its last life: it reads all rows first, and does not crash again and again."""

import os
import subprocess
import sys
from pathlib import Path
from signal import SIGABRT, SIGBUS, SIGKILL, SIGSEGV, SIGTERM

import pytest

from cluster.errors import Corrupt
from cluster.exits import RoleExit
from metaraft import condemned
from metaraft.condemned import refuse_condemned
from metaraft.crashes import BEFORE, FAULTS, FILE, look_into_crash
from metaraft.server import store_directory
from metaraft.store import DATA_FILE
from tests.metaraft.members import client_of, cluster_folder, one_leader, processes_of, until

pytestmark = pytest.mark.probe

PAGE_BYTES, FLAGS_AT, OFFSETS_AT, LEAF = 4096, 18, 24, 2
"""Of a page of LMDB 1.0 (`lmdb.h`, `mdb.c`: MDB_page, P_LEAF)."""

CRASH = """
import os, sys
from pathlib import Path
from metaraft.crashes import note_crash
note_crash(Path(sys.argv[1]))
os.kill(os.getpid(), int(sys.argv[2]))
"""


def crash(folder: Path, number: int) -> None:
    """A process that notes its crash in a folder is killed by a signal."""
    command = [sys.executable, "-P", "-c", CRASH, str(folder), str(number)]
    assert subprocess.run(command, check=False).returncode == -number


def look(folder: Path, check: str) -> int:
    """What is done about it if the check of all rows is this script."""
    return look_into_crash(folder, folder, ["sh", "-c", check], "Ask for help")


def test_nothing_is_checked_after_a_life_that_ended_otherwise(tmp_path: Path) -> None:
    assert look(tmp_path, "exit 70") == RoleExit.DONE
    crash(tmp_path, SIGKILL)
    assert look(tmp_path, "exit 70") == RoleExit.DONE


@pytest.mark.parametrize("number", sorted(FAULTS))
def test_one_crash_is_forgiven_and_a_second_one_soon_is_named(tmp_path: Path, number: int) -> None:
    crash(tmp_path, number)
    assert look(tmp_path, "exit 0") == RoleExit.DONE
    crash(tmp_path, number)
    assert look(tmp_path, "exit 0") == RoleExit.DISK
    assert look(tmp_path, "exit 70") == RoleExit.DONE  # somebody who knows of it started it again


def test_a_second_crash_after_long_is_forgiven_too(tmp_path: Path) -> None:
    crash(tmp_path, SIGSEGV)
    assert look(tmp_path, "exit 0") == RoleExit.DONE
    os.utime(tmp_path / BEFORE, (1.0, 1.0))
    crash(tmp_path, SIGSEGV)
    assert look(tmp_path, "exit 0") == RoleExit.DONE


def test_a_database_that_kills_who_reads_it_is_condemned(tmp_path: Path) -> None:
    crash(tmp_path, SIGSEGV)
    assert look(tmp_path, "kill -BUS $$") == RoleExit.DONE
    with pytest.raises(Corrupt, match="killed by SIGSEGV, and the process that read all its rows then by SIGBUS"):
        refuse_condemned(tmp_path)


def test_where_that_cannot_be_written_down_no_start_is_made_either(tmp_path: Path) -> None:
    crash(tmp_path, SIGSEGV)
    (tmp_path / f"{condemned.FILE}.new").mkdir()
    for _ in range(2):
        assert look(tmp_path, "kill -BUS $$") == RoleExit.DISK


@pytest.mark.parametrize(("check", "code"), [("exit 74", 74), ("exit 70", 70), ("kill -KILL $$", 70), ("exit 78", 0)])
def test_a_check_that_is_not_made_forgives_nothing(tmp_path: Path, check: str, code: int) -> None:
    crash(tmp_path, SIGABRT)
    assert look(tmp_path, check) == code
    assert (tmp_path / FILE).read_bytes().startswith(b"Fatal")
    refuse_condemned(tmp_path)


def mislead(store: Path) -> None:
    """Have the leaves of a closed store lead far behind the end of its file, which is mapped and not there. (The room
    that a member keeps behind its last page would be there, and read as zeros.)"""
    data = store / DATA_FILE
    content = bytearray(data.read_bytes().rstrip(b"\0"))
    content += bytes(-len(content) % PAGE_BYTES)
    for page in range(2 * PAGE_BYTES, len(content), PAGE_BYTES):
        if content[page + FLAGS_AT] & LEAF:
            content[page + OFFSETS_AT : page + OFFSETS_AT + 64] = b"\xf0\xff" * 32
    data.write_bytes(content)


async def test_a_member_that_crashed_serves_again_and_one_that_its_database_kills_stays_down() -> None:
    with cluster_folder(members=1) as config, processes_of(config) as processes:
        async with client_of(config) as client:
            processes.start(1)
            await until(client.status, one_leader)
            processes.signal(SIGSEGV, 1)
            assert await processes.wait(1) == -SIGSEGV
            processes.start(1)
            await until(client.status, one_leader)
            assert '"event": "checked"' in processes.log(1)
            processes.signal(SIGTERM, 1)
            assert await processes.wait(1) == RoleExit.DONE
        mislead(store_directory(config, config.member[0]))
        for end in (-SIGBUS, RoleExit.DISK, RoleExit.DISK):
            processes.start(1)
            assert await processes.wait(1) == end
        words = processes.log(1).splitlines()[-1]
        assert "StoreCondemned" in words
        assert "killed by SIGBUS, and the process that read all its rows then by SIGBUS" in words
        assert "`trilith member replace meta-1`" in words
