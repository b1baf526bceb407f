"""Chunk rows: references up and down, holders, the horizon, condemned chunks. Pure: see `metaraft.machine`.

Rules (who may delete what; the daemons keep the other half with their `seen`):
* A chunk may be referenced only with acknowledgements of the very request: from W registered disks, none of them with
  a `seen` below the horizon. Else PutAgain, and nothing has happened.
* The row's holders are merged with the request's own disks; a condemned row's are replaced by them, because what it
  held may be gone.
* Counts rise in the command that refers, and fall later (`machine_trash`). A count that falls to 0 leaves the row,
  with a ZERO row beside it that sorts by the revision at which that was. `condemn(z)` takes chunks with
  `zero_since < z` and raises the horizon to z in the same transaction.
* One file on a disk serves a chunk id under every scheme, so a chunk is never to be deleted from a disk where another
  scheme's living row has it.
* A condemned chunk is reported by every `condemn` until its last holder is dropped, which removes the row: what a
  steward was told and could not do is told again.
* That a disk has deleted a chunk is said under the horizon it was deleted under, and counts only if nothing referred
  to the chunk since: a reference that came after the horizon brought acknowledgements from after it, for copies that
  the disks keep or got anew, and a count that fell again since then fell at a revision above that horizon.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from cluster.limits import CHUNK_BYTES
from metaraft.commands import (
    AddHolders,
    Condemn,
    DropHolder,
    StoredChunk,
)
from metaraft.conditions import refused
from metaraft.lookups import chunk_schemes
from metaraft.machine_books import Books, encode
from metaraft.model import Chunk, Copies, Part, Scheme
from metaraft.results import (
    Condemned,
    CondemnedChunk,
    Done,
    Failed,
    Result,
)
from metaraft.rows import (
    CHUNK_ID_BYTES,
    SCHEME_BYTES,
    Kind,
    chunk_key,
    parse_scheme,
    scheme_bytes,
    space_key,
    zero_key,
)

ROWS_MAX = 1000
"""References, holders or condemned chunks that one command may touch: no apply is ever long."""

_ZERO_HEAD_BYTES = len(zero_key(0, 0, b"", b""))
_decode_chunk = msgspec.msgpack.Decoder(Chunk).decode


class Referenced(NamedTuple):
    """A chunk row as it will be once a command's references are in it."""

    key: bytes
    scheme: bytes
    chunk_id: bytes
    before: Chunk | None
    after: Chunk


def _read(books: Books, key: bytes) -> Chunk | None:
    row = books.rows.get(key)
    return None if row is None else _decode_chunk(row)


# ---- references up


def check_new(
    books: Books, space: int, scheme: Scheme, parts: Iterable[Part], stored: Iterable[StoredChunk]
) -> list[Referenced] | Failed:
    """What the references of a new body will do to chunk rows, or why they are refused. Writes nothing."""
    by_id = {chunk.chunk_id: chunk for chunk in stored}
    key_scheme = scheme_bytes(scheme)
    counts: Counter[bytes] = Counter()
    for part in parts:
        if part.scheme != scheme:
            return refused("BadBody", f"a part is stored as {part.scheme}; the bucket keeps {scheme}")
        for ref in part.chunks:
            whole = by_id.get(ref.chunk_id)
            if whole is None or whole.size != ref.chunk_bytes:
                return refused("BadBody", f"no acknowledgement of chunk {ref.chunk_id.hex()} came with its reference")
            counts[ref.chunk_id] += 1
    changes = []
    for chunk_id, count in counts.items():
        change = _reference(books, space, scheme, key_scheme, by_id[chunk_id], count)
        if isinstance(change, Failed):
            return change
        changes.append(change)
    return changes


