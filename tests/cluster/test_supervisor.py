"""The supervisor: what it says of an end, and, with small programs in the roles' place, what it does about it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trio

from cluster.config import FILE_NAME, ApiConfig, ChunkdConfig, Config, MemberConfig, StewardConfig
from cluster.endpoints import ENDPOINTS_FILE
from cluster.errors import Refused
from cluster.limits import Timings
from cluster.process import read_pid, write_pid
from cluster.supervisor import (
    PID_FILE,
    RUN_NAME,
    Child,
    End,
    Supervisor,
    ask_to_start,
    how_it_ended,
    last_complaint,
    last_reason,
    locked,
    reason_in,
    role_command,
    set_aside,
)

PORTS = {"api-1": ("127.0.0.1:9000", "0.0.0.0:9001")}
TIMINGS = Timings(restart_backoff_min_s=0.01, restart_backoff_max_s=0.02, shutdown_s=30.0)
SLEEP = ["sleep", "600"]


def config(folder: Path, timings: Timings = TIMINGS, **api: str | bool) -> Config:
    return Config(
        format=1,
        cluster_id="c",
        member=(MemberConfig(name="meta-1", slot=1, incarnation="00" * 16, listen="unix:run/m", directory="meta-1"),),
        chunkd=(ChunkdConfig(name="chunk-1", disk_id="ab" * 16, listen="unix:run/c", directory="chunk-1"),),
        api=(ApiConfig(name="api-1", **api),),  # type: ignore[arg-type]
        steward=(StewardConfig(name="steward-1"),),
        timings=timings,
        base=str(folder),
    )


class Said:
    """What the supervisor says, as a channel."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[str](1000)

    def __call__(self, text: str) -> None:
        self._send.send_nowait(text)

    async def next(self) -> str:
        """The next message."""
        return await self._receive.receive()

    def rest(self) -> list[str]:
        """All that was said and not received."""
        texts = []
        while self._receive.statistics().current_buffer_used:
            texts.append(self._receive.receive_nowait())
        return texts


def supervisor(folder: Path, said: Said, run: str = "run", /, **commands: list[str]) -> Supervisor:
    """One whose children run the given programs; those that are not given sleep."""
    made = Supervisor(msgspec.structs.replace(config(folder), run=run), say=said, ports=PORTS)
    for child in made.children:
        child.command = commands.get(role(child), SLEEP)
    return made


def role(child: Child) -> str:
    return child.name.partition("-")[0]


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (0, "ended with code 0 (DONE)"),
        (70, "ended with code 70 (INTERNAL)"),
        (78, "ended with code 78 (CONFIG)"),
        (1, "ended with code 1 (unknown)"),
        (-9, "was killed by SIGKILL"),
        (-35, "was killed by signal 35"),
        (OSError(11, "Try again"), "could not be started ([Errno 11] Try again)"),
    ],
)
def test_each_end_has_its_words(end: End, text: str) -> None:
    assert how_it_ended(end) == text


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (b"", ""),
        (b'{"event":"ready"}\n{"event":"refused","reason":"no such disk"}\n', "no such disk"),
        (b'{"event":"failed"}\n', "failed"),
        (b"Traceback\nValueError: x\n", "ValueError: x"),
        (b"[1]\n", "[1]"),
        (b"\xff\n", "\ufffd"),
    ],
)
def test_reason_is_that_of_the_last_line(log: bytes, reason: str, tmp_path: Path) -> None:
    assert reason_in(log) == reason
    (tmp_path / "x.log").write_bytes(log)
    assert last_reason(tmp_path / "x.log") == reason
    assert last_reason(tmp_path / "none.log") == ""


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"level": "critical", "event": "disk_failed", "reason": "it is rotten"}', "it is rotten"),
        (b'{"level": "error", "event": "refused"}', "refused"),
        (b'{"level": "info", "event": "ready"}', ""),
        (b"no JSON", ""),
        (b"", ""),
    ],
)
def test_only_an_error_as_the_last_word_is_a_complaint(tmp_path: Path, line: bytes, complaint: str) -> None:
    (tmp_path / "x.log").write_bytes(line)
    assert last_complaint(tmp_path / "x.log") == complaint


def test_log_that_is_too_large_is_set_aside_under_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "api-1.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"12345678")
        set_aside(log, 8)
        assert log.read_bytes() == b"12345678"
        writer.write(b"9")
        set_aside(log, 8)
        writer.write(b"new")
    assert log.read_bytes() == b"new"
    assert (tmp_path / "api-1.log.1").read_bytes() == b"123456789"
    set_aside(tmp_path / "none.log", 8)


def test_one_supervisor_has_the_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (tmp_path / ENDPOINTS_FILE).write_text("of one that was killed")
    with locked(run):
        assert not (tmp_path / ENDPOINTS_FILE).exists()
        assert read_pid(run / PID_FILE) == os.getpid()
        (tmp_path / ENDPOINTS_FILE).write_text("ours")
        with pytest.raises(Refused, match=f"process {os.getpid()}") as raised, locked(run):
            pass
        assert raised.value.code == "AlreadyRunning"
        assert (tmp_path / ENDPOINTS_FILE).exists()
        assert read_pid(run / PID_FILE) == os.getpid()
    assert not (run / PID_FILE).exists()
    assert run.stat().st_mode & 0o777 == 0o700
    with locked(run):
        pass


