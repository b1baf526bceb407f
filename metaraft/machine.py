"""The state machine: what an entry of the log does to the rows. Pure.

A function of rows and entry alone: no clock, no random source, no float; time is the **state time** that a batch
carries, and it never runs back. What a user may get wrong is a `Failed` result, equal on every member; what this code
cannot obey (an entry it cannot decode, a version or level it does not know) raises `UnknownMeaning`, and the member
stops rather than diverge.

Exactly once (Ongaro's dissertation, 6.3). A result is kept under its idempotency key until a minute past the
command's `not_after`, and a command whose key is known gets that result again and has no second effect. The results
of one entry are *one* row, keyed by the minute in which the last of them expires and a running number: a commit
costs no random write, and each entry sweeps at most `SWEEP_ROWS` expired rows, more than it adds. Which row holds a
key is told by an index in memory, rebuilt from the rows at start, so it is their image and no state. Two kinds of
result are not kept, because asking again is harmless: `unavailable` (it did not happen, and may now), and TooLate.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from cluster.errors import UNDECODABLE
from metaraft import (
    machine_buckets,
    machine_chunks,
    machine_objects,
    machine_parts,
    machine_steward,
    machine_trash,
    machine_uploads,
    machine_users,
)
from metaraft.commands import (
    AbortUpload,
    AddAccessKey,
    AddHolders,
    AddUser,
    Batch,
    CompleteUpload,
    Condemn,
    CopyObject,
    CopyPart,
    CreateBucket,
    CreateUpload,
    DeleteBucket,
    DeleteObject,
    Dereference,
    DropHolder,
    Envelope,
    PutObject,
    PutPart,
    RaiseLevel,
    RegisterDisk,
    RemoveAccessKey,
    RemoveUser,
    SetBucketSetting,
    SetTags,
    SetVersioning,
    TakeStewardship,
    Touch,
)
from metaraft.conditions import refused
from metaraft.core_log import BrokenInvariant
from metaraft.core_membership import Membership, decode_change
from metaraft.machine_books import Books, encode, no_such_bucket
from metaraft.machine_steward import fenced
from metaraft.model import DEFAULT_SPACE
from metaraft.results import (
    Done,
    Failed,
    Result,
)
from metaraft.rows import (
    LEVEL,
    MEMBERSHIP_KEY,
    STATE_KEY,
    Kind,
    Reader,
    Rows,
    Space,
    State,
    prefix,
    results_key,
    space_key,
    successor,
)

RESULT_KEPT_MS = 60_000
"""How long past its `not_after` a command's result is kept."""

NOT_AFTER_AHEAD_MS_MAX = 86_400_000
"""A result is kept for a day at most. The leader refuses far less than that."""

SWEEP_ROWS = 4
"""Expired rows of results that one entry removes."""

IDEMPOTENCY_KEY_BYTES = 16

_MINUTE_MS = 60_000

_RESULTS = prefix(Kind.RESULTS)
_RESULTS_END = successor(_RESULTS)

type _Kept = list[tuple[bytes, bytes]]

_decode_batch = msgspec.msgpack.Decoder(Batch).decode
_decode_envelope = msgspec.msgpack.Decoder(Envelope).decode
_decode_membership = msgspec.msgpack.Decoder(Membership).decode
_decode_kept = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]]).decode


class UnknownMeaning(Exception):
    """The log says something this code cannot obey: the member stops. A newer program, or a damaged entry."""


def _touch(books: Books, space: int, _command: Touch) -> Result:
    return Done(books.revision(space))


def _raise_level(books: Books, space: int, command: RaiseLevel) -> Result:
    level = books.state.level
    if not 0 < command.level <= level + 1:
        return refused(
            "UnknownLevel", f"level {command.level} was asked for; the cluster is at {level}, the next is +1"
        )
    if command.level > LEVEL:
        raise UnknownMeaning(f"the cluster was raised to level {command.level}; this program knows up to {LEVEL}")
    books.state.level = max(level, command.level)
    return Done(books.revision(space))


_OBEY: dict[type[Any], Callable[[Books, int, Any], Result]] = {
    CreateBucket: machine_buckets.create_bucket,
    DeleteBucket: machine_buckets.delete_bucket,
    SetVersioning: machine_buckets.set_versioning,
    SetBucketSetting: machine_buckets.set_bucket_setting,
    PutObject: machine_objects.put_object,
    CopyObject: machine_objects.copy_object,
    DeleteObject: machine_objects.delete_object,
    SetTags: machine_objects.set_tags,
    CreateUpload: machine_uploads.create_upload,
    PutPart: machine_parts.put_part,
    CopyPart: machine_parts.copy_part,
    CompleteUpload: machine_uploads.complete_upload,
    AbortUpload: fenced(machine_uploads.abort_upload),
    AddUser: machine_users.add_user,
    RemoveUser: machine_users.remove_user,
    AddAccessKey: machine_users.add_access_key,
    RemoveAccessKey: machine_users.remove_access_key,
    RegisterDisk: machine_buckets.register_disk,
    AddHolders: machine_chunks.add_holders,
    DropHolder: fenced(machine_chunks.drop_holder),
    Dereference: fenced(machine_trash.dereference),
    Condemn: fenced(machine_chunks.condemn),
    TakeStewardship: machine_steward.take_stewardship,
    RaiseLevel: _raise_level,
    Touch: _touch,
}


def found(rows: Rows) -> None:
    """Write the rows that a new cluster begins with."""
    rows.insert(STATE_KEY, encode(State()))
    rows.insert(space_key(DEFAULT_SPACE), encode(Space()))


def membership(rows: Reader) -> Membership | None:
    """The seats as of the last entry applied; None in a store from before there was such a row."""
    row = rows.get(MEMBERSHIP_KEY)
    return None if row is None else _decode_membership(row)


