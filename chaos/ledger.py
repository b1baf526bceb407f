"""A ledger of runs: one line of JSON each, and sums over all of them.

A run is bounded (no test should need a free weekend), a claim is not: three hundred kills are many runs, on many days
and commits. So each appends what it saw, whole samples and not their quantiles, which cannot be added; `sums`
then says what all of them showed together.
"""

import datetime
import os
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

SILENCE = "silence_s"
"""Sample of a run: seconds from each fault to the acknowledgement of a write that began after it."""

GAP = "gap_s"
"""Sample of a run: after each fault, the longest stretch without an acknowledged write until the next one."""


class Run(msgspec.Struct, kw_only=True):
    """What one run did and saw. `samples` are in the unit that their names end in, `counts` are added up.

    `busy` is the number of processes that wanted to run (loadavg(5)) when it began: figures of a machine with other
    work are pessimistic. `commit` is that of the source, if it lies in a repository.
    """

    date: str
    version: str
    commit: str
    cores: int
    busy: float
    command: str
    target: str
    seed: int
    clients: int
    seconds: float = 0.0
    faults: int = 0
    operations: int = 0
    acknowledged_writes: int = 0
    keys: int = 0
    lost: int = 0
    violations: list[str] = []
    outcomes: dict[str, int] = {}
    counts: dict[str, int] = {}
    samples: dict[str, list[float]] = {}

    def sample(self, name: str, value: float) -> None:
        """Add a value to a sample; a tenth of a thousandth is all that is kept of it."""
        self.samples.setdefault(name, []).append(round(value, 4))

    def count(self, what: str, more: int = 1) -> int:
        """Count something, and say how much of it there was by now."""
        self.counts[what] = found = self.counts.get(what, 0) + more
        return found


class Sample(msgspec.Struct, kw_only=True):
    """All values of one name. `rare` is what one in a hundred is worse than, or as bad as, and `worst` the worst: of a
    share (`_share`) the low ones are bad, of all else the high ones."""

    count: int
    p50: float
    rare: float
    worst: float


class Sum(msgspec.Struct, kw_only=True):
    """All runs of one command with one target."""

    command: str
    target: str
    runs: int
    hours: float
    faults: int
    operations: int
    acknowledged_writes: int
    lost: int
    violations: int
    counts: dict[str, int]
    samples: dict[str, Sample]


_decode = msgspec.json.Decoder(Run).decode


def begun(command: str, target: str, *, seed: int, clients: int) -> Run:
    """The line of a run that begins now."""
    return Run(
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        version=version("trilith"),
        commit=_commit(),
        cores=os.cpu_count() or 1,
        busy=round(os.getloadavg()[0], 2),
        command=command,
        target=target,
        seed=seed,
        clients=clients,
    )


def _commit() -> str:
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, check=False)  # noqa: S607 - whichever git there is
    except OSError:
        return ""
    return found.stdout.decode().strip() if found.returncode == 0 else ""


def append(file: Path, run: Run) -> None:
    """Add a run, durably: it may have taken an hour."""
    with file.open("ab") as ledger:
        ledger.write(msgspec.json.encode(run) + b"\n")
        ledger.flush()
        os.fsync(ledger.fileno())


def load(file: Path) -> list[Run]:
    """All runs of a file. Raises OSError, and ValueError with the number of a line that is no run."""
    found = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            found.append(_decode(line))
        except msgspec.MsgspecError as error:
            raise ValueError(f"{file}, line {number}: {error}") from error
    return found


def sums(runs: Iterable[Run]) -> list[Sum]:
    """One sum for each command and target, in the order of their first runs."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.command, run.target), []).append(run)
    return [_sum(group) for group in groups.values()]


def _sum(runs: Sequence[Run]) -> Sum:
    counts: dict[str, int] = {}
    samples: dict[str, list[float]] = {}
    for run in runs:
        for name, count in run.counts.items():
            counts[name] = counts.get(name, 0) + count
        for name, values in run.samples.items():
            samples.setdefault(name, []).extend(values)
    return Sum(
        command=runs[0].command,
        target=runs[0].target,
        runs=len(runs),
        hours=round(sum(run.seconds for run in runs) / 3600, 2),
        faults=sum(run.faults for run in runs),
        operations=sum(run.operations for run in runs),
        acknowledged_writes=sum(run.acknowledged_writes for run in runs),
        lost=sum(run.lost for run in runs),
        violations=sum(len(run.violations) for run in runs),
        counts=counts,
        samples={name: sample(name, values) for name, values in samples.items() if values},
    )


def sample(name: str, values: Sequence[float]) -> Sample:
    """Quantiles of at least one value, each of them one of the values."""
    ordered = sorted(values, reverse=name.endswith("_share"))  # from good to bad
    at = [ordered[max(0, -(-len(ordered) * percent // 100) - 1)] for percent in (50, 99)]
    return Sample(count=len(ordered), p50=at[0], rare=at[1], worst=ordered[-1])


def text(total: Sum) -> str:
    """A sum for people."""
    lines = [
        f"{total.command} {total.target}: {total.faults} faults in {total.runs} runs and {total.hours:.2f} h;"
        f" {total.acknowledged_writes} acknowledged writes of {total.operations} operations,"
        f" {total.lost} lost, {total.violations} violations"
    ]
    lines += [f"  {name}: {count}" for name, count in total.counts.items()]
    for name, found in total.samples.items():
        rare = "p1" if name.endswith("_share") else "p99"
        lines.append(
            f"  {name}: p50 {found.p50:.3f}, {rare} {found.rare:.3f}, worst {found.worst:.3f} ({found.count} values)"
        )
    return "\n".join(lines)
