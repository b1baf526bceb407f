"""Many seeds: one after the other or side by side, what they came to together, and the file that keeps it.

Processes side by side are this program again, each with its own part of the seeds; they answer with their lines.
"""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from chaos.sim.simulate import Outcome, simulate
from chaos.sim.transcript import Transcript

FAULT = "fault: "


class Tally(msgspec.Struct, frozen=True):
    """What seeds came to together: a line of the file. `broken` has each violation by its seed."""

    first_seed: int
    last_seed: int
    seeds: int
    virtual_hours: float
    cpu_s: float
    counts: dict[str, int]
    broken: dict[str, str]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Tally).decode


def run(seeds: Iterable[int], *, until: float, seconds: float, tell: Callable[[str], None]) -> Tally:
    """Live through the seeds, or as many as begin before `until` (of `time.monotonic`)."""
    counts: Counter[str] = Counter()
    broken: dict[str, str] = {}
    done: list[int] = []
    virtual_s, began = 0.0, time.process_time()
    for seed in seeds:
        if done and time.monotonic() >= until:
            break
        transcript = Transcript()
        outcome = simulate(seed, seconds=seconds, transcript=transcript)
        done.append(seed)
        counts.update(outcome.counts)
        virtual_s += outcome.virtual_s
        if outcome.broken:
            broken[str(seed)] = outcome.broken
            tell(story(outcome, transcript))
    cpu_s = time.process_time() - began
    return Tally(min(done), max(done), len(done), virtual_s / 3600, cpu_s, dict(sorted(counts.items())), broken)


def story(outcome: Outcome, transcript: Transcript) -> str:
    """A seed that broke a promise, to be read: its last events, and what was broken."""
    lines = [f"seed {outcome.seed} ({outcome.size} members):", *transcript.last()]
    return "\n".join([*lines, f"seed {outcome.seed} broke {outcome.broken}"])


def side_by_side(first: int, last: int, jobs: int, options: list[str], tell: Callable[[str], None]) -> Tally:
    """The same by several processes."""
    parts = list(_parts(first, last, jobs))
    command = [sys.executable, "-P", "-m", "chaos", "sim", "--json", *options]
    running = [
        subprocess.Popen([*command, "--seeds", f"{begin}-{end}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603 - ourselves
        for begin, end in parts
    ]
    tallies = []
    for process in running:
        said, story_told = process.communicate()
        if story_told:
            tell(story_told.decode().rstrip())
        if not said:
            raise RuntimeError(f"a simulating process ended with {process.returncode} and said nothing")
        tallies.append(_decode(said))
    return together(tallies)


def _parts(first: int, last: int, jobs: int) -> Iterator[tuple[int, int]]:
    each = -(-(last - first + 1) // jobs)
    return ((begin, min(last, begin + each - 1)) for begin in range(first, last + 1, each))


def together(tallies: Iterable[Tally]) -> Tally:
    """Several tallies as one."""
    found = list(tallies)
    counts: Counter[str] = Counter()
    broken: dict[str, str] = {}
    for tally in found:
        counts.update(tally.counts)
        broken.update(tally.broken)
    return Tally(
        min(tally.first_seed for tally in found),
        max(tally.last_seed for tally in found),
        sum(tally.seeds for tally in found),
        sum(tally.virtual_hours for tally in found),
        sum(tally.cpu_s for tally in found),
        dict(sorted(counts.items())),
        broken,
    )


def encoded(tally: Tally) -> bytes:
    """A line of the file."""
    return _encode(tally) + b"\n"


def summed(file: Path) -> Tally:
    """What all lines of a file come to."""
    return together(_decode(line) for line in file.read_bytes().splitlines())


def report(tally: Tally) -> str:
    """A tally to be read."""
    faults = {name.removeprefix(FAULT): count for name, count in tally.counts.items() if name.startswith(FAULT)}
    lines = [
        f"{tally.seeds} seeds ({tally.first_seed} to {tally.last_seed}), {tally.virtual_hours:.2f} virtual hours, "
        f"{tally.seeds / max(tally.cpu_s, 1e-9):.2f} seeds per second of one core",
        *(f"{count:>9} {name}" for name, count in tally.counts.items() if not name.startswith(FAULT)),
        f"{sum(faults.values()):>9} faults: " + ", ".join(f"{count} {name}" for name, count in faults.items()),
        f"{len(tally.broken):>9} violations" + "".join(f"\n  seed {seed}: {how}" for seed, how in tally.broken.items()),
    ]
    return "\n".join(lines)