def test_who_has_the_folder_and_starts_nothing_yet_outlives_a_request_to_start_a_role(tmp_path: Path) -> None:
    run = tmp_path / "run"
    before = signal.getsignal(signal.SIGUSR1)
    with locked(run):
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
        assert ask_to_start(run, "meta-1")
    assert signal.getsignal(signal.SIGUSR1) is before


@pytest.mark.probe
async def test_a_request_that_came_before_all_were_started_is_not_remembered(tmp_path: Path) -> None:
    made = supervisor(tmp_path, Said())
    run = tmp_path / "run"
    with locked(run):
        ask_to_start(run, "chunk-1")
        assert list(run.glob("*.start"))
        async with made.running():
            assert not list(run.glob("*.start"))


def test_api_is_told_its_ports_and_no_secret(tmp_path: Path) -> None:
    made = Supervisor(config(tmp_path, insecure_listen=True), say=print, ports=PORTS)
    assert made.children[2].command == role_command(
        "api",
        tmp_path / FILE_NAME,
        "api-1",
        "--object-listen",
        "127.0.0.1:9000",
        "--operator-listen",
        "0.0.0.0:9001",
        "--insecure-listen",
    )
    assert made.endpoints.object == "http://127.0.0.1:9000"
    assert made.endpoints.operator == "http://127.0.0.1:9001"  # a wildcard is no place to dial
    assert Supervisor(config(tmp_path, tls_cert="c"), say=print, ports=PORTS).endpoints.object.startswith("https:")


def test_a_steward_is_a_module_of_the_api_and_is_told_nothing_more(tmp_path: Path) -> None:
    made = Supervisor(config(tmp_path), say=print, ports=PORTS)
    assert made.children[3].command == role_command("api.steward", tmp_path / FILE_NAME, "steward-1")


@pytest.mark.probe
async def test_what_dies_is_restarted_with_back_off(tmp_path: Path) -> None:
    said = Said()
    made = supervisor(tmp_path, said, meta=shell("kill -9 $$"))
    async with made.running():
        assert [await said.next() for _ in range(3)] == [
            "meta-1 was killed by SIGKILL; restarting it in 0.0 s",
            "meta-1 was killed by SIGKILL; restarting it in 0.0 s",
            "meta-1 was killed by SIGKILL; restarting it in 0.0 s",
        ]
        assert made.children[0].restarts >= 2
        assert made.given_up == frozenset()


@pytest.mark.probe
async def test_back_off_doubles_until_a_life_was_ready(tmp_path: Path) -> None:
    said = Said()
    lives = shell("echo life >> lives; test $(wc -l < lives) != 3 || echo 1 > /dev/fd/$TRILITH_READY_FD; kill -9 $$")
    timings = Timings(restart_backoff_min_s=0.1, restart_backoff_max_s=10.0)
    made = Supervisor(config(tmp_path, timings), say=said, ports=PORTS)
    for child in made.children:
        child.command = lives if child.name == "meta-1" else SLEEP
    async with made.running():
        texts = [await said.next() for _ in range(4)]
    assert [text.partition("restarting it in ")[2] for text in texts] == ["0.1 s", "0.2 s", "0.1 s", "0.2 s"]


@pytest.mark.probe
@pytest.mark.parametrize("code", [74, 78])
async def test_what_must_not_be_restarted_stays_down_and_is_named(tmp_path: Path, code: int) -> None:
    said = Said()
    script = f"""echo '{{"event":"refused","reason":"the disk is gone"}}' >&2; exit {code}"""
    made = supervisor(tmp_path, said, chunk=shell(script))
    async with made.running():
        text = await said.next()
        assert text.startswith(f"chunk-1 ended with code {code}")
        assert "is not restarted: the disk is gone; see " in text
        assert made.given_up == {"chunk-1"}
        assert made.children[1].given_up == code
    assert made.children[1].restarts == 0


@pytest.mark.probe
@pytest.mark.parametrize("folder", ["run", "elsewhere"])
async def test_what_stays_down_is_started_again_when_somebody_asks_for_it(tmp_path: Path, folder: str) -> None:
    said = Said()
    script = "echo life >> lives; test $(wc -l < lives) != 1 || exit 78; echo up > second; exec sleep 600"
    made = supervisor(tmp_path, said, folder, chunk=shell(script))
    run = tmp_path / RUN_NAME  # wherever the roles' files are
    assert not ask_to_start(run, "chunk-1")  # nobody to ask
    with locked(run):
        async with made.running():
            assert "is not restarted" in await said.next()
            assert ask_to_start(run, "chunk-1")
            with trio.fail_after(60):
                while not (tmp_path / "second").exists() or made.given_up:  # noqa: ASYNC110 - a file tells nobody
                    await trio.sleep(0.02)
            assert not list(run.glob("*.start"))


