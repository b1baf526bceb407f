"""Commands that judge the simulator itself: does it find what is planted, and what the bare library does wrong?"""

import sys
from pathlib import Path

import click
import msgspec

from chaos.sim import bare_campaign, hunt, page

_write = click.option(
    "--write",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Put the table into this page, where its marks are.",
)


def _put(file: Path, name: str, text: str) -> None:
    try:
        page.put(file, name, text)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@click.command()
@click.argument("names", nargs=-1)
@click.option("--seeds", default=hunt.SEEDS, show_default=True, help="Each must be found within so many.")
@click.option("--jobs", default=1, show_default=True, help="Processes side by side.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each mutant.")
@_write
def mutants(names: tuple[str, ...], seeds: int, jobs: int, as_json: bool, file: Path | None) -> None:
    """Plant faults in the product's code and let the simulator find each. Exit 1 if it does not find one."""
    try:
        planted = hunt.named(names)
    except KeyError as error:
        raise click.UsageError(f"there is no mutant {error}") from error
    if jobs > 1:
        findings = hunt.side_by_side(names, seeds, jobs)
        for finding in findings if as_json else ():
            click.echo(hunt.encoded(finding))
    else:
        findings = []
        for mutant in planted:
            findings.append(hunt.hunt(mutant, range(seeds)))
            if as_json:
                click.echo(hunt.encoded(findings[-1]))
    if not as_json:
        click.echo(hunt.table(findings))
    if file is not None:
        _put(file, "mutants", hunt.table(findings))
    sys.exit(0 if all(finding.promise for finding in findings) else 1)


@click.command()
@click.option("--seeds", default="0-199", show_default=True, metavar="A-B", help="These seeds, in each mode.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each mode.")
@_write
def bare(seeds: str, as_json: bool, file: Path | None) -> None:
    """Put the library without the guard, as shipped, under the same network and crashes: which promises it breaks."""
    first, _, last = seeds.partition("-")
    if not first.isdecimal() or not last.isdecimal() or int(first) > int(last):
        raise click.UsageError(f"--seeds is A-B with A up to B, not {seeds!r}")
    tallies = list(bare_campaign.run_all(range(int(first), int(last) + 1)))
    if as_json:
        for tally in tallies:
            click.echo(msgspec.json.encode(tally))
    else:
        click.echo(bare_campaign.table(tallies))
    if file is not None:
        _put(file, "bare", bare_campaign.table(tallies))


COMMANDS = (mutants, bare)
