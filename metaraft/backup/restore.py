"""What a new cluster begins with when it is made of a snapshot file: the old one's rows, and a log of its own.

Rules:
* Every member is made from the same file by the same pure steps, so all have equal rows; their journals are new (a
  restore restarts the log, and nothing in the rows names a place in it). They begin at entry 2, so that a member which
  replaces one of them later, with no rows and a log of its own, is never fed from entry 1: it fetches a copy.
* Revisions go on far above any that the old cluster may have given out after the snapshot was made (`REVISIONS_AHEAD`).
  So no version id, no cursor and no `seen` of that time can ever mean something here, and version ids of before stay.
* The horizon stays: an acknowledgement is compared with it only if its writer read a revision of the new cluster. A
  daemon that was adopted is told such a revision before it deletes anything, and counts all that it holds as seen then:
  it deletes a chunk only when the horizon has passed the moment of the restore.
* State time goes on from the rows', by the rule that it has anyway: a first leader begins at its wall clock, if that is
  ahead.
* The seats are the new members', whoever had them in the old cluster. Nobody is the steward: the epoch that the old one
  held would otherwise be waited for. Results that are kept for repeated commands stay: a client that repeats one gets
  what it was told, if it was told.
"""

import contextlib
import os
import shutil
from pathlib import Path

import msgspec

from cluster.config import Config, MemberConfig
from cluster.errors import Refused
from metaraft.backup.file import check_bytes, read_manifest
from metaraft.journal import Journal
from metaraft.rows import STEWARDSHIP_KEY, Kind, Rows, Space, prefix, successor
from metaraft.server import journal_directory, prepare
from metaraft.store import ORIGIN_INDEX, Origin

REVISIONS_AHEAD = 1 << 40
"""How far revisions jump: at 30,000 mutations a second the old cluster would need a year to reach it (chosen)."""

_encode = msgspec.msgpack.Encoder().encode
_decode_space = msgspec.msgpack.Decoder(Space).decode


def prepare_from(file: Path, config: Config, node: MemberConfig) -> None:
    """Make the journal and database of one member of a restored cluster. Blocking.

    Raises Refused (MemberExists, NoRoom, NotASnapshot, SnapshotFormat), Corrupt (SnapshotDamaged), OSError; then there
    is no member.
    """
    manifest = read_manifest(file)

    def lay(target: Path) -> None:
        needed = manifest.size + config.limits.free_bytes_min
        free = shutil.disk_usage(target.parent).free
        if free < needed:
            message = f"{target.parent} has {free} bytes free; the database has {manifest.size}"
            raise Refused("NoRoom", message, limit={"free_bytes_min": config.limits.free_bytes_min})
        with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as opened:
            check_bytes(file, manifest, lambda _count: None, opened.write)

    prepare(config, node, Origin(manifest.cluster_id, lay, begin_anew))
    journal = Journal.open(
        journal_directory(config, node),
        cluster_id=config.cluster_id,
        slot=node.slot,
        incarnation=node.incarnation,
        limits=config.limits,
    )
    with contextlib.closing(journal):
        journal.reset(ORIGIN_INDEX, 0)
        journal.sync()


def begin_anew(rows: Rows) -> None:
    """Make of the rows of an old cluster those that a new one begins with."""
    start = prefix(Kind.SPACE)
    for key, value in list(rows.scan(start, successor(start))):
        space = _decode_space(value)
        space.revision += REVISIONS_AHEAD
        rows.put(key, _encode(space))
    if rows.get(STEWARDSHIP_KEY) is not None:
        rows.delete(STEWARDSHIP_KEY)
