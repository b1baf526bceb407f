"""What the steward collects, over real daemons and the real state machine, and what it must never collect."""

import errno
from collections import Counter
from pathlib import Path

import pytest
import trio

from api.conditions import NO_CONDITION
from api.operations.values import Source
from api.steward import collector as collecting
from api.steward.collector import Tally
from cluster.errors import Refused, Unavailable
from metaraft.commands import (
    AbortUpload,
    Command,
    Condemn,
    Dereference,
    DropHolder,
    PutObject,
)
from metaraft.model import STEWARD_LEASE_MS
from tests.api.disks import random_bytes
from tests.api.refusals import refusal
from tests.api.steward.rounds import (
    DATA_BYTES,
    HOUR_MS,
    copies,
    delete,
    introduced,
    once,
    rows,
    settled,
    steward,
    stored,
    take,
    until_lost,
    whole_and_held,
)

# ---- what goes


async def test_what_nothing_refers_to_is_deleted_from_every_disk_when_it_is_old_enough(tmp_path: Path) -> None:
    async with steward(tmp_path) as (o, s):
        await stored(o, "a")
        kept = await stored(o, "b")
        await delete(o, "a")
        assert await s.round() == Tally(references=1)
        await o.put("unrelated", b"small")
        s.horizon.note(o.meta.state.now_ms, o.meta.state.machine.revision())
        o.meta.state.now_ms += HOUR_MS - 1
        assert await s.round() == Tally()
        assert sorted(copies(o).values()) == [3, 3]
        o.meta.state.now_ms += 1
        assert await s.round() == Tally(deleted=3)
        assert sorted(copies(o).values()) == [3]
        assert sorted(copies(o, "trash/*").values()) == [3]
        assert len(rows(o)) == 1
        await whole_and_held(o, "b", kept)
        assert await s.rounds() == Tally()


async def test_what_was_deleted_last_goes_too_if_nothing_else_is_ever_written(tmp_path: Path) -> None:
    async with steward(tmp_path) as (o, s):
        await stored(o, "a")
        await delete(o, "a")
        for _ in range(3):
            await s.round()
            s.horizon.note(o.meta.state.now_ms, o.meta.state.machine.revision())
            o.meta.state.now_ms += HOUR_MS
        assert copies(o) == Counter()


async def test_a_chunk_of_two_objects_stays_until_both_are_gone(tmp_path: Path) -> None:
    async with steward(tmp_path) as (o, s):
        data = await stored(o, "a")
        await stored(o, "b", data)
        await delete(o, "a")
        await s.rounds()
        await whole_and_held(o, "b", data)
        await delete(o, "b")
        await s.rounds()
        assert copies(o) == Counter()


async def test_replaced_objects_and_parts_and_a_bucket_that_was_emptied_leave_nothing(tmp_path: Path) -> None:
    async with steward(tmp_path) as (o, s):
        await stored(o, "a")
        await stored(o, "a")
        upload = await o.begin("b")
        await o.part(upload, 1, random_bytes(DATA_BYTES))
        await o.complete(upload, await o.part(upload, 1, random_bytes(DATA_BYTES)))
        await settled(o)
        assert len(copies(o)) == 4
        await s.rounds()
        assert len(copies(o)) == 2
        await delete(o, "a", "b")
        await s.rounds()
        assert copies(o) == Counter()
        assert rows(o) == {}


async def test_a_great_deal_is_done_in_small_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("REFERENCES", 3), ("CONDEMNED", 3), ("DELETED", 2)):
        monkeypatch.setattr(collecting, name, value)
    async with steward(tmp_path) as (o, s):
        keys = [f"k{number}" for number in range(8)]
        for key in keys:
            await stored(o, key)
        await delete(o, *keys)
        o.meta.commits.clear()
        assert await s.round() == Tally(references=8)
        assert await s.rounds(2) == Tally(deleted=24)
        assert copies(o) == Counter()
        assert sum(isinstance(command, Dereference) for command in o.meta.commits) == 3 + 2
        assert sum(isinstance(command, Condemn) for command in o.meta.commits) == 1 + 1 + 3


# ---- what stays


