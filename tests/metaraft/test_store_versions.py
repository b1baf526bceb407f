"""Versions and uploads in LMDB: the same rows as in memory after every transaction, and a file without faults."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from metaraft.commands import (
    AbortUpload,
    Command,
    CopyObject,
    CopyPart,
    CreateBucket,
    CreateUpload,
    DeleteObject,
    Dereference,
    PutPart,
    RegisterDisk,
    SetTags,
    SetVersioning,
)
from metaraft.model import Disk, Upload, Which
from metaraft.results import (
    ObjectDone,
    PartDone,
    Result,
    UploadDone,
)
from metaraft.rows import Kind
from tests.metaraft.metadata import (
    COPIES,
    START_MS,
    LogEntry,
    acks,
    batch,
    disk_id,
    envelope,
    key_of,
    put,
    put_chunks,
    results,
)
from tests.metaraft.stores import Twin, faults_of_file, new_store
from tests.metaraft.versions import NONCE, complete_command, copy_command, part_command


class Clients:
    """Commands that make sense after what the last ones were answered."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._uploads: list[Upload] = []
        self._parts: dict[bytes, list[int]] = {}  # upload id -> numbers of parts in the order in which they were made
        self._made = [1]  # revisions of versions

    def first(self) -> list[Command]:
        """A bucket and disks."""
        disks = [RegisterDisk(Disk(disk_id(number), "n", "z", 1)) for number in (1, 2, 3)]
        return [CreateBucket("b", "o", COPIES), *disks]

    def next(self) -> Command:
        """Any command; the sizes make rows of some bytes, and of many pages."""
        random = self._random
        key = random.choice("kl")
        which = random.choice([None, Which(), Which(random.choice(self._made[-9:]))])
        choices: list[Command] = [
            put(key, random.randbytes(random.choice([0, 4096]))),
            put_chunks(key, self._names(), acks(1, 2)),
            CopyObject("b", key, "b", random.choice("kl"), source_which=which),
            DeleteObject("b", key),
            DeleteObject("b", key, which=which),
            SetTags("b", key, {"a": "b" * random.choice([0, 3000])}, which),
            SetVersioning("b", random.choice(["enabled", "enabled", "suspended"])),
            CreateUpload("b", key, NONCE, "text/plain"),
            Dereference(random.choice([1, 50, 1000])),
        ]
        if self._uploads:
            upload, number = random.choice(self._uploads[-4:]), random.randrange(1, 5)
            source = ("b", key, random.choice(self._made[-3:]))
            parts = self._parts[upload.upload_id]
            some = sorted(set(parts) - {random.choice([0, 0, number])})
            choices += [
                *[part_command(upload, number, self._names())] * 3,
                *[copy_command(upload, number, source, 0, random.choice([1, 100]))] * 2,
                *[complete_command(upload, some, len(parts), key)] * 3,
                AbortUpload("b", upload.key, upload.upload_id),
            ]
        return random.choice(choices)

    def told(self, commands: Sequence[Command], answers: Sequence[Result]) -> None:
        """What the commands were answered."""
        for command, answer in zip(commands, answers, strict=True):
            match command, answer:
                case CreateUpload(), UploadDone(upload):
                    self._uploads.append(upload)
                    self._parts[upload.upload_id] = []
                case ((PutPart() | CopyPart()), PartDone(number)):
                    self._parts[command.upload_id].append(number)
                case _, ObjectDone(revision):
                    self._made.append(revision)

    def _names(self) -> list[int]:
        first = self._random.randrange(50)
        return [first + self._random.randrange(2) for _ in range(self._random.choice([0, 1, 80]))]


def entries(seed: int, twin: Twin) -> Iterator[tuple[LogEntry, list[bytes]]]:
    """Entries 1, 2, ... without end with what the twin answers to them."""
    clients, random = Clients(seed), Random(seed)
    number = 0
    while True:
        now = START_MS + 1000 * twin.applied
        commands = clients.first() if not twin.applied else [clients.next() for _ in range(random.randrange(1, 6))]
        envelopes = []
        for command in commands:
            number += 1
            envelopes.append(envelope(command, key_of(number), now + 5000))
        entry = LogEntry(twin.applied + 1, batch(now, envelopes))
        answers = twin.apply(entry)
        clients.told(commands, results(answers))
        yield entry, answers


@pytest.mark.parametrize("seed", range(3))
def test_versions_and_uploads_are_the_same_in_lmdb_and_in_memory(tmp_path: Path, seed: int) -> None:
    store, twin = new_store(tmp_path / "s"), Twin()
    run = entries(seed, twin)
    kinds = set()
    for size in [1, 40, 3, 100, 1, 1, 250]:
        some = []
        for _ in range(size):
            some.append(next(run))
            kinds |= {key[0] for key, _ in twin.rows.items()}
        assert store.apply([entry for entry, _ in some]) == [answers for _, answers in some]
        assert store.facts().set_hash == twin.set_hash
    assert kinds >= {Kind.NULL, Kind.UPLOAD, Kind.PART, Kind.PART_CHUNKS, Kind.ASSEMBLY, Kind.TRASH, Kind.ZERO}
    with store.reader() as rows:
        assert list(rows.scan(bytes([Kind.STATE]), b"\xff")) == twin.rows.items()
    assert store.walk().set_hash == twin.set_hash
    store.close()
    assert faults_of_file(tmp_path / "s") == []