@pytest.mark.probe
async def test_a_request_to_start_what_then_came_to_serve_is_met_and_starts_it_no_second_time(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "serve")
    os.mkfifo(tmp_path / "end")
    script = "echo life >> lives; read x < serve; echo 1 > /dev/fd/$TRILITH_READY_FD; read x < end; exit 78"
    said = Said()
    made = supervisor(tmp_path, said, chunk=shell(script))
    child, run = made.children[1], tmp_path / "run"
    with locked(run):
        async with made.running():
            with trio.fail_after(60):
                while child.process is None:  # noqa: ASYNC110 - the supervisor tells nobody
                    await trio.sleep(0.02)
                ask_to_start(run, "chunk-1")
                await child.wanted.wait()
            await trio.to_thread.run_sync((tmp_path / "serve").write_text, "x\n")
            with trio.fail_after(60):
                while not child.was_ready:  # noqa: ASYNC110 - the supervisor tells nobody
                    await trio.sleep(0.02)
            await trio.to_thread.run_sync((tmp_path / "end").write_text, "x\n")
            assert "ended with code 78 (CONFIG) and is not restarted" in await said.next()
            assert not child.wanted.is_set()
            assert made.given_up == {"chunk-1"}
    assert (tmp_path / "lives").read_text() == "life\n"


@pytest.mark.probe
async def test_what_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    said = Said()
    made = supervisor(tmp_path, said, api=["/nonexistent/program"])
    async with made.running():
        for _ in range(2):
            assert "api-1 could not be started ([Errno 2]" in await said.next()


@pytest.mark.probe
async def test_all_end_in_order_and_leave_no_pid_file(tmp_path: Path) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    commands = {
        name: shell(f"trap 'echo {name} >> ended; kill $!; exit 0' TERM; sleep 600 & echo up > started; wait")
        for name in ("api", "steward", "meta", "chunk")
    }
    said = Said()
    made = supervisor(tmp_path, said, **commands)
    async with made.running():
        await trio.to_thread.run_sync(read_lines, started, 4)
        assert sorted(path.name for path in (tmp_path / "run").glob("*.pid")) == [
            "api-1.pid",
            "chunk-1.pid",
            "meta-1.pid",
            "steward-1.pid",
        ]
    ended = (tmp_path / "ended").read_text().split()
    assert (sorted(ended[:2]), ended[2:]) == (["api", "steward"], ["meta", "chunk"])
    assert list((tmp_path / "run").glob("*.pid")) == []
    assert said.rest() == []


def read_lines(pipe: Path, count: int) -> None:
    """Wait for lines from a named pipe, whose writers come and go."""
    with open(os.open(pipe, os.O_RDWR), "rb", buffering=0) as lines:
        for _ in range(count):
            lines.readline()


@pytest.mark.probe
async def test_what_does_not_end_is_killed(tmp_path: Path) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    said = Said()
    deaf = shell("trap '' TERM; echo up > started; exec sleep 600")
    made = Supervisor(config(tmp_path, Timings(shutdown_s=0.05)), say=said, ports=PORTS)
    for child in made.children:
        child.command = deaf if child.name == "meta-1" else SLEEP
    async with made.running():
        await trio.to_thread.run_sync(read_lines, started, 1)
    assert made.children[0].process is not None
    assert made.children[0].process.returncode == -signal.SIGKILL
    assert any(text.startswith("meta-1 did not end within") for text in said.rest())


@pytest.fixture
def earlier(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A member of a supervisor that was killed, with its pid file."""
    with subprocess.Popen(SLEEP) as process:
        (tmp_path / "run").mkdir()
        write_pid(tmp_path / "run" / "meta-1.pid", process.pid)
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.probe
async def test_process_of_an_earlier_supervisor_is_ended_first(
    tmp_path: Path, earlier: subprocess.Popen[bytes]
) -> None:
    said = Said()
    started = tmp_path / "started"
    os.mkfifo(started)
    made = supervisor(tmp_path, said, meta=shell("echo up > started; exec sleep 600"))
    async with made.running():
        assert "meta-1 of an earlier supervisor still runs" in await said.next()
        await trio.to_thread.run_sync(read_lines, started, 1)
        assert earlier.poll() == -signal.SIGTERM


@pytest.mark.probe
async def test_closed_terminal_and_full_disk_end_nothing(tmp_path: Path) -> None:
    said = Said()

    def hung_up(text: str) -> None:
        said(text)
        raise OSError(5, "Input/output error")

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "api-1.tmp").mkdir()  # so its pid file cannot be written
    made = Supervisor(config(tmp_path), say=hung_up, ports=PORTS)
    for child in made.children:
        child.command = SLEEP
    made.children[0].command = shell("exit 70")
    async with made.running():
        texts = [await said.next() for _ in range(4)]
        assert any("the pid file of api-1" in text for text in texts)
        assert sum("meta-1 ended with code 70" in text for text in texts) >= 2
        process = made.children[2].process
        assert process is not None
        assert process.poll() is None
