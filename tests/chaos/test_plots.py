"""The plots come to what they aim at, as often as they are tried in earnest."""

from collections import Counter

from chaos.sim.cluster import Cluster
from chaos.sim.figure_eight import FigureEight
from chaos.sim.late_answers import LateAnswers
from chaos.sim.late_copy import LateCopy
from chaos.sim.plot import Plot
from chaos.sim.recall import Recall
from chaos.sim.simulate import simulate
from chaos.sim.stale_reads import StaleReads
from chaos.sim.transcript import Transcript
from chaos.sim.world import World

PLOTS: tuple[type[Plot], ...] = (FigureEight, LateAnswers, LateCopy, Recall, StaleReads)


def test_each_plot_comes_to_its_end_in_some_of_the_seeds_that_are_made_of_plots() -> None:
    seeds = [seed for seed in range(150) if Cluster(World(seed, Transcript()), None).plotted]
    counts: Counter[str] = Counter()
    for seed in seeds:
        outcome = simulate(seed)
        assert not outcome.broken
        counts.update(outcome.counts)
        if all(counts[plot.succeeded] for plot in PLOTS) and counts["copies installed"]:
            return
    raise AssertionError(f"in {len(seeds)} seeds some plot never came to its end: {counts}")
