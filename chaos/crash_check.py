"""Whether a member can start on what a crash left, with all that it had acknowledged.

`python -P -m chaos.crash_check CLUSTER_TOML REFERENCE` does so for one folder after the other, as it reads their names:
a damaged database may take its process with it.
"""

import contextlib
import random
import sys
from pathlib import Path

import msgspec

from cluster.config import Config, load
from cluster.errors import TrilithError
from metaraft.core import BrokenInvariant, Core, Membership, Seat
from metaraft.journal import Journal
from metaraft.store import Store


class Step(msgspec.Struct, frozen=True, array_like=True):
    """An entry of the log of the member that was recorded, and the set hash of its rows after it."""

    index: int
    term: int
    data: bytes
    set_hash: str


class Found(msgspec.Struct, frozen=True):
    """What a member has as it starts: last entry of the recorded log, how far that was applied, term and vote (None:
    for nobody); or what is wrong, and by which signal the process died of it."""

    last: int = 0
    applied: int = 0
    term: int = 0
    voted_for: int | None = None
    error: str = ""
    signal: int = 0


def forgotten(found: Found, acknowledged: Step, slot: int) -> str:
    """What is missing that stood behind an acknowledged entry of the member in that slot, which led; or nothing.

    Its term and its vote for itself were on the disk before it led: without them it could vote again in that term.
    """
    if found.last < acknowledged.index:
        return f"entry {acknowledged.index} was acknowledged and is missing"
    if found.term < acknowledged.term:
        return f"the term is {found.term}, and entry {acknowledged.index} of term {acknowledged.term} was acknowledged"
    if found.term == acknowledged.term and found.voted_for != slot:
        return f"the vote of term {found.term} is for {found.voted_for}, and slot {slot} led in it"
    return ""


def check(folder: Path, config: Config, steps: dict[int, Step]) -> Found:
    """Start a member on a folder, as far as it goes without others. The folder is changed by it."""
    try:
        return _check(folder, config, steps)
    except (TrilithError, BrokenInvariant, OSError, AssertionError) as error:
        return Found(error=f"{type(error).__name__} {getattr(error, 'code', '')}: {error}")


def _check(folder: Path, config: Config, steps: dict[int, Step]) -> Found:
    node = config.member[0]
    with contextlib.ExitStack() as stack:
        journal = Journal.open(
            folder / "journal",
            cluster_id=config.cluster_id,
            slot=node.slot,
            incarnation=node.incarnation,
            limits=config.limits,
        )
        stack.callback(journal.close)
        store = Store.open(folder / "store", cluster_id=config.cluster_id, limits=config.limits)
        stack.callback(store.close)
        walked = store.walk()
        if walked.set_hash != steps[walked.applied].set_hash:
            return Found(error=f"other rows at index {walked.applied}")
        last, before = journal.last_index, store.applied
        term, voted_for = journal.term, journal.voted_for
        for entry in journal.entries(journal.first_index, last + 1, 1 << 40):
            step = steps.get(entry.index)
            if step is None or (step.term, step.data) != (entry.term, entry.data):
                return Found(error=f"another entry {entry.index}")
        committed = _committed(journal, store.applied, config)
        if committed > store.applied:
            store.apply(journal.entries(store.applied + 1, committed + 1, 1 << 40))
        if store.applied <= last:
            return Found(error=f"the member leads and has committed {store.applied} of {last}")
        if store.facts().set_hash != steps[last].set_hash:
            return Found(error=f"other rows after the log up to index {last}")
        return Found(last=last, applied=before, term=term, voted_for=voted_for)


def _committed(journal: Journal, applied: int, config: Config) -> int:
    """How far the member commits until it has been elected, alone, and its own first entry is committed."""
    now = 0.0
    member = config.member[0]
    core = Core(
        slot=member.slot,
        incarnation=member.incarnation,
        membership=Membership({member.slot: Seat(member.incarnation)}),
        journal=journal,
        applied=applied,
        now=now,
        random=random.Random(1),
        timings=config.timings,
        limits=config.limits,
    )
    last = journal.last_index
    while core.status.commit <= last:
        now = max(now, core.next_wakeup(now)) + 0.001
        ready = core.step(inbox=[], proposals=[], reads=0, now=now)
        if ready.sync:
            journal.sync()
        if now > 100:
            break
    return core.status.commit


def main() -> None:
    """From the command line: a folder a line in, a `Found` a line out."""
    config = load(Path(sys.argv[1]))
    listed = msgspec.msgpack.decode(Path(sys.argv[2]).read_bytes(), type=list[Step])
    steps = {step.index: step for step in listed}
    for line in sys.stdin:
        print(msgspec.json.encode(check(Path(line.rstrip("\n")), config, steps)).decode(), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