def _reference(
    books: Books, space: int, scheme: Scheme, key_scheme: bytes, stored: StoredChunk, count: int
) -> Referenced | Failed:
    chunk_id = stored.chunk_id
    if len(chunk_id) != CHUNK_ID_BYTES or not 0 < stored.size <= CHUNK_BYTES:
        message = f"a chunk has an id of {CHUNK_ID_BYTES} bytes and 1 to {CHUNK_BYTES} bytes, not {stored.size}"
        return refused("BadBody", message)
    horizon = books.horizon(space)
    own: list[bytes] = []
    for ack in stored.acks:
        if ack.seen < horizon:
            message = f"chunk {chunk_id.hex()} was acknowledged at revision {ack.seen}; the horizon is {horizon}"
            return Failed("unavailable", "PutAgain", message)
        if ack.disk_id not in own and books.registered(ack.disk_id):
            own.append(ack.disk_id)
    if len(own) < scheme.write_quorum:
        message = f"chunk {chunk_id.hex()} is on {len(own)} registered disks; {scheme.write_quorum} are needed"
        return Failed("unavailable", "PutAgain", message)
    key = chunk_key(space, key_scheme, chunk_id)
    before = _read(books, key)
    if before is None:
        return Referenced(key, key_scheme, chunk_id, None, Chunk(stored.size, count, None, tuple(own)))
    if before.size != stored.size:
        return refused("BadBody", f"chunk {chunk_id.hex()} has {before.size} bytes, not {stored.size}")
    kept = () if before.condemned else before.holders
    holders = kept + tuple(disk for disk in own if disk not in kept)
    return Referenced(key, key_scheme, chunk_id, before, Chunk(before.size, before.count + count, None, holders))


def check_copy(books: Books, space: int, parts: Iterable[Part]) -> list[Referenced]:
    """What referencing the parts of a present version once more will do to chunk rows. Writes nothing."""
    changes = []
    for (scheme, chunk_id), count in references(parts).items():
        key = chunk_key(space, scheme, chunk_id)
        before = _read(books, key)
        assert before is not None, "a version's chunks have rows"
        assert before.count > 0, "a version's chunks are referenced"
        after = msgspec.structs.replace(before, count=before.count + count)
        changes.append(Referenced(key, scheme, chunk_id, before, after))
    return changes


def write(books: Books, space: int, changes: Iterable[Referenced]) -> None:
    """Write what a check allowed, in the same command."""
    rows = books.rows
    for change in changes:
        before = change.before
        if before is None:
            rows.insert(change.key, encode(change.after))
            continue
        rows.put(change.key, encode(change.after))
        if before.zero_since is not None:
            rows.delete(zero_key(space, before.zero_since, change.scheme, change.chunk_id))


def references(parts: Iterable[Part]) -> Counter[tuple[bytes, bytes]]:
    """The references of parts, as (scheme, chunk id) -> how many."""
    counts: Counter[tuple[bytes, bytes]] = Counter()
    for part in parts:
        scheme = scheme_bytes(part.scheme)
        for ref in part.chunks:
            counts[scheme, ref.chunk_id] += 1
    return counts


def lower(books: Books, space: int, revision: int, counts: Mapping[tuple[bytes, bytes], int]) -> None:
    """Take references down, as (scheme, chunk id) -> how many; what falls to 0 may be condemned from `revision` on."""
    for (scheme, chunk_id), count in counts.items():
        key = chunk_key(space, scheme, chunk_id)
        chunk = _read(books, key)
        assert chunk is not None, "what trash refers to has a row"
        assert chunk.count >= count, "a reference is taken down once"
        if chunk.count > count:
            books.rows.put(key, encode(msgspec.structs.replace(chunk, count=chunk.count - count)))
        else:
            books.rows.put(key, encode(msgspec.structs.replace(chunk, count=0, zero_since=revision)))
            books.rows.insert(zero_key(space, revision, scheme, chunk_id), b"")


# ---- holders


def _invalid_place(scheme: Scheme, chunk_ids: Iterable[bytes]) -> Failed | None:
    if not isinstance(scheme, Copies) or not 0 < scheme.n <= 255:
        return refused("InvalidScheme", f"there are no chunks of {scheme}")
    for chunk_id in chunk_ids:
        if len(chunk_id) != CHUNK_ID_BYTES:
            return refused("BadCommand", f"a chunk id has {CHUNK_ID_BYTES} bytes, not {len(chunk_id)}")
    return None


def add_holders(books: Books, space: int, command: AddHolders) -> Result:
    """Merge late acknowledgements into rows that are there; pass over what is void."""
    if len(command.chunks) > ROWS_MAX:
        return refused("BadCommand", f"at most {ROWS_MAX} chunks in one command, not {len(command.chunks)}")
    invalid = _invalid_place(command.scheme, (chunk.chunk_id for chunk in command.chunks))
    if invalid is not None:
        return invalid
    scheme = scheme_bytes(command.scheme)
    horizon = books.horizon(space)
    changed = False
    for stored in command.chunks:
        key = chunk_key(space, scheme, stored.chunk_id)
        chunk = _read(books, key)
        if chunk is None:
            continue
        holders = list(chunk.holders)
        for ack in stored.acks:
            if ack.seen >= horizon and ack.disk_id not in holders and books.registered(ack.disk_id):
                holders.append(ack.disk_id)
        if len(holders) > len(chunk.holders):
            books.rows.put(key, encode(msgspec.structs.replace(chunk, holders=tuple(holders))))
            changed = True
    return Done(books.revise(space) if changed else books.revision(space))


