"""The simulator finds what is planted in the product's code, and what the bare library does wrong."""

from pathlib import Path

import pytest

from chaos.sim import bare, hunt, page
from chaos.sim.mutants import MUTANTS, Mutant

AT_ONCE = (
    "truncates what matches",
    "acks without term",
    "acks before the sync",
    "forgets results",
    "forgets its vote",
)
"""Found within few seeds: these are looked for on every run."""


def test_mutants_have_names_of_their_own_and_leave_the_code_as_it_was() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 12
    for mutant in MUTANTS:
        places = [(mutant.owner, mutant.attribute), *((owner, attribute) for owner, attribute, _ in mutant.also)]
        right = [vars(owner)[attribute] for owner, attribute in places]
        with mutant.planted():
            assert all(vars(owner)[name] is not each for (owner, name), each in zip(places, right, strict=True))
        assert all(vars(owner)[name] is each for (owner, name), each in zip(places, right, strict=True))


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_planted_fault_is_found_at_once(name: str) -> None:
    (mutant,) = hunt.named([name])
    assert hunt.hunt(mutant, range(20)).promise


@pytest.mark.long
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_planted_fault_is_found_within_200_seeds(mutant: Mutant) -> None:
    assert hunt.hunt(mutant, range(hunt.SEEDS)).promise


def test_the_bare_library_loses_acknowledged_commands_at_power_cuts() -> None:
    lost = [bare.simulate(seed, power=True, compacts=False).broken.get("acknowledged lost") for seed in range(5)]
    assert any(lost)


def test_a_seed_of_the_bare_library_is_one_history() -> None:
    first, again = (bare.simulate(3, power=False, compacts=True) for _ in range(2))
    assert first == again


def test_a_produced_part_of_a_page_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("before\n<!-- x: produced, do not edit -->\nold\n<!-- end of x -->\nafter\n")
    page.put(file, "x", "new")
    assert file.read_text() == "before\n<!-- x: produced, do not edit -->\nnew\n<!-- end of x -->\nafter\n"
    with pytest.raises(ValueError, match="no part 'y'"):
        page.put(file, "y", "new")