class Machine:
    """Applies entries to `rows`. After any exception it must not be used again: its transaction is void."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._books = Books(rows)
        if self._books.state.level > LEVEL:
            raise UnknownMeaning(f"the rows are at level {self._books.state.level}; this program knows up to {LEVEL}")
        self._kept: dict[bytes, bytes] = {}  # idempotency key -> key of the row with its result
        self._oldest = rows.first(_RESULTS, _RESULTS_END)  # the row of results that expires first
        for key, value in rows.scan(_RESULTS, _RESULTS_END):
            for name, _ in _decode_kept(value):
                self._kept[name] = key

    @property
    def state_time_ms(self) -> int:
        """State time of the last entry."""
        return self._books.state.state_time_ms

    @property
    def level(self) -> int:
        """The replicated level of command meaning."""
        return self._books.state.level

    def revision(self, space: int = DEFAULT_SPACE) -> int:
        """Newest revision of a space."""
        return self._books.revision(space)

    def apply(self, entry: bytes) -> list[bytes]:
        """Do what an encoded `Batch` says; the encoded result of each of its envelopes.

        Raises UnknownMeaning; Corrupt (RowRot) if a row is rotten. `flush` must follow before the rows are whole.
        """
        try:
            batch = _decode_batch(entry)
        except UNDECODABLE as error:
            raise UnknownMeaning(f"an entry of the log is not a batch: {error}") from error
        state = self._books.state
        state.state_time_ms = max(state.state_time_ms, batch.state_time_ms)
        self._sweep()
        kept: dict[bytes, bytes] = {}
        expiry_ms = 0
        results = []
        for raw in batch.envelopes:
            try:
                envelope = _decode_envelope(raw)
            except UNDECODABLE as error:
                raise UnknownMeaning(f"a command of the log is not known here: {error}") from error
            known = kept.get(envelope.key)
            if known is None and envelope.key in self._kept:
                known = self._recall(envelope.key)
            if known is not None:
                results.append(known)
                continue
            result, keep = self._obey(envelope)
            encoded = encode(result)
            if keep:
                kept[envelope.key] = encoded
                expiry_ms = max(expiry_ms, envelope.not_after_ms)
            results.append(encoded)
        if kept:
            self._keep(kept, expiry_ms + RESULT_KEPT_MS)
        return results

    def change_members(self, index: int, entry: bytes, first_seats: Membership) -> None:
        """Do what the change of members in the entry `index` says. `first_seats` are meant if there is no row yet.

        Raises UnknownMeaning.
        """
        try:
            change = decode_change(entry)
        except BrokenInvariant as error:
            raise UnknownMeaning(str(error)) from error
        seats = membership(self._rows) or first_seats
        self._rows.put(MEMBERSHIP_KEY, encode(seats.changed(change, index)))

    def flush(self) -> None:
        """Write the counters: the last act of a transaction."""
        self._books.flush()

    def _obey(self, envelope: Envelope) -> tuple[Result, bool]:
        """The result, and whether it must be kept."""
        books = self._books
        if envelope.version > LEVEL:
            raise UnknownMeaning(f"a command has version {envelope.version}; this program knows up to {LEVEL}")
        if not 0 < envelope.version <= books.state.level:
            message = f"command version is {envelope.version}; the cluster is at level {books.state.level}"
            return refused("UnknownLevel", message), False
        if len(envelope.key) != IDEMPOTENCY_KEY_BYTES:
            message = f"an idempotency key has {IDEMPOTENCY_KEY_BYTES} bytes, not {len(envelope.key)}"
            return refused("BadCommand", message), False
        if envelope.not_after_ms > books.state.state_time_ms + NOT_AFTER_AHEAD_MS_MAX:
            message = f"not_after is more than {NOT_AFTER_AHEAD_MS_MAX} ms ahead of state time"
            return refused("BadCommand", message), False
        if books.state.state_time_ms > envelope.not_after_ms:
            message = f"not_after was {envelope.not_after_ms}; state time is {books.state.state_time_ms}"
            return refused("TooLate", message), False
        if envelope.space not in books.spaces:
            return refused("NoSuchSpace", f"there is no space {envelope.space}"), False
        for name, bucket_id in envelope.buckets:
            bucket = books.bucket(name)
            if bucket is None or bucket.bucket_id != bucket_id:
                return no_such_bucket(name), True
        command = envelope.command
        result = _OBEY[type(command)](books, envelope.space, command)
        return result, not (isinstance(result, Failed) and result.kind == "unavailable")

    def _recall(self, key: bytes) -> bytes:
        row = self._rows.get(self._kept[key])
        assert row is not None, "the index of results is the image of the rows"
        return dict(_decode_kept(row))[key]

    def _keep(self, kept: dict[bytes, bytes], expiry_ms: int) -> None:
        state = self._books.state
        state.turn += 1
        row_key, row = results_key(-(-expiry_ms // _MINUTE_MS), state.turn), encode(list(kept.items()))
        self._rows.insert(row_key, row)
        for key in kept:
            self._kept[key] = row_key
        if self._oldest is None or row_key < self._oldest[0]:
            self._oldest = row_key, row

    def _sweep(self) -> None:
        """Drop results whose minute is over, at most `SWEEP_ROWS` rows."""
        stop = results_key(self._books.state.state_time_ms // _MINUTE_MS + 1, 0)
        for _ in range(SWEEP_ROWS):
            if self._oldest is None or self._oldest[0] >= stop:
                return
            row_key, row = self._oldest
            for key, _result in _decode_kept(row):
                del self._kept[key]
            self._rows.delete(row_key)
            self._oldest = self._rows.first(row_key, _RESULTS_END)
