"""Commands that judge the simulator itself: does it find what is planted?"""

import sys

import click

from chaos.sim import hunt


@click.command()
@click.argument("names", nargs=-1)
@click.option("--seeds", default=hunt.SEEDS, show_default=True, help="Each must be found within so many.")
@click.option("--jobs", default=1, show_default=True, help="Processes side by side.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each mutant.")
def mutants(names: tuple[str, ...], seeds: int, jobs: int, as_json: bool) -> None:
    """Plant faults in the product's code and let the simulator find each. Exit 1 if it does not find one."""
    try:
        planted = hunt.named(names)
    except KeyError as error:
        raise click.UsageError(f"there is no mutant {error}") from error
    if jobs > 1:
        findings = hunt.side_by_side(names, seeds, jobs)
    else:
        findings = []
        for mutant in planted:
            findings.append(hunt.hunt(mutant, range(seeds)))
            if as_json:
                click.echo(hunt.encoded(findings[-1]))
    if not as_json:
        click.echo(hunt.table(findings))
    sys.exit(0 if all(finding.promise for finding in findings) else 1)


COMMANDS = (mutants,)
