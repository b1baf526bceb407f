"""What the kernel saw before a 2xx left: strace's record of every daemon and member during one PUT."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.roles import Roles
from tests.probe.conftest import Http

pytestmark = pytest.mark.probe

CALLS = "trace=fsync,fdatasync,rename,renameat,renameat2"


@pytest.fixture
def roles(folder: Path, tmp_path: Path) -> Iterator[Roles]:
    """A cluster whose members and daemons are traced from their start (-D: the role stays our own child)."""
    strace = shutil.which("strace")
    assert strace is not None, "this test needs strace: apt-get install strace"
    names = [f"{kind}-{n}" for kind in ("meta", "chunk") for n in (1, 2, 3)]
    wrap = {
        name: [strace, "-D", "-f", "-ttt", "-T", "-y", "-e", CALLS, "-o", str(tmp_path / f"{name}.trace")]
        for name in names
    }
    with Roles(folder, wrap=wrap) as running:
        yield running


def calls(trace: Path, begin: float, end: float) -> list[tuple[str, float]]:
    """(text, time of completion) of the successful calls that began and completed in the interval, in order."""
    started: dict[str, tuple[float, str]] = {}
    found: list[tuple[str, float]] = []
    for line in trace.read_text(errors="replace").splitlines():
        match = re.match(r"(\d+) +(\d+\.\d+) (.*)", line)
        if match is None:
            continue
        thread, at, text = match[1], float(match[2]), match[3]
        if text.endswith("<unfinished ...>"):
            started[thread] = (at, text)
            continue
        if "resumed>" in text and thread in started:
            at, head = started.pop(thread)
            text = head + text
        took = re.search(r"= 0 <(\d+\.\d+)>$", text)
        if took is not None and begin <= at and at + float(took[1]) <= end:
            found.append((text, at + float(took[1])))
    return sorted(found, key=lambda item: item[1])


def test_chunks_directories_and_journals_are_synced_before_the_answer(
    roles: Roles, http_to: Http, tmp_path: Path
) -> None:
    assert http_to("PUT", "/objects/warm", b"up").status in (200, 201)
    begin = time.time()
    assert http_to("PUT", "/objects/x", os.urandom(1_000_000)).status in (200, 201)
    end = time.time()
    stored = 0
    for n in (1, 2, 3):
        texts = [text for text, _ in calls(tmp_path / f"chunk-{n}.trace", begin, end)]
        kinds = ["rename" if text.startswith("rename") else "sync" for text in texts]
        if "rename" in kinds:
            place = kinds.index("rename")
            file_synced = any("sync" in kind for kind in kinds[:place])
            directory_synced = "sync" in kinds[place + 1 :]
            stored += file_synced and directory_synced
    assert stored >= 2, "fewer than two daemons synced file, name and directory before the answer"
    journals = [
        any("sync" in text and "journal" in text for text, _ in calls(tmp_path / f"meta-{n}.trace", begin, end))
        for n in (1, 2, 3)
    ]
    assert sum(journals) >= 2, "fewer than two members synced their journal before the answer"


def test_small_object_is_in_two_journals_before_the_answer(roles: Roles, http_to: Http, tmp_path: Path) -> None:
    assert http_to("PUT", "/objects/warm", b"up").status in (200, 201)
    begin = time.time()
    assert http_to("PUT", "/objects/small", b"x" * 1000).status in (200, 201)
    end = time.time()
    journals = [
        any("sync" in text and "journal" in text for text, _ in calls(tmp_path / f"meta-{n}.trace", begin, end))
        for n in (1, 2, 3)
    ]
    assert sum(journals) >= 2