async def test_a_chunk_that_is_referenced_again_after_it_was_condemned_survives(tmp_path: Path) -> None:
    async with steward(tmp_path) as (o, s):
        data = await stored(o, "a")
        await delete(o, "a")
        await s.round()
        await s.later()

        async def again() -> None:
            await o.disks.nodes.space.read(since=trio.current_time())
            await o.put("again", data)

        o.meta.after = once(Condemn, again)
        tally = await s.round()
        assert tally.kept >= 2
        await whole_and_held(o, "again", data)
        await s.rounds()
        await whole_and_held(o, "again", data)
        await delete(o, "again")
        await s.rounds()
        assert copies(o) == Counter()


async def test_a_disk_that_got_a_chunk_anew_after_it_had_deleted_it_stays_its_holder(tmp_path: Path) -> None:
    async with steward(tmp_path) as (o, s):
        data = await stored(o, "a")
        await delete(o, "a")
        await s.round()
        await s.later()

        async def again() -> None:
            assert sorted(copies(o).values()) == [2], "one disk has deleted it, and its word of it is on its way"
            await o.disks.nodes.space.read(since=trio.current_time())
            await o.put("again", data)
            await settled(o)

        o.meta.before = once(DropHolder, again)
        tally = await s.round()
        assert (tally.deleted, tally.kept) == (1, 2)
        await whole_and_held(o, "again", data)
        assert sorted(copies(o).values()) == [3]
        await s.rounds()
        await whole_and_held(o, "again", data)


async def test_a_writer_that_slept_for_too_long_is_told_to_send_again(tmp_path: Path) -> None:
    async with steward(tmp_path) as (o, s):
        data = await stored(o, "a")
        await delete(o, "a")
        await s.round()

        async def sleep_in() -> None:
            o.meta.before = None
            await s.rounds()
            assert copies(o) == Counter()

        o.meta.before = once(PutObject, sleep_in)
        await refusal("PutAgain", o.put("again", data))
        await refusal("NoSuchKey", o.find("again"))
        await o.put("again", data)
        await whole_and_held(o, "again", data)


async def test_a_copy_of_an_object_keeps_its_chunks(tmp_path: Path) -> None:
    async with steward(tmp_path) as (o, s):
        data = await stored(o, "a")
        await o.do.objects.copy(
            Source("bucket", "a"),
            ("bucket", "b"),
            replace=None,
            replace_tags=None,
            source_condition=NO_CONDITION,
            condition=NO_CONDITION,
            call=o.call(),
        )
        await delete(o, "a")
        await s.rounds()
        await whole_and_held(o, "b", data)


# ---- daemons that are not there


async def test_a_daemon_that_was_down_deletes_when_it_is_back(tmp_path: Path) -> None:
    async with steward(tmp_path) as (o, s):
        await stored(o, "a")
        await delete(o, "a")
        await s.round()
        await until_lost(o, 1)
        assert await s.rounds(2) == Tally(deleted=2, waiting=1)
        [row] = rows(o).values()
        assert row.holders == (o.disks.clients[1].disk_id,)
        assert await s.rounds(2) == Tally(waiting=1)
        await o.disks.start(1)
        await introduced(o)
        assert await s.rounds(2) == Tally(deleted=1)
        assert copies(o) == Counter()
        assert rows(o) == {}


async def test_a_daemon_that_started_anew_keeps_what_it_may_have_acknowledged_until_a_later_horizon(
    tmp_path: Path,
) -> None:
    async with steward(tmp_path) as (o, s):
        await stored(o, "a")
        await delete(o, "a")
        await s.round()
        await s.later()
        await o.disks.stop(1)
        await o.disks.start(1)
        await introduced(o)
        assert await s.round() == Tally(deleted=2, kept=1)
        assert await s.round() == Tally(kept=1)
        await s.later()
        assert await s.round() == Tally(deleted=1)
        assert copies(o) == Counter()


async def test_a_daemon_that_fails_is_asked_once_in_a_round_and_again_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with steward(tmp_path) as (o, s):
        for key in ("a", "b", "c"):
            await stored(o, key)
        await delete(o, "a", "b", "c")
        await s.round()
        await s.later()
        asked = []

        def fail(source: Path, _target: Path) -> None:
            asked.append(source)
            raise OSError(errno.EMFILE, "too many open files")

        with monkeypatch.context() as patched:
            patched.setattr(collecting, "DELETED", 1)
            patched.setattr(o.disks.files[1], "rename", fail)
            for times in (1, 2):
                assert await s.round() == Tally(deleted=6 if times == 1 else 0, waiting=3)
                assert len(asked) == times
        assert await s.round() == Tally(deleted=3)
        assert copies(o) == Counter()


