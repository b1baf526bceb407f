"""Many seeds of the bare library: how many break a promise, which comes first, and how often each is broken."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from chaos.sim.bare import simulate

PROMISES = (
    "election safety",
    "log matching",
    "leader completeness",
    "state machine safety",
    "acknowledged lost",
    "applied once",
    "linearizable reads",
    "convergence",
)

MODES = ((False, False), (False, True), (True, False), (True, True))
"""(crashes are power cuts, it compacts its log)."""


class BareTally(msgspec.Struct, frozen=True):
    """What the seeds of one mode came to. `unsafe` are those that broke more than reads and convergence."""

    power: bool
    compacts: bool
    seeds: int
    failed: int
    unsafe: int
    first: dict[str, int]
    broken: dict[str, int]
    counts: dict[str, int]
    cpu_s: float


def run(seeds: Iterable[int], *, power: bool, compacts: bool) -> BareTally:
    """Live through the seeds."""
    first: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    tried = failed = unsafe = 0
    began = time.process_time()
    for seed in seeds:
        outcome = simulate(seed, power=power, compacts=compacts)
        tried += 1
        counts.update(outcome.counts)
        broken.update(dict.fromkeys(outcome.broken, 1))
        if outcome.broken:
            failed += 1
            first[next(iter(outcome.broken))] += 1
        unsafe += bool(outcome.broken.keys() - {"linearizable reads", "convergence"})
    cpu_s = time.process_time() - began
    return BareTally(power, compacts, tried, failed, unsafe, dict(first), dict(broken), dict(counts), cpu_s)


def run_all(seeds: range) -> Iterator[BareTally]:
    """Every mode."""
    for power, compacts in MODES:
        yield run(seeds, power=power, compacts=compacts)


def table(tallies: Iterable[BareTally]) -> str:
    """All modes as a table in Markdown: of each promise how many seeds broke it, and in how many it was the first."""
    found = list(tallies)
    modes = [f"{'power cuts' if t.power else 'kill -9'}, {'with' if t.compacts else 'no'} compaction" for t in found]
    lines = [
        "| | " + " | ".join(modes) + " |",
        "|---|" + "---|" * len(found),
        "| seeds | " + " | ".join(str(tally.seeds) for tally in found) + " |",
        "| **seeds that broke a promise** | " + " | ".join(f"**{tally.failed}**" for tally in found) + " |",
        "| ... other than reads and convergence | " + " | ".join(str(tally.unsafe) for tally in found) + " |",
    ]
    for promise in PROMISES:
        cells = (f"{tally.broken.get(promise, 0)} ({tally.first.get(promise, 0)} first)" for tally in found)
        lines.append(f"| {promise} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
