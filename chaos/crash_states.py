"""Crash states of a recorded run: each opens cleanly, and nothing that was acknowledged is missing.

A member does some hundred operations under strace. Then, after each call that changed a file, states that a crash could
leave there are made in a folder and a member is started on each (`chaos.crash_check`): with all of what was not synced,
none of it, each piece missing alone, and some random parts (`chaos.crash_files`); there are far too many to try all.
States that are equal are made once. What was acknowledged before a call must be in every state after it.
"""

import contextlib
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import msgspec

from chaos import crash_trace
from chaos.crash_check import Found, Step, forgotten
from chaos.crash_client import operation_of
from chaos.crash_files import Choice, Files
from chaos.crash_trace import Acknowledged, Call
from cluster.config import FILE_NAME, FORMAT, Config, MemberConfig, dump, load
from cluster.limits import KIB, MIB, Limits
from metaraft.commands import Batch, Envelope
from metaraft.journal_records import HEADER_BYTES, Entry, Header, RecordKind, decode_header
from metaraft.server import prepare
from metaraft.store import Store

LIMITS = Limits(
    map_bytes=64 * MIB, room_bytes=64 * KIB, free_bytes_min=0, free_percent_min=0.0, journal_segment_bytes=64 * KIB
)
"""Small segments: the run has several, and old ones are dropped in it."""

_MEMBER = "meta-1"
_LOCKS = frozenset({"lock", "lock.mdb"})
_SYNCED_FLAGS = ("O_DSYNC", "O_SYNC")

_decode_batch = msgspec.msgpack.Decoder(Batch).decode
_decode_envelope = msgspec.msgpack.Decoder(Envelope).decode
_decode_found = msgspec.json.Decoder(Found).decode


class Report(msgspec.Struct, kw_only=True):
    """What was tried. `prefixes`: calls after which a crash was; `states`: crashes; `distinct`: states that differ.

    `calls` counts the calls that changed or synced a file; `behind`: states whose database was behind the journal.
    """

    operations: int = 0
    calls: dict[str, int] = {}
    prefixes: int = 0
    states: int = 0
    distinct: int = 0
    behind: int = 0
    violations: list[str] = []


class Recording:
    """A member's run, recorded in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.config: Config
        self.before = folder / "before"
        """The member's folder before it was started."""
        self.record = folder / "strace"
        self.marks = folder / "marks"
        self.file = folder / FILE_NAME

    @property
    def root(self) -> Path:
        """The member's folder."""
        return self._folder / _MEMBER

    def make(self, operations: int) -> None:
        """Run the member. Raises subprocess.CalledProcessError, RuntimeError without strace."""
        strace = shutil.which("strace")
        if strace is None:
            raise RuntimeError("strace is needed: apt-get install strace")
        (self._folder / "s").mkdir(mode=0o700)
        member = MemberConfig(
            name=_MEMBER, slot=1, incarnation=secrets.token_hex(16), listen="unix:s/1", directory=_MEMBER
        )
        made = Config(format=FORMAT, cluster_id=secrets.token_hex(16), member=(member,), limits=LIMITS)
        self.file.write_text(dump(made))
        self.config = load(self.file)
        prepare(self.config, self.config.member[0])
        shutil.copytree(self.root, self.before)
        limit = str(crash_trace.STRING_BYTES_MAX)
        tracing = [strace, "-f", "-y", "-xx", "-s", limit, "-e", f"trace={crash_trace.CALLS}", "-o", str(self.record)]
        client = [sys.executable, "-P", "-m", "chaos.crash_client", str(self.file), str(operations), str(self.marks)]
        subprocess.run([*tracing, *client], check=True)  # noqa: S603 - strace and our own module

    def files(self, kind: type[Files] = Files) -> Files:
        """The member's files before it was started, all synced."""
        found = (path for path in self.before.rglob("*") if path.is_file() and path.name not in _LOCKS)
        return kind({self.root / path.relative_to(self.before): path.read_bytes() for path in found})


