"""Commands of other packages' programs: which program each becomes, with what it was given."""

import os
import sys

import pytest
from click.testing import CliRunner

from cluster.cli.main import main


class Became(Exception):
    """This process would be another program now."""


@pytest.mark.parametrize(
    ("given", "program"),
    [
        (["member", "list", "--json"], ["metaraft.members", "list", "--json"]),
        (["level", "--raise"], ["metaraft.members.level", "--raise"]),
        (["level", "--help"], ["metaraft.members.level", "--help"]),
        (["snapshot", "save", "f", "--force"], ["metaraft.backup", "save", "f", "--force"]),
        (["snapshot", "verify", "-h"], ["metaraft.backup", "verify", "-h"]),
        (["snapshot", "check"], ["api.check"]),
        (["chaos", "sim", "--seeds", "1-2"], ["chaos", "sim", "--seeds", "1-2"]),
    ],
)
def test_a_command_becomes_its_program(given: list[str], program: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def become(file: str, arguments: list[str]) -> None:
        assert file == sys.executable
        raise Became(arguments)

    monkeypatch.setattr(os, "execv", become)
    done = CliRunner().invoke(main, given)
    assert isinstance(done.exception, Became)
    assert done.exception.args[0] == [sys.executable, "-P", "-m", *program]
