"""What was taken out of a bucket and still counts: trash rows, and the parts that completed objects share. Pure.

Rules:
* A mutation takes O(1) rows out, however much hangs on them: what it gives up is said in *one* trash row, under its
  revision. That row holds a version's own parts, and names those parts of uploads that are rows of their own.
* `dereference` empties trash rows, the oldest first, at most `ROWS_MAX` references in one command; a part without
  references costs one too, because its rows must go. A part is shortened where the limit ends within it.
* The parts of a completed upload belong to all versions made of it: the first, and its copies. Its ASSEMBLY row counts
  these. A copy raises the count before the version that it replaces lowers it; at 0 the row goes at once and the parts
  go to the trash. So an ASSEMBLY row stands beside all of its parts, or there is none.
"""

from collections import Counter
from typing import NamedTuple

import msgspec

from metaraft.commands import (
    Dereference,
)
from metaraft.lookups import decode_part_chunks, decode_part_head
from metaraft.machine_books import Books, encode
from metaraft.machine_chunks import ROWS_MAX, lower, references
from metaraft.model import Assembled, Body, DeleteMarker, Inline, Part, Parts
from metaraft.results import (
    Dereferenced,
    Result,
)
from metaraft.rows import (
    UPLOAD_ID_BYTES,
    Assembly,
    Kind,
    PartRows,
    Trash,
    assembly_key,
    part_key,
    part_number,
    parts_key,
    scheme_bytes,
    space_key,
    successor,
    trash_key,
)

_decode_trash = msgspec.msgpack.Decoder(Trash).decode
_decode_assembly = msgspec.msgpack.Decoder(Assembly).decode

type _Counts = Counter[tuple[bytes, bytes]]


class Given(NamedTuple):
    """What a version gives up as it goes: parts of its own, or those of an upload that no other version has."""

    parts: tuple[Part, ...] = ()
    rows: tuple[PartRows, ...] = ()


# ---- completed uploads


def assembly(books: Books, space: int, upload_id: bytes) -> Assembly | None:
    """What is known of a completed upload, as long as any version has its parts."""
    if len(upload_id) != UPLOAD_ID_BYTES:
        return None
    row = books.rows.get(assembly_key(space, upload_id))
    return None if row is None else _decode_assembly(row)


def share(books: Books, space: int, upload_id: bytes) -> None:
    """One more version has the parts of a completed upload."""
    found = assembly(books, space, upload_id)
    assert found is not None, "what is copied has its parts"
    _recount(books, space, upload_id, found, found.count + 1)


def give_up(books: Books, space: int, body: Body) -> Given:
    """What a version with this body, which goes now, leaves for the trash."""
    match body:
        case Inline() | DeleteMarker():
            return Given()
        case Parts(parts):
            return Given(parts=parts)
        case Assembled(upload_id):
            found = assembly(books, space, upload_id)
            assert found is not None, "a version has its parts"
            if found.count > 1:
                _recount(books, space, upload_id, found, found.count - 1)
                return Given()
            books.rows.delete(assembly_key(space, upload_id))
            return Given(rows=(PartRows(upload_id),))


def _recount(books: Books, space: int, upload_id: bytes, found: Assembly, count: int) -> None:
    books.rows.put(assembly_key(space, upload_id), encode(msgspec.structs.replace(found, count=count)))


# ---- trash


def discard(books: Books, space: int, revision: int, trash: Trash) -> None:
    """Keep what the mutation `revision` took out, for `dereference`; called once for each."""
    if trash.rows or any(part.chunks for part in trash.parts):
        books.rows.insert(trash_key(space, revision), encode(trash))


def dereference(books: Books, space: int, command: Dereference) -> Result:
    """Take references of trash rows down, the oldest first."""
    start = space_key(space, Kind.TRASH)
    stop = successor(start)
    row = books.rows.first(start, stop)
    if row is None:
        return Dereferenced(0, more=False)
    revision = books.revise(space)
    left = min(max(command.limit, 1), ROWS_MAX)
    counts: _Counts = Counter()
    while row is not None and left:
        key, value = row
        left, rest = _empty(books, space, _decode_trash(value), left, counts)
        if rest is None:
            books.rows.delete(key)
        else:
            books.rows.put(key, encode(rest))
        row = books.rows.first(start, stop)
    lower(books, space, revision, counts)
    return Dereferenced(counts.total(), more=row is not None)


def _empty(books: Books, space: int, trash: Trash, left: int, counts: _Counts) -> tuple[int, Trash | None]:
    """Count references of a trash row; what is left of the limit and of the row."""
    taken, parts = _split(trash.parts, left)
    counts.update(references(taken))
    left -= sum(len(part.chunks) for part in taken)
    rows = list(trash.rows)
    while rows and left:
        left, rest = _empty_rows(books, space, rows.pop(0), left, counts)
        if rest is not None:
            rows.insert(0, rest)
    if not parts and not rows:
        return left, None
    return left, msgspec.structs.replace(trash, parts=parts, rows=tuple(rows))


def _split(parts: tuple[Part, ...], limit: int) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """The first `limit` references, and the rest."""
    for place, part in enumerate(parts):
        if len(part.chunks) > limit:
            first = msgspec.structs.replace(part, chunks=part.chunks[:limit])
            second = msgspec.structs.replace(part, chunks=part.chunks[limit:])
            return (*parts[:place], first), (second, *parts[place + 1 :])
        limit -= len(part.chunks)
    return parts, ()


def _empty_rows(books: Books, space: int, rows: PartRows, left: int, counts: _Counts) -> tuple[int, PartRows | None]:
    """The same for parts that are rows."""
    upload_id, numbers = rows.upload_id, rows.numbers
    if numbers is None:
        heads = parts_key(space, upload_id)
        while (row := books.rows.first(heads, successor(heads))) is not None:
            if left == 0:
                return 0, rows
            left, _ = _empty_part(books, space, upload_id, part_number(row[0]), left, counts)
        return left, None
    for place, number in enumerate(numbers):
        if left == 0:
            return 0, PartRows(upload_id, numbers[place:])
        left, more = _empty_part(books, space, upload_id, number, left, counts)
        if more:
            return 0, PartRows(upload_id, numbers[place:])
    return left, None


def _empty_part(
    books: Books, space: int, upload_id: bytes, number: int, left: int, counts: _Counts
) -> tuple[int, bool]:
    """Count references of one part and remove its rows, or shorten them (True)."""
    head_row = part_key(space, upload_id, number)
    chunks_row = part_key(space, upload_id, number, Kind.PART_CHUNKS)
    head, chunks = books.rows.get(head_row), books.rows.get(chunks_row)
    assert head is not None, "trash names parts that are there"
    assert chunks is not None, "a part has a row of references, though it may be empty"
    refs = decode_part_chunks(chunks)
    scheme = scheme_bytes(decode_part_head(head).scheme)
    for ref in refs[:left]:
        counts[scheme, ref.chunk_id] += 1
    if len(refs) > left:
        books.rows.put(chunks_row, encode(refs[left:]))
        return 0, True
    books.rows.delete(head_row)
    books.rows.delete(chunks_row)
    return left - max(1, len(refs)), False
