"""Files and names as a crash may leave them: what was synced, and any part of what was not. Pure.

Rules, as little as POSIX promises and any file system keeps:
* A file's bytes and size are certain up to its last fsync or fdatasync that began after they were written; a name is
  certain up to the folder's last fsync. Whatever came later may be there or not, each piece by itself, in any order.
* A write is as many pieces as it touches pages of 4 KiB; a page itself may be torn at a sector of 512 bytes.
* A process that is killed loses nothing: the page cache is not its own.

Source: 'All File Systems Are Not Created Equal' (OSDI 2014).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from random import Random

PAGE_BYTES = 4096
SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at an offset."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Size:
    """A file cut to this many bytes, or (`least`) made at least so long; what is new reads as zeros."""

    size: int
    least: bool = False


type Piece = Write | Size


@dataclass(frozen=True, slots=True)
class Link:
    """A name given to a file (by number), or taken from it (None)."""

    path: PurePath
    file: int | None


@dataclass(frozen=True, slots=True)
class Rename:
    """A file's name changed, over another one."""

    path: PurePath
    new: PurePath


type Naming = Link | Rename


@dataclass(slots=True)
class _Pending[T]:
    number: int
    what: T


@dataclass(slots=True)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    cached: bytearray = field(default_factory=bytearray)
    pending: list[_Pending[Piece]] = field(default_factory=list)
    version: int = 0  # of what is durable


@dataclass(frozen=True)
class Choice:
    """A state after a crash: which of the pending pieces and names are there. `torn`: one of them is in part."""

    kept: frozenset[int]
    torn: tuple[int, int] | None = None


