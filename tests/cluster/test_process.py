"""Pid files that name no stranger, and children that end with whoever started them."""

import ctypes
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cluster.process import opened_process, read_pid, start_time, write_pid

_PR_SET_NAME = 15


def test_pid_file_names_its_process(tmp_path: Path) -> None:
    file = tmp_path / "node-1.pid"
    write_pid(file, os.getpid())
    assert read_pid(file) == os.getpid()
    assert [path.name for path in tmp_path.iterdir()] == ["node-1.pid"]
    with opened_process(file) as handle:
        assert handle is not None
        assert select.select([handle], [], [], 0)[0] == []  # alive


@pytest.mark.parametrize("text", ["", "12", "x y", "{pid} 1", "-1 0", "0 0", "999999999 0", "1 2 3", "\xff"])
def test_stale_or_damaged_pid_file_names_nobody(tmp_path: Path, text: str) -> None:
    file = tmp_path / "node-1.pid"
    assert read_pid(file) is None
    file.write_text(text.format(pid=os.getpid()), encoding="latin-1")
    assert read_pid(file) is None
    with opened_process(file) as handle:
        assert handle is None


def test_name_of_a_process_does_not_confuse() -> None:
    started: list[int | None] = []

    def named() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_NAME, b") Z 1 \xff(", 0, 0, 0)
        started.append(start_time(threading.get_native_id()))

    thread = threading.Thread(target=named)
    thread.start()
    thread.join()
    own = start_time(os.getpid())
    assert own is not None
    assert started[0] is not None
    assert started[0] >= own


@pytest.mark.probe
def test_zombie_is_no_live_process(tmp_path: Path) -> None:
    file = tmp_path / "node-1.pid"
    with subprocess.Popen(["sleep", "600"]) as process:
        write_pid(file, process.pid)
        assert read_pid(file) == process.pid
        with opened_process(file) as handle:
            assert handle is not None
            process.kill()
            select.select([handle], [], [])
        assert start_time(process.pid) is None  # not waited for yet
        assert read_pid(file) is None


@pytest.mark.probe
def test_children_end_with_a_parent_that_is_killed() -> None:
    program = (
        "import subprocess, sys\n"
        "from cluster.process import end_with_parent\n"
        "child = subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL, preexec_fn=end_with_parent())\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-P", "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            assert select.select([child], [], [], 60)[0] == [child]
        finally:
            os.close(child)
