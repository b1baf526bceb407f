"""`trilith member` on a whole cluster over TCP: a member is lost, replaced at another port, and the leader moves, while
objects are stored."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from chaos.local import LocalCluster
from cluster.cli.access import Access
from cluster.ports import free_ports
from tests.probe.conftest import Http

pytestmark = pytest.mark.probe


@contextmanager
def storing(access: Access) -> Iterator[list[str]]:
    """Store objects all the while; those that were acknowledged."""
    stored: list[str] = []
    over = threading.Event()

    def run() -> None:
        http, number = Http(access), 0
        while not over.is_set():
            number += 1
            if http("PUT", f"/objects/{number}", b"%d" % number).status in (200, 201):
                stored.append(str(number))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield stored
    finally:
        over.set()
        thread.join()


def _members(cluster: LocalCluster) -> list[dict[str, object]]:
    done = cluster.command("member", "list", "--dir", str(cluster.folder), "--json")
    return msgspec.json.decode(done.stdout, type=list[dict[str, object]])


def test_a_lost_member_is_replaced_at_another_port_while_objects_are_stored(tmp_path: Path) -> None:
    with LocalCluster(tmp_path / "c", "--transport", "tcp") as cluster:
        folder = ["--dir", str(cluster.folder)]
        config = cluster.config
        with storing(cluster.access()) as stored:
            shutil.rmtree(config.path(config.member[1].directory))
            assert cluster.signal("meta-2")
            [port] = free_ports(1)
            moved = f"tcp:127.0.0.1:{port}"
            cluster.command("member", "replace", "meta-2", "--address", moved, "--yes", *folder)
            cluster.command("member", "move-leader", "meta-2", *folder)
        members = _members(cluster)
        assert [member["state"] for member in members] == ["voter"] * 3
        assert (members[1]["role"], members[1]["address"]) == ("leader", moved)
        assert len(stored) > 10
        http = Http(cluster.access())
        for key in stored:
            assert http("GET", f"/objects/{key}").body == key.encode()
        refused = cluster.command("member", "replace", "chunk-1", "--yes", *folder, check=False)
        assert "WrongRole" in refused.stderr


def test_the_only_member_is_not_replaced_and_what_to_do_is_said(tmp_path: Path) -> None:
    with LocalCluster(tmp_path / "c", "--members", "1") as cluster:
        done = cluster.command("member", "replace", "meta-1", "--yes", "--dir", str(cluster.folder), check=False)
        assert done.returncode == 1
        assert "trilith snapshot restore" in done.stderr
