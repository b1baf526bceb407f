"""Disks that fail or are full under a member, on real processes under load: the short form of `trilith chaos fsync` and
`trilith chaos disk-full`."""

from functools import partial
from pathlib import Path

import pytest
import trio

from chaos import failed_syncs, full_disks
from chaos.failed_syncs import Fault

pytestmark = pytest.mark.probe


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("leader", Fault("fdatasync", "EIO", 2, 3)),
        ("follower", Fault("fdatasync", "EIO", 1, 2)),
        ("follower", Fault("pwrite64", "EIO", 1, 2)),
    ],
)
async def test_a_member_whose_disk_fails_once_ends_and_nothing_is_lost(folder: Path, target: str, fault: Fault) -> None:
    report = await failed_syncs.run(folder, target, fault, seed=3, clients=4, say=lambda text: None)
    assert (report.violations, report.lost, report.faults) == ([], 0, 2), report
    assert report.counts == {"members that ended": 2}
    assert report.acknowledged_writes > 10


@pytest.mark.parametrize("target", full_disks.TARGETS)
async def test_a_full_disk_refuses_what_grows_and_goes_on_when_there_is_room(folder: Path, target: str) -> None:
    report = await trio.to_thread.run_sync(partial(full_disks.run, folder, target, times=1, seed=3, clients=4))
    assert (report.violations, report.lost, report.faults) == ([], 0, 1), report
    assert report.outcomes["PUT 507"] > 0
