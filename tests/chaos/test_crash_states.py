"""A recorded run of a real member and its crash states: all open, nothing acknowledged is missing, and the search would
notice if that were not so."""

import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest

from chaos import crash_states
from chaos.crash_check import Found, Step, forgotten
from chaos.crash_files import Files
from chaos.crash_states import Recording, Report

pytestmark = pytest.mark.probe

OPERATIONS = 24


@pytest.fixture(scope="module")
def recording() -> Iterator[Recording]:
    with tempfile.TemporaryDirectory(prefix="tl") as folder:
        made = Recording(Path(folder))
        made.make(OPERATIONS)
        yield made


def search(recording: Recording, states_max: int | None, kind: type[Files] = Files) -> Report:
    return crash_states.search(
        recording,
        operations=OPERATIONS,
        subsets=2,
        seed=7,
        states_max=states_max,
        say=lambda text: None,
        kind=kind,
    )


def test_crash_states_open_with_all_that_was_acknowledged(recording: Recording) -> None:
    report = search(recording, 150)
    assert report.violations == []
    assert report.distinct > 75
    assert report.behind > 5  # the journal had what the database had lost
    assert {"pwrite64", "writev", "fdatasync", "fsync", "rename"} <= set(report.calls)


class ForgetfulJournal(Files):
    """A disk on which the journal's syncs do nothing."""

    def sync(self, path: PurePath, since: int) -> None:
        """Sync what is not the journal's."""
        if "journal" not in path.parts:
            super().sync(path, since)


class ForgetfulStore(Files):
    """A disk on which the database's syncs do nothing."""

    def sync(self, path: PurePath, since: int) -> None:
        """Sync what is not the database's."""
        if "store" not in path.parts:
            super().sync(path, since)


@pytest.mark.parametrize("kind", [ForgetfulJournal, ForgetfulStore])
def test_the_search_would_find_a_member_that_does_not_sync(recording: Recording, kind: type[Files]) -> None:
    assert search(recording, 60, kind).violations


@pytest.mark.parametrize(
    ("found", "missing"),
    [
        (Found(last=7, term=3, voted_for=1), ""),
        (Found(last=9, term=4, voted_for=None), ""),  # it saw a later term
        (Found(last=6, term=3, voted_for=1), "entry 7"),
        (Found(last=7, term=2, voted_for=1), "term is 2"),
        (Found(last=7, term=3, voted_for=None), "vote of term 3"),
        (Found(last=7, term=3, voted_for=2), "vote of term 3"),
    ],
)
def test_an_acknowledged_entry_stands_for_its_term_and_the_vote_in_it(found: Found, missing: str) -> None:
    wrong = forgotten(found, Step(7, 3, b"", ""), 1)
    assert missing in wrong
    assert bool(wrong) == bool(missing)


@pytest.mark.long
def test_all_crash_states_of_a_run_of_200_operations_open_with_all_that_was_acknowledged() -> None:
    with tempfile.TemporaryDirectory(prefix="tl") as folder:
        report = crash_states.run(
            Path(folder), operations=200, subsets=4, seed=11, states_max=None, say=lambda text: None
        )
    assert report.violations == []
    assert report.distinct > 3000
    assert report.calls["rename"] > 1  # segments were begun,
    assert report.calls["unlink"] > 0  # and dropped
