"""Ctrl-C while a command asks members that are connected and say nothing."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.exits import CommandExit
from metaraft.members.notes import noted
from tests.metaraft.members import PATIENCE_S, cluster_folder


@pytest.mark.probe
@pytest.mark.parametrize(
    "command",
    [["metaraft.backup", "save", "file"], ["metaraft.members", "replace", "meta-3"], ["metaraft.members.level"]],
)
def test_an_interrupt_ends_a_command_with_its_own_code_and_leaves_nothing(command: list[str], tmp_path: Path) -> None:
    with cluster_folder() as config, socket.socket(socket.AF_UNIX) as silent:
        silent.settimeout(PATIENCE_S)
        silent.bind(f"{config.base}/s/1")
        silent.listen()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", *command, "--dir", config.base],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            with silent.accept()[0]:
                process.send_signal(signal.SIGINT)
                told = process.communicate(timeout=PATIENCE_S)[1]
        finally:
            process.kill()
            process.wait()
        assert process.returncode == CommandExit.INTERRUPTED
        assert b"Traceback" not in told
        assert b"KeyboardInterrupt" not in told
        assert list(tmp_path.iterdir()) == []
        assert noted(config, config.member[2]) is None