class Files:
    """All files below a folder, while calls are made on them."""

    def __init__(self, contents: dict[PurePath, bytes]) -> None:
        self._files: dict[int, _File] = {}
        self._names: dict[PurePath, int] = {}
        self._durable_names: dict[PurePath, int] = {}
        self._pending_names: list[_Pending[Naming]] = []
        self._names_version = 0
        self._number = 0
        for path, content in contents.items():
            file = self._new_file()
            self._files[file].durable[:] = self._files[file].cached[:] = content
            self._names[path] = self._durable_names[path] = file

    @property
    def now(self) -> int:
        """A moment, to be given to `sync` as its beginning."""
        return self._number

    def __contains__(self, path: PurePath) -> bool:
        return path in self._names

    def size(self, path: PurePath) -> int:
        """Bytes of a file, as the page cache shows it."""
        return len(self._files[self._names[path]].cached)

    def content(self, path: PurePath) -> bytes:
        """A file as the page cache shows it."""
        return bytes(self._files[self._names[path]].cached)

    # ---- calls

    def create(self, path: PurePath) -> None:
        """A new empty file under a name that was free."""
        file = self._new_file()
        self._name(Link(path, file))

    def write(self, path: PurePath, offset: int, data: bytes) -> None:
        """A write, page by page."""
        end = offset + len(data)
        while offset < end:
            stop = min(end, (offset // PAGE_BYTES + 1) * PAGE_BYTES)
            self._change(path, Write(offset, data[: stop - offset]))
            data, offset = data[stop - offset :], stop

    def resize(self, path: PurePath, size: int, *, least: bool = False) -> None:
        """ftruncate, or (`least`) fallocate."""
        self._change(path, Size(size, least))

    def rename(self, path: PurePath, new: PurePath) -> None:
        """rename(2)."""
        self._name(Rename(path, new))

    def unlink(self, path: PurePath) -> None:
        """unlink(2)."""
        self._name(Link(path, None))

    def sync(self, path: PurePath, since: int) -> None:
        """An fsync of a file, or of a folder, that began at `since` has returned."""
        if path in self._names:
            file = self._files[self._names[path]]
            if file.pending and file.pending[0].number <= since:
                file.version += 1
            while file.pending and file.pending[0].number <= since:
                _apply(file.durable, file.pending.pop(0).what)
            return
        done = [pending for pending in self._pending_names if _folder(pending.what) == path and pending.number <= since]
        for pending in done:
            _rename(self._durable_names, pending.what)
            self._pending_names.remove(pending)
        self._names_version += bool(done)

    def _new_file(self) -> int:
        self._files[len(self._files)] = _File()
        return len(self._files) - 1

    def _change(self, path: PurePath, piece: Piece) -> None:
        self._number += 1
        file = self._files[self._names[path]]
        _apply(file.cached, piece)
        file.pending.append(_Pending(self._number, piece))

    def _name(self, naming: Naming) -> None:
        self._number += 1
        _rename(self._names, naming)
        self._pending_names.append(_Pending(self._number, naming))

    # ---- crashes

    def choices(self, random: Random, subsets: int) -> Iterator[Choice]:
        """All pending, none, each one missing, and some random ones, of which half are torn."""
        pieces = self._pending()
        everything = frozenset(pieces)
        yield Choice(everything)
        if not pieces:
            return
        yield Choice(frozenset())
        if len(pieces) > 1:
            for number in pieces:
                yield Choice(everything - {number})
        writes = sorted(number for number, piece in pieces.items() if _tearable(piece))
        for turn in range(subsets if len(pieces) > 1 or writes else 0):
            kept = frozenset(number for number in pieces if random.random() < 0.5)
            torn = None
            if writes and turn % 2 == 0:
                number = random.choice(writes)
                piece = pieces[number]
                assert isinstance(piece, Write)
                sectors = (len(piece.data) - 1) // SECTOR_BYTES
                torn = (number, random.randint(1, sectors) * SECTOR_BYTES - piece.offset % SECTOR_BYTES)
            yield Choice(kept, torn)

    def identity(self, choice: Choice) -> object:
        """Equal for equal states, whenever they are asked for: versions of what is durable, and what is kept."""
        files = tuple((number, file.version) for number, file in self._files.items() if file.version)
        return self._names_version, files, choice

    def after(self, choice: Choice) -> dict[PurePath, bytes]:
        """The files that are there after such a crash."""
        names = dict(self._durable_names)
        for pending in self._pending_names:
            if pending.number in choice.kept:
                _rename(names, pending.what)
        return {path: self._content(self._files[file], choice) for path, file in names.items()}

    def _content(self, file: _File, choice: Choice) -> bytes:
        content = bytearray(file.durable)
        for pending in file.pending:
            what = pending.what
            if choice.torn is not None and choice.torn[0] == pending.number and isinstance(what, Write):
                _apply(content, Write(what.offset, what.data[: choice.torn[1]]))
            elif pending.number in choice.kept:
                _apply(content, what)
        return bytes(content)

    def _pending(self) -> dict[int, Piece | Naming]:
        found: dict[int, Piece | Naming] = {pending.number: pending.what for pending in self._pending_names}
        for file in self._files.values():
            found |= {pending.number: pending.what for pending in file.pending}
        return found


def _tearable(piece: Piece | Naming) -> bool:
    return isinstance(piece, Write) and (piece.offset % SECTOR_BYTES) + len(piece.data) > 2 * SECTOR_BYTES


def _folder(naming: Naming) -> PurePath:
    return naming.path.parent


def _apply(content: bytearray, piece: Piece) -> None:
    match piece:
        case Write(offset, data):
            content.extend(bytes(max(0, offset + len(data) - len(content))))
            content[offset : offset + len(data)] = data
        case Size(size, least):
            if not least:
                del content[size:]
            content.extend(bytes(max(0, size - len(content))))


def _rename(names: dict[PurePath, int], naming: Naming) -> None:
    match naming:
        case Link(path, None):
            names.pop(path, None)
        case Link(path, file):
            assert file is not None
            names[path] = file
        case Rename(path, new):
            if path in names:
                names[new] = names.pop(path)
