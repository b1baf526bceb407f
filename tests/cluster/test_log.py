"""The log: one JSON object per line, whatever is in it; no secrets."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import structlog

from cluster.log import configure, get_logger


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_a_line_says_who_when_and_what(capsys: pytest.CaptureFixture[str]) -> None:
    configure("chunkd", "node-1")
    get_logger("store").warning("copy_bad", chunk="ab12", size=7)
    (line,) = lines(capsys)
    time = datetime.fromisoformat(str(line.pop("time")))
    assert time.tzinfo == UTC
    assert line == {
        "role": "chunkd",
        "node": "node-1",
        "part": "store",
        "level": "warning",
        "event": "copy_bad",
        "chunk": "ab12",
        "size": 7,
    }


@pytest.mark.parametrize(
    "text", ['a\n{"event": "forged"}', "a\r\nb", "a\u2028b\u2029c\x85d", "\x1b[31mred", "\x00", "\udce4"]
)
def test_no_value_begins_a_line_of_its_own_or_reaches_a_terminal(capsys: pytest.CaptureFixture[str], text: str) -> None:
    configure("api", "api-1")
    get_logger("edge").info("request", key=text, **{text: 1})
    raw = capsys.readouterr().err
    assert raw.count("\n") == 1
    assert raw.isascii()
    assert raw.strip().isprintable()
    assert json.loads(raw)["key"] == text


def test_an_exception_is_one_line_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure("api", "api-1")
    try:
        raise KeyError("multi\nline")
    except KeyError as error:
        get_logger("x").error("failed", exc_info=error)
    (line,) = lines(capsys)
    assert "KeyError" in str(line["exception"])
    assert "test_log.py" in str(line["exception"])


def test_values_with_the_name_of_a_secret_are_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    configure("api", "api-1")
    get_logger("x").info("login", secret_key="hunter2", Authorization="Bearer hunter2", access_key="AK")
    raw = capsys.readouterr().err
    assert "hunter2" not in raw
    assert json.loads(raw)["access_key"] == "AK"


@pytest.mark.parametrize("value", [b"\xff\x00", object(), {1, 2}, float("nan"), float("inf"), 2**80, {b"k": 1}, None])
def test_any_value_can_be_logged(capsys: pytest.CaptureFixture[str], value: object) -> None:
    configure("api", "api-1")
    get_logger("x").info("event", value=value)
    assert lines(capsys)[0]["event"] in ("event", "'event'")


def test_a_circle_can_be_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure("api", "api-1")
    circle: list[object] = []
    circle.append(circle)
    get_logger("x").info("event", value=circle)
    assert len(lines(capsys)) == 1


def test_a_long_value_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    configure("api", "api-1")
    get_logger("x").info("event", value="x" * 1_000_000)
    assert len(str(lines(capsys)[0]["value"])) < 17_000


def test_before_configure_the_log_leaves_standard_output_alone(capsys: pytest.CaptureFixture[str]) -> None:
    get_logger("x").info("early")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "early" in captured.err


def test_no_role_loads_what_only_commands_show() -> None:
    roles = "import api.role, api.steward.role, chunkd.__main__, metaraft.__main__, sys"
    code = f"{roles}; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