# ---- uploads


async def test_an_abandoned_upload_is_aborted_and_a_younger_one_stays(tmp_path: Path) -> None:
    async with steward(tmp_path) as (o, s):
        old = await o.begin("a")
        await o.part(old, 1, random_bytes(DATA_BYTES))
        o.meta.state.now_ms += 1
        young = await o.begin("b")
        data = random_bytes(DATA_BYTES)
        part = await o.part(young, 1, data)
        await settled(o)
        week_s = o.disks.config.timings.upload_abandoned_s
        assert week_s == 7 * 24 * 3600
        o.meta.state.now_ms += int(week_s * 1000) - 1
        assert await s.round() == Tally()
        o.meta.state.now_ms += 1
        assert await s.round() == Tally(uploads=1, references=1)
        await refusal("NoSuchUpload", o.part(old, 2, b"more"))
        await o.complete(young, part)
        await s.rounds()
        await whole_and_held(o, "b", data)
        assert len(copies(o)) == 1


async def test_an_upload_that_is_completed_in_time_is_not_aborted(tmp_path: Path) -> None:
    async with steward(tmp_path) as (o, s):
        upload = await o.begin("a")
        data = random_bytes(DATA_BYTES)
        part = await o.part(upload, 1, data)
        await settled(o)

        async def complete() -> None:
            await o.complete(upload, part)

        o.meta.before = once(AbortUpload, complete)
        o.meta.state.now_ms += 8 * 24 * HOUR_MS
        assert await s.round() == Tally()
        await s.rounds()
        await whole_and_held(o, "a", data)


async def test_the_time_after_which_an_upload_is_abandoned_can_be_set(tmp_path: Path) -> None:
    async with steward(tmp_path) as (o, s):
        await o.begin("a")
        o.meta.state.now_ms += 2001
        s.collector = s.with_timings(upload_abandoned_s=2)
        assert await s.round() == Tally(uploads=1)


# ---- stewards that are none any more, and members that do not answer


@pytest.mark.parametrize("kind", [AbortUpload, Dereference, Condemn, DropHolder])
async def test_a_steward_that_was_replaced_stops_at_its_next_command(tmp_path: Path, kind: type[Command]) -> None:
    async with steward(tmp_path) as (o, s):
        data = await stored(o, "a")
        await stored(o, "b")
        await delete(o, "b")
        await s.round()
        await s.later()
        await delete(o, "a")
        await o.begin("up")
        o.meta.state.now_ms += 8 * 24 * HOUR_MS

        async def replace() -> None:
            o.meta.state.now_ms += STEWARD_LEASE_MS
            assert await take(o, "another") == 2
            o.meta.commits.clear()

        o.meta.before = once(kind, replace)
        with pytest.raises(Refused) as raised:
            await s.round()
        assert raised.value.code == "StaleSteward"
        assert {type(command) for command in o.meta.commits} == {kind}
        s.epoch = 2
        await s.rounds()
        assert copies(o) == Counter()
        await o.put("a", data)
        assert await o.get("a") == data


@pytest.mark.parametrize("kind", [AbortUpload, Dereference, Condemn, DropHolder])
async def test_a_round_that_was_cut_off_is_made_up_for_by_the_next(tmp_path: Path, kind: type[Command]) -> None:
    async with steward(tmp_path) as (o, s):
        await stored(o, "a")
        await delete(o, "a")
        await s.round()
        await s.later()
        await o.begin("up")
        o.meta.state.now_ms += 8 * 24 * HOUR_MS

        async def fail() -> None:
            raise Unavailable("NoQuorum", "no leader answered")

        for cut_off in ("before", "after"):
            setattr(o.meta, cut_off, once(kind, fail))
            await refusal("NoQuorum", s.round())
        await s.round()
        assert copies(o) == Counter()
        assert rows(o) == {}
        assert await s.round() == Tally()
