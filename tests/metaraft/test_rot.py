"""Rot in every file of a member: it is detected, or it did no harm, which equal rows and an equal log prove.

Or, seldom, LMDB takes the process with it: by a signal that `metaraft.crashes` looks into at the next start.
"""

import contextlib
import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest

from chaos.crash_check import Found, Step
from chaos.crash_states import Checker
from cluster.config import FILE_NAME, Config
from cluster.limits import KIB, Limits
from metaraft.crashes import FAULTS
from metaraft.journal import Journal
from metaraft.server import journal_directory, store_directory
from metaraft.store import DATA_FILE, Store
from tests.metaraft.members import SMALL, cluster_folder
from tests.metaraft.stores import run

pytestmark = pytest.mark.probe

ENTRIES = 150
LIMITS: Limits = msgspec.structs.replace(SMALL, journal_segment_bytes=64 * KIB)
"""Several segments."""

PAGE_BYTES = 4096


class Original:
    """A member that was ended in order, and what a start on it must find."""

    def __init__(self, config: Config) -> None:
        self.config = config
        node = config.member[0]
        steps = []
        journal = Journal.open(
            journal_directory(config, node),
            cluster_id=config.cluster_id,
            slot=node.slot,
            incarnation=node.incarnation,
            limits=LIMITS,
        )
        store = Store.open(store_directory(config, node), cluster_id=config.cluster_id, limits=LIMITS)
        with contextlib.closing(journal), contextlib.closing(store):
            steps.append(Step(0, 0, b"", store.facts().set_hash))
            journal.set_term(1, 1)
            first = journal.entry(1)
            store.apply([first])
            steps.append(Step(1, first.term, first.data, store.facts().set_hash))
            for entry in itertools.islice(run(17), ENTRIES):
                journal.add(entry.index + 1, 1, entry.data)
                journal.sync()
                store.apply([journal.entry(entry.index + 1)])
                steps.append(Step(entry.index + 1, 1, entry.data, store.facts().set_hash))
            journal.mark_idle()
        self.folder = config.path(node.directory)
        self.steps = Path(config.base) / "steps"
        self.steps.write_bytes(msgspec.msgpack.encode(steps))
        self.found = Found(last=ENTRIES + 1, applied=ENTRIES + 1, term=1, voted_for=1)

    @property
    def files(self) -> list[Path]:
        """What can rot, relative to the folder."""
        found = sorted(path.relative_to(self.folder) for path in self.folder.rglob("*.segment"))
        return [*found, Path("store", DATA_FILE)]


@pytest.fixture(scope="module")
def original() -> Iterator[Original]:
    with cluster_folder(members=1, limits=LIMITS) as config:
        yield Original(config)


@contextlib.contextmanager
def trials(original: Original, folder: Path) -> Iterator[Callable[[Callable[[Path], None]], Found]]:
    """A function that does something to a copy of the member and says what a start on it finds."""
    with contextlib.closing(Checker(Path(original.config.base) / FILE_NAME, original.steps)) as checker:

        def trial(damage: Callable[[Path], None]) -> Found:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(original.folder, folder)
            damage(folder)
            return checker.check(folder)

        yield trial


def harmless(original: Original, found: Found) -> bool:
    """The whole log, term and vote, and all rows once the log is applied: a database may have been behind it."""
    return msgspec.structs.replace(found, applied=original.found.applied) == original.found


def test_a_member_that_nothing_was_done_to_starts(original: Original, tmp_path: Path) -> None:
    assert len(original.files) > 3
    with trials(original, tmp_path / "m") as trial:
        assert trial(lambda folder: None) == original.found


def flip(path: Path, random: Random) -> None:
    """One bit."""
    content = bytearray(path.read_bytes())
    bit = random.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def zero(path: Path, random: Random) -> None:
    """A page that reads as zeros."""
    content = bytearray(path.read_bytes())
    at = random.randrange(len(content)) // PAGE_BYTES * PAGE_BYTES
    content[at : at + PAGE_BYTES] = bytes(len(content[at : at + PAGE_BYTES]))
    path.write_bytes(content)


def swap(path: Path, random: Random) -> None:
    """Two pages that were written to each other's places."""
    content = bytearray(path.read_bytes())
    one, two = (random.randrange(max(1, len(content) // PAGE_BYTES)) * PAGE_BYTES for _ in range(2))
    content[one : one + PAGE_BYTES], content[two : two + PAGE_BYTES] = (
        content[two : two + PAGE_BYTES],
        content[one : one + PAGE_BYTES],
    )
    path.write_bytes(content)


def shorten(path: Path, random: Random) -> None:
    """A file that ends early."""
    with path.open("r+b") as file:
        file.truncate(random.randrange(path.stat().st_size))


DAMAGES = (flip, zero, swap, shorten)


def judged(original: Original, found: Found) -> str:
    """What became of a damage."""
    if found.signal in FAULTS:
        return "died"
    if found.error and not found.error.startswith("the process"):
        return "noticed"
    return "harmless" if harmless(original, found) else "wrong"


def rot(original: Original, folder: Path, count: int, seed: int) -> Counter[str]:
    """Damage one file at one place, again and again; how often it was noticed, deadly, harmless and wrong."""
    random, counts = Random(seed), Counter[str]()
    with trials(original, folder) as trial:
        for number in range(count):
            file = original.files[number % len(original.files)] if number % 2 else Path("store", DATA_FILE)
            damage = flip if number % 3 else random.choice(DAMAGES)
            found = trial(lambda copy, file=file, damage=damage: damage(copy / file, random))  # type: ignore[misc]
            verdict = judged(original, found)
            counts[verdict] += 1
            if verdict == "wrong":
                counts[f"{number}: {damage.__name__} of {file}: {found}"] += 1
    return counts


def test_rot_at_some_tens_of_places_is_noticed_or_harmless(original: Original, tmp_path: Path) -> None:
    counts = rot(original, tmp_path / "m", 60, 1)
    assert counts.keys() - {"died"} == {"noticed", "harmless"}, counts
    assert counts["died"] <= counts["noticed"] // 10, counts
    assert counts["noticed"] > 20, counts


@pytest.mark.long
def test_rot_at_500_places_is_noticed_or_harmless(original: Original, tmp_path: Path) -> None:
    counts = rot(original, tmp_path / "m", 500, 2)
    assert counts.keys() - {"died"} == {"noticed", "harmless"}, counts
    assert counts["died"] <= counts["noticed"] // 10, counts
    assert counts["noticed"] > 200, counts


def test_a_lost_file_is_noticed(original: Original, tmp_path: Path) -> None:
    with trials(original, tmp_path / "m") as trial:
        oldest, *others = original.files
        assert harmless(original, trial(lambda copy: (copy / oldest).unlink()))  # as after a cut: the rows have it all
        for file in original.files:
            if file in others:
                assert trial(lambda copy, file=file: (copy / file).unlink()).error  # type: ignore[misc]
            assert trial(lambda copy, file=file: (copy / file).write_bytes(b"")).error  # type: ignore[misc]
        for part in ("journal", "store"):
            assert trial(lambda copy, part=part: shutil.rmtree(copy / part)).error  # type: ignore[misc]
