"""Clusters of real cores under faults, in virtual time: promises hold for each seed, and each mutant is found.

Reproduce a seed by `simulate(seed, size)`. A mutant is a core, journal or driver with one rule taken out, and the first
seed to try; a world that did not find it would prove nothing.
"""

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from cluster.errors import Corrupt
from metaraft import core, core_elections, core_log, core_member
from metaraft.core_log import Accepted, BrokenInvariant, Conflict, Log
from metaraft.core_member import Member
from metaraft.core_membership import Seats
from metaraft.core_messages import Append, Message, asker_of
from tests.metaraft.core_machine import Broken, Machine
from tests.metaraft.core_world import simulate
from tests.metaraft.memory_journal import MemoryDisk, MemoryJournal

SEEDS = 12


@pytest.mark.parametrize("size", [1, 3, 5])
def test_promises_hold_under_faults(size: int) -> None:
    answered = 0
    for seed in range(SEEDS):
        world = simulate(seed, size, duration_s=6.0, calm_s=5.0)
        answered += world.acknowledged + world.judge.reads
    assert answered > 100 * SEEDS // 4


@pytest.mark.long
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("decade", range(20))
def test_promises_hold_under_faults_for_hundreds_of_seeds(size: int, decade: int) -> None:
    for seed in range(1000 + 20 * decade, 1020 + 20 * decade):
        simulate(seed, size)


def test_a_seed_decides_everything() -> None:
    first, second = simulate(4, 3), simulate(4, 3)
    assert (first.steps, first.judge.entries, first.now) == (second.steps, second.judge.entries, second.now)


def _truncates_always(log: Log, append: Append, committed: int) -> Accepted | Conflict:
    conflict = core_log._conflict(log, append, committed)
    if conflict is not None:
        return conflict
    if log.last_index > append.prev_index:
        log.truncate_from(append.prev_index + 1)
    for index, (term, data) in enumerate(append.entries, append.prev_index + 1):
        log.add(index, term, data)
    return Accepted(append.prev_index + len(append.entries))


def _commits_beyond_what_matches(real: Callable[..., Any]) -> Callable[..., Any]:
    def on_append(self: Member, node: Any, message: Append) -> None:
        real(self, node, message)
        if message.term == self.term:
            self._SyncObj__raftCommitIndex = max(self.commit, min(message.commit, self.log.last_index))

    return on_append


def _sends_before_the_sync(real: Callable[..., Any]) -> Callable[..., Any]:
    def step(self: Machine, life: int) -> None:
        at = self.world.at

        def early(delay_s: float, what: Callable[..., None], *arguments: Any) -> None:
            if what == self._synced:
                ready = arguments[1]
                for slot, message in ready.messages:
                    self.world.send(self, slot, message)
                ready.messages.clear()
            at(delay_s, what, *arguments)

        self.world.at = early  # type: ignore[method-assign]
        try:
            real(self, life)
        finally:
            del self.world.at

    return step


def _loses_what_it_adds(real: Callable[..., Any]) -> Callable[..., Any]:
    def power_cut(self: MemoryJournal, source: random.Random) -> MemoryDisk:
        disk: MemoryDisk = real(self, source)
        del disk.log[max(1, len(disk.log) - 2) :]
        return disk

    return power_cut


def _counts_whoever_has_the_slot(real: Callable[..., Any]) -> Callable[..., Any]:
    def receive(self: Member, slot: int, incarnation: str, message: Message) -> None:
        real(self, slot, self.membership.seats[slot].incarnation, message)

    return receive


def _takes_answers_to_others(real: Callable[..., Any]) -> Callable[..., Any]:
    def receive(self: Member, slot: int, incarnation: str, message: Message) -> None:
        if asker_of(message) is not None:
            message = msgspec.structs.replace(message, asker=self._incarnation)
        real(self, slot, incarnation, message)

    return receive


def _changes_whenever_asked(_: Any) -> Callable[..., None]:
    return lambda *_: None


def _keeps_what_was_truncated(_: Any) -> Callable[..., None]:
    def followed(self: Seats, log: Log, append: Append, commit: int) -> None:
        for index, (term, data) in enumerate(append.entries, append.prev_index + 1):
            if index > self.current.index:
                self.appended(index, term, data)

    return followed


def _never_heals(self: Member, *, to_all: bool) -> None:
    self.heartbeat_due = False


MUTANTS: dict[str, tuple[Any, str, Callable[[Any], Any], int]] = {
    "truncates what matches": (core_member, "take", lambda _: _truncates_always, 0),
    "commits beyond what matches": (Member, "_on_append", _commits_beyond_what_matches, 4),
    "confirms reads unasked": (Member, "confirmed_since", lambda _: lambda *_: True, 1),
    "reads before its own entry is committed": (
        Member,
        "may_read",
        lambda _: property(lambda self: self.state == core_elections.LEADER),
        2,
    ),
    "loses synced entries": (MemoryJournal, "power_cut", _loses_what_it_adds, 0),
    "sends before the sync": (Machine, "_step", _sends_before_the_sync, 13),
    "counts whoever has the slot": (Member, "receive", _counts_whoever_has_the_slot, 0),
    "takes answers that are for others": (Member, "receive", _takes_answers_to_others, 27),
    "changes members whenever asked": (core, "refusal", _changes_whenever_asked, 0),
    "keeps changes that were truncated": (Seats, "followed", _keeps_what_was_truncated, 100),
    "sends no heartbeats": (Member, "send_appends", lambda _: _never_heals, 0),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_each_mutant_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, attribute, make, first = MUTANTS[name]
    monkeypatch.setattr(target, attribute, make(vars(target)[attribute]))
    with pytest.raises((Broken, BrokenInvariant, Corrupt, AssertionError)):
        _simulate_many(first)


def _simulate_many(first: int) -> None:
    for seed in range(first, first + 100):
        simulate(seed, 3)