@dataclass
class Replay:
    """Makes recorded calls on files that are a model."""

    recording: Recording
    files: Files
    on_unlink: Callable[[bytes], None] = lambda content: None
    counts: dict[str, int] = field(default_factory=dict)
    _places: dict[int, int] = field(default_factory=dict)
    _synced: set[int] = field(default_factory=set)
    _syncs: dict[int, int] = field(default_factory=dict)

    def run(self) -> Iterator[Acknowledged | None]:
        """Make all calls; yields after each that changed something (None), and each acknowledgement."""
        for call in crash_trace.calls(self.recording.record):
            path = crash_trace.path_of(call.argument)
            if path == self.recording.marks and not call.ended:
                yield Acknowledged(int(crash_trace.strings(call.argument)[0]))
            elif call.result >= 0 and self._make(call, path):
                self.counts[call.name] = self.counts.get(call.name, 0) + 1
                yield None

    def _ours(self, path: PurePath | None) -> bool:
        return path is not None and path.is_relative_to(self.recording.root) and path.name not in _LOCKS

    def _make(self, call: Call, path: PurePath | None) -> bool:
        if call.name == "openat" or "rename" in call.name or "unlink" in call.name or "link" in call.name:
            return call.ended and self._make_name(call)
        if path is None or not self._ours(path):
            return False
        files, argument = self.files, call.argument
        if not call.ended:
            if call.name in ("fsync", "fdatasync"):
                self._syncs[call.thread] = files.now
            return False
        fd = crash_trace.descriptor(argument)
        numbers = crash_trace.numbers(argument)
        match call.name:
            case "lseek":
                self._places[fd] = call.result
                return False
            case "write" | "writev":
                data = b"".join(crash_trace.strings(argument))[: call.result]
                self._write(fd, path, self._places.get(fd, 0), data)
                self._places[fd] = self._places.get(fd, 0) + call.result
            case "pwrite64" | "pwritev":
                self._write(fd, path, numbers[-1], b"".join(crash_trace.strings(argument))[: call.result])
            case "ftruncate":
                files.resize(path, numbers[-1])
            case "fallocate" if numbers[1] == 0:
                files.resize(path, numbers[2] + numbers[3], least=True)
            case "fsync" | "fdatasync":
                files.sync(path, self._syncs.pop(call.thread))
            case _:
                raise ValueError(f"{call.name} changes files in a way that is not modelled: {argument[:200]}")
        return True

    def _write(self, fd: int, path: PurePath, offset: int, data: bytes) -> None:
        self.files.write(path, offset, data)
        if fd in self._synced:
            self.files.sync(path, self.files.now)

    def _make_name(self, call: Call) -> bool:
        files = self.files
        paths = [PurePath(text.decode()) for text in crash_trace.strings(call.argument)]
        if not any(self._ours(path) for path in paths):
            return False
        match call.name, paths:
            case "openat", [path]:
                self._places[call.result] = 0
                self._synced.discard(call.result)
                if any(flag in call.argument for flag in _SYNCED_FLAGS):
                    self._synced.add(call.result)
                if path not in files and "O_CREAT" in call.argument:
                    files.create(path)
                    return True
                if "O_TRUNC" in call.argument:
                    files.resize(path, 0)
                    return True
                return False
            case "rename", [path, new]:
                files.rename(path, new)
            case "unlink", [path]:
                self.on_unlink(files.content(path))
                files.unlink(path)
            case _:
                raise ValueError(f"{call.name} is not modelled: {paths}")
        return True


def reference(recording: Recording, folder: Path) -> tuple[list[Step], dict[int, Step]]:
    """The log of the whole run with the set hash after each entry, and the entry of each operation."""
    entries: dict[int, tuple[int, bytes]] = {}

    def read(content: bytes) -> None:
        header = decode_header(content[:HEADER_BYTES])
        if not isinstance(header, Header):
            return  # a segment that was never whole
        records = header.codec.walk(lambda length, at: content[at : at + length], HEADER_BYTES, len(content))
        for record in records:
            if record.kind == RecordKind.ENTRY:
                entries[record.index] = record.term, bytes(record.data)

    replay = Replay(recording, recording.files(), read)
    for _ in replay.run():
        pass
    for content in replay.files.after(Choice(frozenset(range(replay.files.now + 1)))).values():
        read(content)
    shutil.copytree(recording.before / "store", folder)
    steps: list[Step] = []
    places: dict[int, Step] = {}
    store = Store.open(folder, cluster_id=recording.config.cluster_id, limits=LIMITS)
    with contextlib.closing(store):
        steps.append(Step(0, 0, b"", store.facts().set_hash))
        for index in range(1, max(entries) + 1):
            term, data = entries[index]
            store.apply([Entry(index, term, data)])
            steps.append(Step(index, term, data, store.facts().set_hash))
            for raw in _decode_batch(data).envelopes if data else ():
                places.setdefault(operation_of(_decode_envelope(raw).key), steps[-1])
    return steps, places