def drop_holder(books: Books, space: int, command: DropHolder) -> Result:
    """Take a disk out of a row; the last one stays, except that it takes a condemned row with it."""
    invalid = _invalid_place(command.scheme, (command.chunk_id,))
    if invalid is not None:
        return invalid
    scheme = scheme_bytes(command.scheme)
    key = chunk_key(space, scheme, command.chunk_id)
    chunk = _read(books, key)
    if chunk is None or command.disk_id not in chunk.holders:
        return Done(books.revision(space))
    if command.horizon is not None and not _given_up(chunk, command.horizon):
        return Done(books.revision(space))
    holders = tuple(disk for disk in chunk.holders if disk != command.disk_id)
    if not holders and not chunk.condemned:
        return Done(books.revision(space))
    if holders:
        books.rows.put(key, encode(msgspec.structs.replace(chunk, holders=holders)))
    else:
        _remove(books, space, scheme, command.chunk_id, chunk)
    return Done(books.revise(space))


def _given_up(chunk: Chunk, horizon: int) -> bool:
    """Whether it is condemned, and has had no reference since before the horizon."""
    return chunk.condemned and chunk.zero_since is not None and chunk.zero_since < horizon


def _remove(books: Books, space: int, scheme: bytes, chunk_id: bytes, chunk: Chunk) -> None:
    assert chunk.zero_since is not None, "only a chunk without references is removed"
    books.rows.delete(chunk_key(space, scheme, chunk_id))
    books.rows.delete(zero_key(space, chunk.zero_since, scheme, chunk_id))


# ---- the horizon


def condemn(books: Books, space: int, command: Condemn) -> Result:
    """Raise the horizon and condemn chunks that have had no reference since before it."""
    newest = books.revision(space)
    if command.horizon > newest:
        return refused("HorizonTooNew", f"horizon {command.horizon} is above the newest revision {newest}")
    if len(command.after) > CHUNK_ID_BYTES + _ZERO_HEAD_BYTES:
        return refused("BadCommand", "the cursor is not one that was given")
    limit = min(max(command.limit, 1), ROWS_MAX)
    begin = space_key(space, Kind.ZERO)
    start = begin + command.after + b"\x00" if command.after else begin
    found: list[bytes] = []
    more = False
    for key, _ in books.rows.scan(start, zero_key(space, max(command.horizon, 0), b"", b"")):
        if len(found) == limit:
            more = True
            break
        found.append(key)
    if found or command.horizon > books.horizon(space):
        books.raise_horizon(space, command.horizon)
        books.revise(space)
    schemes = chunk_schemes(books.rows, space)
    condemned = []
    for key in found:
        scheme = key[_ZERO_HEAD_BYTES : _ZERO_HEAD_BYTES + SCHEME_BYTES]
        chunk_id = key[_ZERO_HEAD_BYTES + SCHEME_BYTES :]
        holders = _condemn_one(books, space, scheme, chunk_id, schemes)
        if holders:
            condemned.append(CondemnedChunk(parse_scheme(scheme), chunk_id, holders))
    cursor = found[-1][len(begin) :] if more else None
    return Condemned(books.horizon(space), tuple(condemned), cursor)


def _condemn_one(
    books: Books, space: int, scheme: bytes, chunk_id: bytes, schemes: Iterable[bytes]
) -> tuple[bytes, ...]:
    """Condemn a chunk; the disks that must delete it. With none the row is removed at once."""
    key = chunk_key(space, scheme, chunk_id)
    chunk = _read(books, key)
    assert chunk is not None, "a ZERO row stands beside a chunk"
    assert chunk.count == 0, "a ZERO row stands beside a chunk without references"
    others = [_read(books, chunk_key(space, other, chunk_id)) for other in schemes if other != scheme]
    living = {disk for other in others if other is not None and not other.condemned for disk in other.holders}
    holders = tuple(disk for disk in chunk.holders if disk not in living)
    if not holders:
        _remove(books, space, scheme, chunk_id, chunk)
    elif not chunk.condemned or holders != chunk.holders:
        books.rows.put(key, encode(msgspec.structs.replace(chunk, holders=holders, condemned=True)))
    return holders
