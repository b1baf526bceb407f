"""Large files in parts, from the command's code to a whole cluster: resumed where they can be, begun anew where not."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from cluster.cli import large, resuming, store
from cluster.cli.access import Access
from cluster.cli.http import Client
from cluster.cli.large import How
from cluster.cli.names import Name
from cluster.cli.output import Meter
from cluster.cli.parts import PART_BYTES_MIN
from cluster.errors import Refused
from tests.api.disks import random_bytes
from tests.api.operating import etag_of
from tests.api.served import served
from tests.api.whole import Whole, whole

SIZE = 4 * PART_BYTES_MIN + 1000
PARTS = 5
X = Name("default", "a/x ü")
UPLOADS = "/buckets/default/uploads"
ONE_BY_ONE = How(PART_BYTES_MIN, jobs=1)


class Gauge(Meter):
    """Calls `at` once, when so many bytes were read."""

    def __init__(self, count: int, at: Callable[[], None]) -> None:
        super().__init__(None)
        self._left = count
        self._at = at

    def add(self, count: int) -> None:
        """More bytes were read."""
        before, self._left = self._left, self._left - count
        if before > 0 >= self._left:
            self._at()


def breaks_off() -> None:
    """The file can be read no more."""
    raise OSError(5, "Input/output error")


@dataclass
class Putting:
    """A file, and a cluster that it is put into from a thread."""

    cluster: Whole
    access: Access
    file: Path
    data: bytes
    notes: list[str] = field(default_factory=list)

    async def put(self, how: How = ONE_BY_ONE, meter: Meter | None = None, **headers: str) -> dict[str, Any]:
        """Put the file."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await trio.to_thread.run_sync(
            large.put_file, self.access, self.file, X, meter or Meter(None), sent, how, self.notes.append
        )

    async def break_off(self, stored: int, how: How = ONE_BY_ONE) -> str:
        """Put the file until so many parts are stored, and one more has begun; the upload's id."""
        with pytest.raises(Refused, match="Input/output error"):
            await self.put(how, Gauge(stored * PART_BYTES_MIN + 1, breaks_off))
        (upload,) = await self.uploads()
        return upload

    async def uploads(self) -> list[str]:
        """The ids of uploads under way."""
        return [each["upload_id"] for each in (await self.cluster.get(UPLOADS)).json["uploads"]]

    async def get(self) -> bytes:
        """The object's bytes, checked as `trilith get` does."""
        copy = self.file.with_name("copy")

        def fetch() -> None:
            with Client(self.access) as client:
                store.get_file(client, X, copy, Meter(None))

        await trio.to_thread.run_sync(fetch)
        return copy.read_bytes()


@pytest.fixture(autouse=True)
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def kept_states() -> list[Path]:
    return list(resuming.folder().iterdir())


@asynccontextmanager
async def putting(folder: Path) -> AsyncIterator[Putting]:
    """A file of five parts, and where it goes."""
    file, data = folder / "x.png", random_bytes(SIZE)
    file.write_bytes(data)
    with trio.fail_after(60):
        async with whole() as cluster, served(cluster) as access:
            yield Putting(cluster, access, file, data)


async def test_a_file_in_parts_comes_back_whole_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with putting(tmp_path) as p:
        made = await p.put(How(PART_BYTES_MIN))
        assert (made["size"], made["parts"], made["resumed_parts"]) == (SIZE, PARTS, 0)
        parts = [p.data[start : start + PART_BYTES_MIN] for start in range(0, SIZE, PART_BYTES_MIN)]
        assert made["etag"] == etag_of(*parts)
        assert await p.get() == p.data
        head = await p.cluster.call("HEAD", "/objects/a/x%20%C3%BC")
        assert head.headers["content-type"] == "image/png"
        assert (await p.uploads(), kept_states(), p.notes) == ([], [], [])


async def test_what_broke_off_goes_on_and_what_is_stored_is_not_sent_again(tmp_path: Path) -> None:
    async with putting(tmp_path) as p:
        upload = await p.break_off(stored=3)
        assert p.notes == ["3 of 5 parts are stored; the same command goes on from there"]
        path = f"{UPLOADS}/{upload}?key=a/x%20%C3%BC"
        before = (await p.cluster.get(path)).json["parts"]
        assert [part["number"] for part in before] == [1, 2, 3]
        with pytest.raises(Refused, match="Input/output error"):  # and again, a part later
            await p.put(ONE_BY_ONE, Gauge(4 * PART_BYTES_MIN + 1, breaks_off))
        assert await p.uploads() == [upload]
        assert (await p.cluster.get(path)).json["parts"][:3] == before  # as they were made the first time
        made = await p.put(How(jobs=3))  # of the size that it was begun with
        assert (made["parts"], made["resumed_parts"]) == (PARTS, 4)
        assert await p.get() == p.data
        assert (await p.uploads(), kept_states()) == ([], [])