class Checker:
    """A process that starts members on folders, begun anew when one takes it along."""

    def __init__(self, config_file: Path, steps_file: Path) -> None:
        self._command = [sys.executable, "-P", "-m", "chaos.crash_check", str(config_file), str(steps_file)]
        self._process: subprocess.Popen[str] | None = None

    def check(self, folder: Path) -> Found:
        """What a member finds in a folder."""
        if self._process is None:
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own module
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{folder}\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if line:
            return _decode_found(line)
        self._process = None
        process.communicate()
        return Found(error=f"the process ended with {process.returncode}", signal=max(0, -process.returncode))

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()


class Search:
    """The crashes of one recording, drawn anew and the same each time."""

    def __init__(self, recording: Recording, kind: type[Files], *, subsets: int, seed: int) -> None:
        self._recording = recording
        self._kind = kind
        self._subsets = subsets
        self._seed = seed
        self._known: dict[object, Found] = {}

    def count(self) -> int:
        """How many there are."""
        return sum(1 for _ in self._crashes(Report()))

    def run(
        self, places: dict[int, Step], checker: Checker, folder: Path, stride: int, say: Callable[[str], None]
    ) -> Report:
        """Check each `stride`-th in a folder; `places` are the operations' entries."""
        slot = self._recording.config.member[0].slot
        report = Report(operations=len(places))
        for number, (acknowledged, files, choice) in enumerate(self._crashes(report)):
            if number % stride:
                continue
            report.states += 1
            found, seen = self._look(files, choice, checker, folder, report)
            wrong = "" if seen else found.error
            last = max((places[operation] for operation in acknowledged), key=lambda step: step.index, default=None)
            if last is not None and not found.error:
                wrong = forgotten(found, last, slot)
            if wrong:
                report.violations.append(f"crash {number}, after change {report.prefixes}: {wrong}")
                say(report.violations[-1])
        return report

    def _crashes(self, report: Report) -> Iterator[tuple[set[int], Files, Choice]]:
        replay, dice = Replay(self._recording, self._recording.files(self._kind)), random.Random(self._seed)
        acknowledged: set[int] = set()
        for event in replay.run():
            if event is not None:
                acknowledged.add(event.operation)
                continue
            report.prefixes += 1
            for choice in replay.files.choices(dice, self._subsets):
                yield acknowledged, replay.files, choice
        report.calls = dict(sorted(replay.counts.items()))

    def _look(self, files: Files, choice: Choice, checker: Checker, folder: Path, report: Report) -> tuple[Found, bool]:
        """What a member finds in a state, and whether that was known: only a new one is made, and a member started."""
        identity = files.identity(choice)
        if identity in self._known:
            return self._known[identity], True
        lay_out(folder, self._recording.root, files.after(choice))
        self._known[identity] = found = checker.check(folder)
        report.distinct += 1
        report.behind += found.applied < found.last
        return found, False


def lay_out(folder: Path, root: Path, contents: dict[PurePath, bytes]) -> None:
    """Write a member's files into a folder, which holds nothing else then."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "journal").mkdir(parents=True)
    (folder / "store").mkdir()
    for path, content in contents.items():
        (folder / path.relative_to(root)).write_bytes(content)


def run(
    folder: Path, *, operations: int, subsets: int, seed: int, states_max: int | None, say: Callable[[str], None]
) -> Report:
    """Record a run in an empty folder and check its crashes: all, or about `states_max` spread over the run."""
    recording = Recording(folder)
    recording.make(operations)
    return search(recording, operations=operations, subsets=subsets, seed=seed, states_max=states_max, say=say)


def search(
    recording: Recording,
    *,
    operations: int,
    subsets: int,
    seed: int,
    states_max: int | None,
    say: Callable[[str], None],
    kind: type[Files] = Files,
) -> Report:
    """Check the crashes of a recording, on file systems of this kind."""
    memory = Path("/dev/shm")  # noqa: S108 - an fsync there costs nothing, and what is in it is lost with it
    with tempfile.TemporaryDirectory(prefix="trilith-crash-", dir=memory if memory.is_dir() else None) as name:
        work = Path(name)
        steps, places = reference(recording, work / "reference")
        if set(range(1, operations + 1)) != set(places):
            raise RuntimeError("the log of the recorded run does not have each operation")
        (work / "steps").write_bytes(msgspec.msgpack.encode(steps))
        crashes = Search(recording, kind, subsets=subsets, seed=seed)
        total = crashes.count()
        say(f"{operations} operations in {len(steps) - 1} entries; {total} crashes")
        stride = 1 if states_max is None else max(1, total // states_max)
        with contextlib.closing(Checker(recording.file, work / "steps")) as checker:
            return crashes.run(places, checker, work / "state", stride, say)
