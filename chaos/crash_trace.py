"""A recorded run of one member: every call by which it changes files, as strace saw it, and what was acknowledged when.

The member is `python -m metaraft` alone in its cluster; its client is another process below the same strace, which
writes a line into a file of marks after each acknowledgement. So one record has both in the order of the kernel's
stops: what was acknowledged before a call had left the member before it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

CALLS = (
    "openat,lseek,write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,fdatasync,fsync,msync,sync_file_range,"
    "rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,symlinkat,truncate,copy_file_range,sendfile"
)
"""Whatever changes a file, and where in it. (The database's file is mapped to be read only.)"""

STRING_BYTES_MAX = 1 << 24


@dataclass(frozen=True, slots=True)
class Call:
    """A call, begun (`ended` False) or ended. `argument`: text between its parentheses, strings and paths in hex."""

    thread: int
    name: str
    argument: str
    result: int
    ended: bool


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The client had been told that this operation is done."""

    operation: int


_LINE = re.compile(r"^(\d+) +(.*)$")
_WHOLE = re.compile(r"^(\w+)\((.*)\) += (-?\d+)", re.DOTALL)
_BEGUN = re.compile(r"^(\w+)\((.*) <unfinished \.\.\.>$", re.DOTALL)
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)\) += (-?\d+)", re.DOTALL)


def calls(record: Path) -> Iterator[Call]:
    """The calls of a record (`strace -f -y -xx`), each as it begins and as it ends."""
    begun: dict[int, tuple[str, str]] = {}
    with record.open() as lines:
        for line in lines:
            found = _LINE.match(line.rstrip("\n"))
            if found is None:
                raise ValueError(f"{record}: {line[:200]!r} is no line of strace")
            thread, rest = int(found[1]), found[2]
            if whole := _WHOLE.match(rest):
                yield Call(thread, whole[1], whole[2], 0, ended=False)
                yield Call(thread, whole[1], whole[2], int(whole[3]), ended=True)
            elif unfinished := _BEGUN.match(rest):
                begun[thread] = unfinished[1], unfinished[2]
                yield Call(thread, unfinished[1], unfinished[2], 0, ended=False)
            elif resumed := _RESUMED.match(rest):
                name, argument = begun.pop(thread)
                yield Call(thread, name, argument + resumed[2], int(resumed[3]), ended=True)


def strings(argument: str) -> list[bytes]:
    """The strings in an argument, whole."""
    found = re.findall(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?', argument)
    if any(more for _, more in found):
        raise ValueError("the record has a string that was cut; it must be made with a larger -s")
    return [_unhex(text) for text, _ in found]


def path_of(argument: str) -> PurePath | None:
    """The path of the descriptor that an argument begins with."""
    found = re.match(r"-?\w+<((?:\\x[0-9a-f]{2}|[^>\\])*)>", argument)
    return PurePath(_text(found[1])) if found else None


def descriptor(argument: str) -> int:
    """The descriptor that an argument begins with."""
    found = re.match(r"(\d+)", argument)
    assert found is not None
    return int(found[1])


def numbers(argument: str) -> list[int]:
    """The plain numbers among the arguments, the descriptor's first."""
    flat = re.sub(r'"[^"]*"|<[^>]*>|\[.*\]|\{.*\}', "", argument)
    return [int(part) for part in (piece.strip() for piece in flat.split(",")) if re.fullmatch(r"-?\d+", part)]


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _text(text: str) -> str:
    return _unhex(text).decode() if text.startswith("\\x") else text
