"""Disks that fail or are full under a member, on real processes under load: the short form of `trilith chaos fsync` and
`trilith chaos disk-full`; and what a person sees of a member whose data is wrong."""

import time
from pathlib import Path

import pytest

from chaos import failed_syncs, full_disks
from chaos.failed_syncs import Fault
from chaos.local import LocalCluster
from chaos.turns import Extent
from metaraft.server import store_directory
from tests.metaraft.rot import miscount_users

pytestmark = pytest.mark.probe


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("leader", Fault("fdatasync", "EIO", 2, 2)),
        ("follower", Fault("pwrite64", "EIO", 1, 1)),
        pytest.param("follower", Fault("fdatasync", "EIO", 1, 1), marks=pytest.mark.long),
    ],
)
async def test_a_member_whose_disk_fails_once_ends_and_nothing_is_lost(folder: Path, target: str, fault: Fault) -> None:
    report = await failed_syncs.run(folder, target, fault, seed=3, clients=4, say=lambda text: None)
    assert (report.violations, report.lost, report.faults) == ([], 0, 1), report
    assert report.counts == {"members that ended": 1}
    assert report.acknowledged_writes > 10


@pytest.mark.parametrize("target", ["one", pytest.param("all", marks=pytest.mark.long)])
async def test_a_full_disk_refuses_what_grows_and_goes_on_when_there_is_room(folder: Path, target: str) -> None:
    report = await full_disks.run(folder, target, Extent(1), seed=3, clients=4, say=lambda text: None)
    assert (report.violations, report.lost, report.faults) == ([], 0, 1), report
    assert report.outcomes["PUT 507"] > 0
    left = [file.read_bytes() for file in (folder / "meta-3").rglob("*") if file.is_file()]
    assert any(b"full/probe" in content for content in left)  # what was in the small file system is there to be seen


def test_status_names_the_member_whose_rows_differ_and_what_to_do(folder: Path) -> None:
    with LocalCluster(folder) as cluster:
        cluster.down()
        wrong = cluster.config.member[1]
        miscount_users(store_directory(cluster.config, wrong))
        cluster.up()
        text, state = "", ""
        deadline = time.monotonic() + 60
        while ("not running" not in text or state != "degraded") and time.monotonic() < deadline:
            cluster.command("put", "-", "default/key", "--dir", str(folder), input="written meanwhile")
            text = cluster.command("status", str(folder)).stdout
            state = text.splitlines()[0].split()[2]  # unavailable, while another is elected if it led
        lines = [line for line in text.splitlines() if wrong.name in line]
        assert "rows of slot 2 differ: at index" in lines[0], text
        assert f"trilith member replace {wrong.name}" in lines[1], text
        assert state == "degraded"
        assert cluster.command("get", "default/key", "-", "--dir", str(folder)).stdout == "written meanwhile"
