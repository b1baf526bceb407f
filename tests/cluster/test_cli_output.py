"""What commands print, and the codes they end with."""

import errno
import io
import json
import os
import select
import subprocess
import sys

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.cli.interrupts import interrupt_as_itself
from cluster.cli.output import command, exit_code, human_bytes, meter, print_json, say, shown
from cluster.errors import Corrupt, OutcomeUnknown, Refused, TrilithError, Unavailable
from cluster.exits import CommandExit


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("BadDigest", "m"), 1),
        (Refused("NoSuchKey", "m", detail={"status": "404"}), 3),
        (Refused("NoSuchFile", "m"), 3),
        (Refused("InvalidCredentials", "m", detail={"status": "401"}), 4),
        (Refused("AccessDenied", "m", detail={"status": "403"}), 4),
        (Refused("NoKeys", "m"), 4),
        (Unavailable("NoQuorum", "m", detail={"status": "503"}), 5),
        (OutcomeUnknown("OutcomeUnknown", "m"), 6),
        (OutcomeUnknown("NoSuchBucket", "m", detail={"status": "404"}), 6),
        (Corrupt("BadDigest", "m"), 7),
        (FileNotFoundError(errno.ENOENT, "m"), 3),
        (PermissionError(errno.EACCES, "m"), 1),
    ],
)
def test_scripts_can_tell_errors_apart(
    error: TrilithError | OSError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(error) == code

    @command
    def failing() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        failing()
    assert ended.value.code == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("trilith: ")
    assert printed.err.count("\n") == 1


def test_json_has_the_error_too(capsys: pytest.CaptureFixture[str]) -> None:
    @command
    def failing(*, as_json: bool) -> None:
        raise Refused("NoSuchKey", "no key\n'x'", detail={"status": "404", "request_id": "r1"})

    with pytest.raises(SystemExit):
        failing(as_json=True)
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {
        "error": {"kind": "refused", "code": "NoSuchKey", "message": "no key\n'x'", "request_id": "r1"}
    }
    assert printed.err == "trilith: NoSuchKey: no key\\n'x' (request r1)\n"


def test_ctrl_c_and_wrong_command_lines_have_codes_of_their_own() -> None:
    @command
    def interrupted() -> None:
        raise KeyboardInterrupt

    @command
    def wrong() -> None:
        raise click.UsageError("no")

    with pytest.raises(SystemExit) as ended:
        interrupted()
    assert ended.value.code == CommandExit.INTERRUPTED
    with pytest.raises(click.UsageError):
        wrong()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, click.Abort])
def test_an_interrupt_out_of_nurseries_is_itself_and_other_groups_pass(kind: type[BaseException]) -> None:
    def group(*leaves: BaseException) -> BaseExceptionGroup[BaseException]:
        return BaseExceptionGroup("outer", [BaseExceptionGroup("inner", [kind(), *leaves])])

    with pytest.raises(kind) as itself, interrupt_as_itself():
        raise group()
    assert type(itself.value) is kind
    with pytest.raises(BaseExceptionGroup), interrupt_as_itself():
        raise group(OSError())


@pytest.mark.probe
def test_reader_that_has_enough_is_no_error_to_complain_about() -> None:
    program = (
        "from cluster.cli.output import command\n"
        "import click\n"
        "def body():\n"
        "    while True: click.echo('x' * 4096)\n"
        "command(body)()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == CommandExit.BROKEN_PIPE


@given(st.text())
def test_whatever_is_shown_is_one_line(text: str) -> None:
    assert shown(text).isprintable()
    if text.isprintable():
        assert shown(text) == text


def test_control_characters_do_nothing_to_the_terminal() -> None:
    assert shown("a\nb\x1b[2J\u202eé😀") == "a\\nb\\x1b[2J\\u202eé😀"


def test_json_is_exact_in_every_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "latin-1"))
    print_json({"key": "é😀\n"})
    sys.stdout.flush()
    assert json.loads(raw.getvalue().decode("utf-8")) == {"key": "é😀\n"}


def test_message_to_nobody_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with io.TextIOWrapper(io.FileIO("/dev/full", "w"), write_through=True) as full:
        monkeypatch.setattr(sys, "stderr", full)
        say("is anybody there")


def test_progress_is_drawn_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with meter() as quiet:
        quiet.start("name", 10)
        quiet.add(10)
    assert pipe.getvalue() == ""
    controller, terminal = os.openpty()
    with open(terminal, "w") as stderr, open(controller, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", stderr)
        with meter() as bar:
            bar.start("[/red]name", 10)  # a key is no markup
            bar.add(10)
        stderr.flush()
        drawn = b""
        while b"[/red]name" not in drawn:  # it comes in pieces
            assert select.select([screen], [], [], 10.0)[0], drawn
            drawn += screen.read(100_000)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (1024**2, "1.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (3 * 1024**5, "3072.0 TiB"),
    ],
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert human_bytes(count) == text