async def test_a_part_that_is_not_the_files_is_sent_again(tmp_path: Path) -> None:
    async with putting(tmp_path) as p:
        upload = await p.break_off(stored=2)
        part = f"{UPLOADS}/{upload}/parts/%d?key=a/x%%20%%C3%%BC"
        await p.cluster.put(part % 1, random_bytes(PART_BYTES_MIN))
        await p.cluster.put(part % 2, b"short")
        made = await p.put()
        assert made["resumed_parts"] == 0
        assert await p.get() == p.data


async def test_a_file_that_changed_begins_anew(tmp_path: Path) -> None:
    async with putting(tmp_path) as p:
        upload = await p.break_off(stored=2)
        p.data = p.data[::-1]
        p.file.write_bytes(p.data)
        assert (await p.put())["resumed_parts"] == 0
        assert await p.get() == p.data
        assert await p.uploads() == []
        gone = await p.cluster.get(f"{UPLOADS}/{upload}?key=a/x%20%C3%BC")
        assert gone.status == 404


@pytest.mark.parametrize("other", [{"how": How(PART_BYTES_MIN + 1)}, {"Content_Type": "text/x"}])
async def test_what_was_begun_otherwise_begins_anew(tmp_path: Path, other: dict[str, Any]) -> None:
    async with putting(tmp_path) as p:
        await p.break_off(stored=2)
        assert (await p.put(**other))["resumed_parts"] == 0
        assert await p.get() == p.data
        assert (await p.uploads(), kept_states()) == ([], [])


async def test_an_upload_that_is_gone_begins_anew(tmp_path: Path) -> None:
    async with putting(tmp_path) as p:
        upload = await p.break_off(stored=2)
        await p.cluster.call("DELETE", f"{UPLOADS}/{upload}?key=a/x%20%C3%BC")
        other = await p.break_off(stored=1)
        assert other != upload
        assert (await p.put())["resumed_parts"] == 1
        assert await p.get() == p.data


async def test_not_to_resume_is_to_begin_anew_and_to_leave_nothing(tmp_path: Path) -> None:
    never = How(PART_BYTES_MIN, jobs=1, resume=False)
    async with putting(tmp_path) as p:
        await p.break_off(stored=2)
        p.notes.clear()
        with pytest.raises(Refused, match="Input/output error"):
            await p.put(never, Gauge(PART_BYTES_MIN + 1, breaks_off))
        assert p.notes == ["the upload was aborted"]
        assert (await p.uploads(), kept_states()) == ([], [])
        assert (await p.put(never))["resumed_parts"] == 0
        assert kept_states() == []


@pytest.mark.parametrize("change", ["grows", "shrinks", "is touched"])
async def test_a_file_that_changes_while_it_is_stored_is_not_stored(tmp_path: Path, change: str) -> None:
    async with putting(tmp_path) as p:

        def meddle() -> None:
            if change == "grows":
                with p.file.open("ab") as opened:
                    opened.write(b"more")
            elif change == "shrinks":
                os.truncate(p.file, SIZE - 1)
            else:
                os.utime(p.file, ns=(0, 0))

        with pytest.raises(Refused) as refused:
            await p.put(ONE_BY_ONE, Gauge(2 * PART_BYTES_MIN, meddle))
        assert refused.value.code == "FileChanged"
        assert p.notes == ["the upload was aborted"]
        assert (await p.uploads(), kept_states()) == ([], [])
        assert (await p.cluster.get("/objects/a/x%20%C3%BC")).status == 404


async def test_two_never_work_on_one_upload(tmp_path: Path) -> None:
    async with putting(tmp_path) as p:
        with resuming.kept(p.access.endpoint, X, p.file), pytest.raises(Refused) as refused:
            await p.put()
        assert refused.value.code == "UploadUnderWay"
        assert await p.uploads() == []


async def test_where_nothing_can_be_kept_a_file_is_stored_and_what_breaks_off_is_aborted(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    async with putting(tmp_path) as p:
        with pytest.raises(Refused, match="Input/output error"):
            await p.put(ONE_BY_ONE, Gauge(PART_BYTES_MIN + 1, breaks_off))
        assert "cannot be resumed" in p.notes[0]
        assert p.notes[1:] == ["the upload was aborted"]
        assert await p.uploads() == []
        assert (await p.put())["parts"] == PARTS


async def test_a_missing_bucket_is_told_and_nothing_is_kept(tmp_path: Path) -> None:
    async with putting(tmp_path) as p:
        with pytest.raises(Refused) as refused:
            await trio.to_thread.run_sync(
                large.put_file, p.access, p.file, Name("none", "x"), Meter(None), {}, ONE_BY_ONE, p.notes.append
            )
        assert refused.value.code == "NoSuchBucket"
        assert (kept_states(), p.notes) == ([], [])
