"""When a member that strace should break counts as hit, as not hit, and when nothing can be said."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest
import trio

from chaos.failed_syncs import ended, tracer_of


@pytest.fixture
def living() -> Iterator[subprocess.Popen[bytes]]:
    """A process that goes on, traced by nobody."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


async def test_a_member_that_serves_and_is_not_traced_is_an_error_at_once(living: subprocess.Popen[bytes]) -> None:
    with pytest.raises(RuntimeError, match="does not trace"):
        await ended(living, serves=lambda: True, traced=lambda: tracer_of(living.pid) != 0)


async def test_one_that_is_traced_and_serves_on_was_not_hit(living: subprocess.Popen[bytes]) -> None:
    assert not await ended(living, serves=lambda: True, traced=lambda: True, reached_s=0.05)


async def test_one_that_ended_was_hit_though_its_tracer_is_gone_too(living: subprocess.Popen[bytes]) -> None:
    living.kill()
    with trio.fail_after(60):
        assert await ended(living, serves=lambda: False, traced=lambda: False)


def test_a_tracer_is_seen() -> None:
    strace = shutil.which("strace")
    assert strace is not None, "the tests need it: apt-get install strace"
    command = [strace, "-q", "-o", "/dev/null", "grep", "TracerPid", "/proc/self/status"]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    assert int(said.split()[1]) > 0
