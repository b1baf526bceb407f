"""Stewards in a whole cluster, with short times: what they free, and how they replace each other."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from api.access.decisions import Principal
from api.conditions import NO_CONDITION
from api.digests import ExpectedDigests
from api.operations.calls import Call
from api.steward import role, stewardship, strays
from cluster.errors import Refused
from cluster.limits import CHUNK_BYTES
from metaraft import machine_steward
from metaraft.commands import (
    TakeStewardship,
)
from metaraft.queries import GetSpace
from tests.api.operating import PLAIN, Body
from tests.api.refusals import refusal
from tests.api.whole import Whole, whole


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that are fixed in earnest."""
    monkeypatch.setattr(role, "PERIOD_S_MIN", 0.1)
    monkeypatch.setattr(stewardship, "RENEW_S", 0.5)
    monkeypatch.setattr(strays, "HORIZONS", 1)
    monkeypatch.setattr(machine_steward, "STEWARD_LEASE_MS", 2000)


@asynccontextmanager
async def stewarded(
    stewards: int = 1, *, upload_abandoned_s: float = 1e6, metadata_deadline_s: float = 5
) -> AsyncIterator[Whole]:
    """A cluster in which what nothing refers to goes after half a second; steward-1 runs."""
    async with whole(
        stewards=stewards,
        horizon_s=0.5,
        trash_s=0,
        upload_abandoned_s=upload_abandoned_s,
        metadata_deadline_s=metadata_deadline_s,
    ) as w:
        await w.start("steward-1")
        yield w


def files(w: Whole) -> list[str]:
    """Everything on the chunk daemons' disks but their format files, in whatever folder of theirs."""
    walks = [os.walk(w.config.path(node.directory)) for node in w.config.chunkd]
    return [name for walk in walks for _, _, names in walk for name in names if name != "format"]


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - a disk tells nobody
            await trio.sleep(0.1)


async def stored(w: Whole, key: str) -> bytes:
    """An object of one chunk, on all three disks."""
    before = len(files(w))
    data = os.urandom(50_000)
    await w.put(f"/objects/{key}", data)
    await until(lambda: len(files(w)) == before + 3)
    return data


async def holder(w: Whole) -> str:
    """What somebody else hears who wants to be the steward."""
    deadline = trio.current_time() + 5
    refused = await refusal("StewardshipHeld", w.apps.meta.commit(TakeStewardship("x", 0), deadline=deadline))
    return refused.message.partition(" ")[0]


async def test_what_was_deleted_leaves_the_disks_and_what_was_not_stays() -> None:
    async with stewarded() as w:
        await stored(w, "a")
        data = await stored(w, "b")
        await w.put("/objects/same", data)
        await w.call("DELETE", "/objects/a")
        await w.call("DELETE", "/objects/b")
        await until(lambda: len(files(w)) == 3)
        assert (await w.get("/objects/same")).body == data
        await w.call("DELETE", "/objects/same")
        await until(lambda: files(w) == [])


async def test_an_abandoned_upload_leaves_the_disks() -> None:
    async with stewarded(upload_abandoned_s=2) as w:
        uploads = w.apps.operations.uploads

        def call() -> Call:
            return Call(Principal("root", "root"), trio.current_time() + 10, "")

        upload = await uploads.create("default", "big", PLAIN, None, call())
        data = os.urandom(100_000)
        place = ("default", "big", upload.upload_id)
        await uploads.put_part(
            *place, 1, Body(data), size=len(data), expected=ExpectedDigests(algorithms=()), call=call()
        )
        assert files(w) != []
        await until(lambda: files(w) == [])
        await refusal("NoSuchUpload", uploads.abort(*place, call()))


async def test_what_an_upload_left_that_was_cut_off_leaves_the_disks() -> None:
    async with stewarded() as w:
        data = await stored(w, "kept")

        async def body() -> AsyncIterator[bytes]:
            yield os.urandom(CHUNK_BYTES + 1)
            await until(lambda: len(files(w)) == 6)
            raise Refused("IncompleteBody", "the client went away")

        call = Call(Principal("root", "root"), trio.current_time() + 60, "")
        put = w.apps.operations.objects.put(
            "default", "lost", PLAIN, body(), size=None, expected=ExpectedDigests(), condition=NO_CONDITION, call=call
        )
        await refusal("IncompleteBody", put)
        await until(lambda: len(files(w)) == 3)
        assert (await w.get("/objects/kept")).body == data


async def test_another_steward_takes_over_from_one_that_is_gone() -> None:
    async with stewarded(stewards=2) as w:
        await stored(w, "a")
        await w.call("DELETE", "/objects/a")
        await until(lambda: files(w) == [])
        await w.start("steward-2")
        assert await holder(w) == "steward-1"
        await w.stop("steward-1")
        await stored(w, "b")
        await w.call("DELETE", "/objects/b")
        await until(lambda: files(w) == [], 60)
        assert await holder(w) == "steward-2"


async def test_it_waits_for_members_and_daemons_that_are_away() -> None:
    async with stewarded(metadata_deadline_s=1) as w:
        await stored(w, "a")
        await stored(w, "b")
        await w.stop("chunk-3")
        await w.call("DELETE", "/objects/a")
        await w.call("DELETE", "/objects/b")
        await until(lambda: len(files(w)) == 2)
        await w.stop("meta-1")
        await refusal("NoQuorum", w.apps.meta.read(GetSpace(), deadline=trio.current_time() + 1.5))
        await w.start("chunk-3")
        await w.start("meta-1")
        await until(lambda: files(w) == [])
