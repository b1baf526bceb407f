"""Mutation check: how many seeds the simulator needs to find each planted fault, and which of its promises finds it.

A simulator that finds nothing in the product says nothing, unless it finds what was planted there.
"""

import subprocess
import sys
from collections.abc import Iterable, Sequence

import msgspec

from chaos.sim.mutants import MUTANTS, Mutant
from chaos.sim.simulate import simulate

SEEDS = 200
"""Within so many seeds each mutant must be found."""

_STORY_CHARACTERS = 160


class Finding(msgspec.Struct, frozen=True):
    """What came of one mutant. `promise` is the one that was broken, empty if none was in `tried` seeds."""

    mutant: str
    tried: int
    seed: int
    promise: str = ""
    how: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Finding).decode


def hunt(mutant: Mutant, seeds: Iterable[int]) -> Finding:
    """Live through the seeds with the fault in the code, to the first that breaks a promise."""
    tried, seed = 0, -1
    with mutant.planted():
        for seed in seeds:
            tried += 1
            broken = simulate(seed).broken
            if broken:
                promise, _, how = broken.partition(": ")
                return Finding(mutant.name, tried, seed, promise, how[:_STORY_CHARACTERS])
    return Finding(mutant.name, tried, seed)


def named(names: Sequence[str]) -> list[Mutant]:
    """The mutants of these names, or all. Raises KeyError."""
    known = {mutant.name: mutant for mutant in MUTANTS}
    return [known[name] for name in names] if names else list(MUTANTS)


def side_by_side(names: Sequence[str], seeds: int, jobs: int) -> list[Finding]:
    """The same for many mutants by several processes, each with its own part of them."""
    names = [mutant.name for mutant in named(names)]
    command = [sys.executable, "-P", "-m", "chaos", "mutants", "--json", "--seeds", str(seeds)]
    running = [
        subprocess.Popen([*command, *names[job::jobs]], stdout=subprocess.PIPE)  # noqa: S603 - ourselves
        for job in range(min(jobs, len(names)))
    ]
    findings: dict[str, Finding] = {}
    for process in running:
        said, _ = process.communicate()
        findings.update((finding.mutant, finding) for finding in map(_decode, said.splitlines()))
    missing = [name for name in names if name not in findings]
    if missing:
        raise RuntimeError(f"a process ended without a word on {missing}")
    return [findings[name] for name in names]


def encoded(finding: Finding) -> bytes:
    """A finding as a line of JSON."""
    return _encode(finding)


def table(findings: Iterable[Finding]) -> str:
    """All findings as a table in Markdown."""
    known = {mutant.name: mutant for mutant in MUTANTS}
    lines = ["| Mutant | What it breaks | Known from | Seeds needed | Seed | Found by |", "|---|---|---|---|---|---|"]
    for finding in findings:
        mutant = known[finding.mutant]
        found = f"{finding.tried} | {finding.seed} | {finding.promise}"
        needed = found if finding.promise else f"not found in {finding.tried} | - | -"
        lines.append(f"| {mutant.name} | {mutant.breaks} | {mutant.source} | {needed} |")
    return "\n".join(lines)
