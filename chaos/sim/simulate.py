"""One seed, from its first event to the last check."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
from structlog.testing import capture_logs

from chaos.sim.cluster import Cluster
from chaos.sim.faults import Faults
from chaos.sim.judge import Violation
from chaos.sim.transcript import Transcript
from chaos.sim.world import START_S, World
from metaraft.core import Core

CALM_S = 1.5
"""How long a cluster has before the first harm."""

HARM_S = 10.0
"""How long harm is done to it by default (chosen so that 200 seeds take less than two minutes)."""


class Outcome(msgspec.Struct, frozen=True):
    """What a seed came to. `broken`: the promise that was, and how; empty if none was."""

    seed: int
    size: int
    virtual_s: float
    events: int
    counts: dict[str, int]
    broken: str = ""


def simulate(
    seed: int,
    size: int | None = None,
    *,
    seconds: float = HARM_S,
    transcript: Transcript | None = None,
    engine: Callable[..., Any] = Core,
) -> Outcome:
    """Live through one seed. A violation is an outcome, not an exception."""
    world = World(seed, transcript or Transcript())
    cluster = Cluster(world, size, engine)
    faults = Faults(cluster)
    broken = ""
    try:
        with capture_logs():  # what the product says goes nowhere: its lines have the real time in them
            world.run(CALM_S)
            faults.begin()
            world.run(seconds)
            faults.end()
            cluster.come_to_rest()
    except Violation as violation:
        broken = str(violation)
        world.note("!!", "{}", broken)
    counts = Counter(cluster.judge.counts)
    return Outcome(seed, len(cluster.slots), world.now - START_S, world.events, dict(sorted(counts.items())), broken)
