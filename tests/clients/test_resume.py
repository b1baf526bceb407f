"""An upload of a gibibyte in whose middle the client is killed, or every process of the store, goes on and is whole."""

import subprocess
from pathlib import Path

import pytest

from tests.clients.environments import environment
from tests.clients.files import GIB, digest, large_file
from tests.clients.programs import Programs
from tests.clients.scenarios.steps import MIB, new_name

pytestmark = pytest.mark.clients

PARTS = GIB // (16 * MIB)


class Uploading:
    """A client that uploads a file of a gibibyte in parts, one after the other, and can be run again."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._python = environment("aws")
        self._aws = self._python.with_name("aws")
        self._bucket = new_name("resume")
        self._file = large_file(programs.folder / "file")
        self.aws("mb", f"s3://{self._bucket}")

    def aws(self, *arguments: str | Path) -> str:
        """Run `aws s3`."""
        endpoint = self._programs.store.access.endpoint
        return self._programs(self._aws, "--endpoint-url", endpoint, "s3", *arguments, timeout_s=300)

    def start(self) -> subprocess.Popen[str]:
        """Begin, or go on with what was begun."""
        return self._programs.start_scenario(self._python, "resume", str(self._file), self._bucket, "key")

    def check_whole(self) -> None:
        """What is stored is the file."""
        target = self._programs.folder / "down"
        self.aws("cp", f"s3://{self._bucket}/key", target)
        assert digest(target) == digest(self._file)


def wait_for(client: subprocess.Popen[str], line: str) -> None:
    """Read what the client says until it says this."""
    assert client.stdout is not None
    said: list[str] = []
    while not said or said[-1] != f"{line}\n":
        said.append(client.stdout.readline())
        assert said[-1], f"the client ended: {''.join(said)}"


def test_an_upload_goes_on_after_its_client_was_killed(programs: Programs) -> None:
    upload = Uploading(programs)
    with upload.start() as client:
        wait_for(client, f"sent {PARTS // 2}")
        client.kill()
    with upload.start() as client:
        said, _ = client.communicate(timeout=300)
        there = int(said.split()[2])
        assert there >= PARTS // 2, said
        assert said.count("sent ") == PARTS - there
        assert client.returncode == 0, said
    upload.check_whole()


def test_an_upload_goes_on_after_every_process_of_the_store_was_killed(programs: Programs) -> None:
    upload = Uploading(programs)
    with upload.start() as client:
        wait_for(client, f"sent {PARTS // 2}")
        killed = programs.store.kill_all()
        programs.store.start(killed)
        first, _ = client.communicate(timeout=300)
    if client.returncode != 0:  # it gave up before the store was there again
        with upload.start() as client:
            said, _ = client.communicate(timeout=300)
            assert int(said.split()[2]) >= PARTS // 2, first + said
            assert client.returncode == 0, first + said
    upload.check_whole()
