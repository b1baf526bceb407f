"""The stewardship: which one process does the background work, and that no other one's commands count. Pure.

Rules: one row names the holder and an **epoch**, which rises with each new holder. Who holds it renews it; when it has
not been renewed for `STEWARD_LEASE_MS` of state time, whoever asks takes it, under the next epoch. A command that
carries an epoch other than the present one is refused before anything else of it is looked at, so a steward that was
paused, or cut off, has no effect after another one took over. (Leases, and fencing by a rising number: Gray and
Cheriton, 1989; Burrows, 'The Chubby lock service', 2.4, sequencers.)
"""

from collections.abc import Callable

import msgspec

from metaraft.commands import (
    AbortUpload,
    Condemn,
    Dereference,
    DropHolder,
    TakeStewardship,
)
from metaraft.conditions import refused
from metaraft.machine_books import Books, encode
from metaraft.model import STEWARD_LEASE_MS
from metaraft.results import (
    Failed,
    Result,
    StewardDone,
)
from metaraft.rows import STEWARDSHIP_KEY, Stewardship

HOLDER_BYTES_MAX = 255
"""Bytes of UTF-8 of a holder's name (chosen): far above a node's."""

type _Stewards = Dereference | Condemn | DropHolder | AbortUpload

_decode = msgspec.msgpack.Decoder(Stewardship).decode


def take_stewardship(books: Books, _space: int, command: TakeStewardship) -> Result:
    """Take the stewardship (epoch 0), or renew it."""
    size = len(command.holder.encode())
    if not 0 < size <= HOLDER_BYTES_MAX:
        return refused("BadCommand", f"a holder's name has 1 to {HOLDER_BYTES_MAX} bytes, this one {size}")
    now_ms = books.state.state_time_ms
    held = _held(books)
    if command.epoch == 0:
        if held.holder and now_ms - held.renewed_ms < STEWARD_LEASE_MS:
            return _held_by(held, now_ms)
        epoch = held.epoch + 1
    elif (command.epoch, command.holder) == (held.epoch, held.holder):
        epoch = held.epoch
    else:
        return _held_by(held, now_ms)
    books.rows.put(STEWARDSHIP_KEY, encode(Stewardship(epoch, command.holder, now_ms)))
    return StewardDone(epoch)


def fenced[C: _Stewards](obey: Callable[[Books, int, C], Result]) -> Callable[[Books, int, C], Result]:
    """The same command, refused if it carries the epoch of a steward that is none any more."""

    def obey_fenced(books: Books, space: int, command: C) -> Result:
        if command.epoch:
            held = _held(books)
            if command.epoch != held.epoch:
                message = f"the command is of the steward of epoch {command.epoch}; the present epoch is {held.epoch}"
                return refused("StaleSteward", message)
        return obey(books, space, command)

    return obey_fenced


def _held(books: Books) -> Stewardship:
    row = books.rows.get(STEWARDSHIP_KEY)
    return Stewardship() if row is None else _decode(row)


def _held_by(held: Stewardship, now_ms: int) -> Failed:
    if not held.holder:
        return refused("StewardshipHeld", "nobody holds the stewardship; it is taken with epoch 0")
    message = f"{held.holder} holds the stewardship in epoch {held.epoch}, renewed {now_ms - held.renewed_ms} ms ago"
    return refused("StewardshipHeld", message)
