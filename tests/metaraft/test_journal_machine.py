"""The journal against its plain twin: any order of calls, power cuts and kills, as Hypothesis finds them."""

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cluster.limits import Limits
from tests.metaraft.journal_twin import Twin, same, state_of

DATA = st.binary(max_size=300)


class JournalAndTwin(RuleBasedStateMachine):
    """Each rule does the same to the journal and to the list of states; each crash compares."""

    twin: Twin

    @initialize(segment_bytes=st.sampled_from([553, 700, 1200, 5000]), cache_bytes=st.sampled_from([0, 700, 1 << 20]))
    def begin(self, segment_bytes: int, cache_bytes: int) -> None:
        self.limits = Limits(journal_segment_bytes=segment_bytes, journal_cache_bytes=cache_bytes)
        self.twin = Twin(limits=self.limits)

    @rule(items=st.lists(DATA, min_size=1, max_size=4))
    def add(self, items: list[bytes]) -> None:
        for data in items:
            self.twin.add(data)
        assert self.twin.journal.dirty

    @rule(back=st.integers(min_value=0, max_value=12))
    def truncate(self, back: int) -> None:
        journal = self.twin.journal
        self.twin.truncate_from(max(journal.first_index + 1, journal.last_index - back))

    @rule(beyond=st.integers(min_value=1, max_value=30), term=st.integers(min_value=0, max_value=5))
    def reset(self, beyond: int, term: int) -> None:
        self.twin.reset(self.twin.journal.last_index + beyond, min(term, self.twin.state.term))

    @rule(raised=st.integers(min_value=1, max_value=3), voted_for=st.sampled_from([None, 0, 1, 2]))
    def next_term(self, raised: int, voted_for: int | None) -> None:
        self.twin.set_term(self.twin.state.term + raised, voted_for)

    @rule(voted_for=st.sampled_from([0, 1, 2]))
    def vote(self, voted_for: int) -> None:
        if self.twin.state.voted_for is None:
            self.twin.set_term(self.twin.state.term, voted_for)

    @rule()
    def sync(self) -> None:
        self.twin.sync()
        assert not self.twin.journal.dirty

    @rule()
    def mark_idle(self) -> None:
        self.twin.mark_idle()

    @rule(kept=st.integers(min_value=-2, max_value=20))
    def cut(self, kept: int) -> None:
        journal = self.twin.journal
        first, below = journal.first_index, journal.last_index - kept
        journal.cut(below)
        assert first <= journal.first_index <= max(first, min(below, journal.last_index))

    @rule(seed=st.integers(min_value=0, max_value=2**32))
    def power_cut(self, seed: int) -> None:
        random = Random(seed)
        disk = self.twin.disk
        lost = random.random()
        names_kept = [at for at in range(len(disk.names_pending)) if random.random() < 0.5]
        after = disk.power_cut(
            lambda length: 0 if random.random() < lost else random.randint(0, length) if length > 1 else 1, names_kept
        )
        self._reopen(Twin(after, self.limits))

    @rule()
    def kill(self) -> None:
        self._reopen(Twin(self.twin.disk.kill(), self.limits))

    def _reopen(self, twin: Twin) -> None:
        assert self.twin.certain(twin.state)
        self.twin = twin

    @invariant()
    def says_the_same(self) -> None:
        assert same(state_of(self.twin.journal), self.twin.state)

    @rule(start=st.integers(0, 40), length=st.integers(1, 10), bytes_max=st.integers(0, 600))
    def read(self, start: int, length: int, bytes_max: int) -> None:
        journal = self.twin.journal
        start = min(journal.first_index + start, journal.last_index)
        found = journal.entries(start, start + length, bytes_max)
        wanted = [entry for entry in self.twin.state.log if start <= entry[0] < start + length]
        assert [(entry.index, entry.term, entry.data) for entry in found] == wanted[: len(found)]
        size = sum(len(entry.data) for entry in found)
        assert len(found) == 1 or size <= bytes_max
        assert len(found) == len(wanted) or size + len(wanted[len(found)][2]) > bytes_max


TestJournalAndTwin = JournalAndTwin.TestCase
TestJournalAndTwin.settings = settings(max_examples=150, stateful_step_count=40)
