"""One at a time per name; one fsync for many, and never one that began too early."""

import threading
from pathlib import Path

import pytest

from chunkd.turns import FolderSyncs, NameLocks


def test_one_name_is_held_by_one_and_others_go_on() -> None:
    locks = NameLocks()
    inside: list[str] = []
    entered, leave = threading.Event(), threading.Event()

    def first() -> None:
        with locks.hold("a"):
            entered.set()
            leave.wait(10)
            inside.append("first")

    def second() -> None:
        with locks.hold("a"):
            inside.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert entered.wait(10)
    threads[1].start()
    with locks.hold("b"):
        assert inside == []
    leave.set()
    for thread in threads:
        thread.join(10)
    assert inside == ["first", "second"]
    assert len(locks) == 0


def test_those_who_come_during_an_fsync_share_the_next_one() -> None:
    started: list[int] = []
    running, leave = threading.Event(), threading.Event()

    def sync_folder(_: Path) -> None:
        started.append(len(done))
        if len(started) == 1:
            running.set()
            leave.wait(10)

    syncs = FolderSyncs(sync_folder)
    done: list[int] = []

    def ask(number: int) -> None:
        syncs.sync(Path("x"))
        done.append(number)

    first = threading.Thread(target=ask, args=(0,))
    first.start()
    assert running.wait(10)
    others = [threading.Thread(target=ask, args=(number,)) for number in range(1, 9)]
    for thread in others:
        thread.start()
    while syncs.waiting(Path("x")) < 8:
        threading.Event().wait(0.001)
    assert done == []
    leave.set()
    for thread in (first, *others):
        thread.join(10)
    assert len(started) == 2
    assert sorted(done) == list(range(9))


@pytest.mark.parametrize("error", [OSError(5, "EIO"), ValueError("a bug")])
def test_a_failed_fsync_fails_everyone_it_was_for(error: Exception) -> None:
    running, leave = threading.Event(), threading.Event()
    count = 0

    def sync_folder(_: Path) -> None:
        nonlocal count
        count += 1
        if count == 1:
            running.set()
            leave.wait(10)
            return
        raise error

    syncs = FolderSyncs(sync_folder)
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            syncs.sync(Path("x"))
        except (OSError, ValueError) as failure:
            failures.append(failure)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    threads[0].start()
    assert running.wait(10)
    for thread in threads[1:]:
        thread.start()
    while syncs.waiting(Path("x")) < 3:
        threading.Event().wait(0.001)
    leave.set()
    for thread in threads:
        thread.join(10)
    assert len(failures) == 3
    assert count == 2
