"""What the tests of the store share: small limits, a run of entries that is the same in every process, and its twin."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from lmdb.verify import verify

from cluster.limits import MIB, Limits
from metaraft.commands import (
    AddAccessKey,
    AddHolders,
    AddUser,
    Command,
    Condemn,
    CopyObject,
    CreateBucket,
    DeleteBucket,
    DeleteObject,
    Dereference,
    DropHolder,
    RegisterDisk,
    RemoveAccessKey,
    RemoveUser,
    SetBucketSetting,
    SetVersioning,
    StoredChunk,
    TakeStewardship,
    Touch,
)
from metaraft.machine import Machine, found
from metaraft.memory_rows import MemoryRows
from metaraft.model import AccessKey, Disk, User
from metaraft.store import Store
from tests.metaraft.metadata import (
    COPIES,
    START_MS,
    LogEntry,
    acks,
    batch,
    chunk_id,
    disk_id,
    envelope,
    key_of,
    put,
    put_chunks,
)

CLUSTER = "0123456789abcdef"
SMALL = Limits(map_bytes=256 * MIB)


def new_store(directory: Path) -> Store:
    """A store, made and open."""
    Store.create(directory, cluster_id=CLUSTER, limits=SMALL)
    return open_store(directory)


def open_store(directory: Path) -> Store:
    """A store that is there."""
    return Store.open(directory, cluster_id=CLUSTER, limits=SMALL)


def some_command(random: Random, revision: int) -> Command:
    """Any command; most of them have an effect after the first few."""
    key = f"{random.choice('abc')}/{random.randrange(20)}"
    names = [random.randrange(12) for _ in range(random.randrange(1, 60))]
    seen = max(0, revision - random.choice([0, 1, 50]))
    choices: list[Command] = [
        put(key, random.randbytes(random.choice([0, 10, 200, 4096])), owner=random.choice(["", "me"])),
        put_chunks(key, names, acks(1, 2, seen=seen)),
        CopyObject("b", key, "b", f"copy/{random.randrange(5)}"),
        DeleteObject("b", key),
        DeleteObject("b", key),
        Dereference(random.choice([1, 20, 1000])),
        Condemn(max(0, revision - random.randrange(20)), 100),
        AddHolders(COPIES, (StoredChunk(chunk_id(names[0]), 100, acks(3, seen=seen)),)),
        DropHolder(COPIES, chunk_id(names[0]), disk_id(random.randrange(1, 4)), random.choice([None, revision])),
        TakeStewardship(random.choice(["s", "t"]), random.choice([0, 0, 1, 2])),
        CreateBucket(f"b{random.randrange(4)}", "o", COPIES),
        DeleteBucket(f"b{random.randrange(4)}"),
        RegisterDisk(Disk(disk_id(random.randrange(1, 5)), "n", "z", random.randrange(3))),
        SetBucketSetting(f"b{random.randrange(4)}", random.choice("xy"), random.choice([None, random.randbytes(3000)])),
        SetVersioning("b", random.choice(["enabled", "suspended"])),
        some_command_on_users(random),
        Touch(),
    ]
    return random.choices(choices, weights=[6, 6, 2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])[0]


def some_command_on_users(random: Random) -> Command:
    """Any command on users and their keys; most of them have an effect after the first few."""
    name = random.choice("uvw")
    key = AccessKey(random.choice("KLMN"), name, random.randbytes(40))
    user = User(name, str(random.randrange(1000)), name, random.choice(["", "e@", "f@"]))
    choices = (AddUser(user, key), AddAccessKey(key), RemoveUser(name), RemoveAccessKey(key.access_key))
    return random.choices(choices, weights=[3, 3, 1, 1])[0]


def run(seed: int) -> Iterator[LogEntry]:
    """Entries 1, 2, ... without end, the same for the same seed: a bucket and disks, then any commands."""
    random = Random(seed)
    first: list[Command] = [CreateBucket("b", "o", COPIES)]
    first += [RegisterDisk(Disk(disk_id(number), "n", "z", 1)) for number in (1, 2, 3)]
    number = 0
    index = 0
    now = START_MS
    while True:
        index += 1
        now += random.choice([1, 1000, 30_000])
        commands = first if index == 1 else [some_command(random, index) for _ in range(random.randrange(5))]
        envelopes = []
        for command in commands:
            number += 1
            repeated = random.random() < 0.05
            envelopes.append(envelope(command, key_of(number - 3 if repeated else number), now + 5000))
        yield LogEntry(index, batch(now, envelopes) if envelopes else b"")


class Twin:
    """The same machine over rows in memory."""

    def __init__(self) -> None:
        self.rows = MemoryRows()
        found(self.rows)
        self.machine = Machine(self.rows)
        self.applied = 0

    def apply(self, entry: LogEntry) -> list[bytes]:
        """One entry in a transaction of its own."""
        results = self.machine.apply(entry.data) if entry.data else []
        self.machine.flush()
        self.applied = entry.index
        return results

    @property
    def set_hash(self) -> str:
        """As `StoreFacts` says it."""
        return self.rows.set_hash.to_bytes(16, "big").hex()


def faults_of_file(directory: Path) -> list[str]:
    """What LMDB's offline verifier finds wrong with a closed store."""
    return [str(fault) for fault in verify(str(directory))]  # type: ignore[no-untyped-call]  # py-lmdb types its engine only
