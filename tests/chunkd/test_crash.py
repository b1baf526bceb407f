"""The power goes off at every step: what was acknowledged is there, and nothing partial has its final name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from chunkd.blocks import name_chunk
from chunkd.files import Files
from chunkd.folder import Layout, chunk_names
from chunkd.reading import check_copy
from chunkd.store import Store
from tests.chunkd.copies import damaged, file_of, put, read
from tests.chunkd.faulty import FaultyFiles, PowerCut
from tests.chunkd.worlds import open_disk, random_bytes

STEPS_MAX = 60
DATA = random_bytes(150_000)
OTHER = random_bytes(1000)
NAME = 1, name_chunk(DATA)[0]
OTHER_NAME = 1, name_chunk(OTHER)[0]


def put_fresh(store: Store) -> None:
    put(store, DATA)


def put_in_a_new_space(store: Store) -> None:
    put(store, DATA, space=2)


def delete(store: Store) -> None:
    store.delete([NAME], 100)


def report(store: Store) -> None:
    store.report(NAME)


SCENARIOS: dict[str, tuple[str, Callable[[Store], None]]] = {
    "put of a new name": ("absent", put_fresh),
    "put in a new space": ("absent", put_in_a_new_space),
    "put of a name that is there": ("good", put_fresh),
    "put of a name whose copy is bad": ("bad", put_fresh),
    "delete": ("good", delete),
    "report of a bad copy": ("bad", report),
}


@pytest.mark.parametrize("lose_renames", [True, False])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_power_cuts_at_every_step(tmp_path: Path, scenario: str, *, lose_renames: bool) -> None:
    before, act = SCENARIOS[scenario]
    for step in range(STEPS_MAX):
        root = tmp_path / str(step)
        root.mkdir()
        if cut_at(root, step, before, act, lose_renames=lose_renames):
            assert step >= 1
            return
    raise AssertionError(f"{scenario} has more than {STEPS_MAX} steps")


def cut_at(root: Path, step: int, before: str, act: Callable[[Store], None], *, lose_renames: bool) -> bool:
    """One run with the power cut at its step-th call; whether it ended before."""
    files = FaultyFiles()
    store = open_disk(root, files)
    store.seen.present(1, store.seen.boot, 1)
    put(store, OTHER)
    if before != "absent":
        put(store, DATA)
    if before == "bad":
        damaged(file_of(root, NAME), "flip")
    files.cut_at = len(files.calls) + step
    acknowledged = True
    try:
        act(store)
    except PowerCut:
        acknowledged = False
    files.cut_power(lose_renames=lose_renames)
    store.close()

    store = open_disk(root)
    layout = Layout(root / "disk")
    found = list(chunk_names(Files(), layout))
    for name in found:
        wrong = check_copy(Files(), layout.chunk(name), name[1], sync=False)
        assert wrong is None or (before == "bad" and name == NAME), wrong
    assert store.count == len(found)
    assert read(store, OTHER_NAME) == OTHER
    if acknowledged and act is put_fresh:
        assert read(store, NAME) == DATA
    if acknowledged and act is put_in_a_new_space:
        assert read(store, (2, NAME[1])) == DATA
    assert list(layout.temp.iterdir()) == []
    put(store, DATA)
    assert read(store, NAME) == DATA
    store.close()
    return acknowledged
