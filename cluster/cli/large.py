"""A large file stored in parts, and resumed by itself after an interruption.

What is kept of an upload until it is done (`cluster.cli.resuming`) names the file as it was: one that changed, and an
upload that is gone, begin anew. Nothing is visible before all parts are stored; the object is then made of the very
parts whose MD5s were computed here, and what the server says of it is compared with them.
"""

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from cluster.cli import resuming
from cluster.cli.access import Access
from cluster.cli.http import Client, decode
from cluster.cli.listings import LIST_PAGE, pages
from cluster.cli.names import Name
from cluster.cli.output import Meter
from cluster.cli.parts import ATTEMPTS, JOBS, PartEntry, Sender, Upload, part_bytes_for, pieces
from cluster.cli.paths import upload_path, uploads_path
from cluster.cli.resuming import Kept, State
from cluster.cli.store import content_type
from cluster.errors import Corrupt, OutcomeUnknown, Refused, TrilithError
from cluster.limits import MIB

LARGE_BYTES = 64 * MIB
"""Files above this are stored in parts. A smaller one is sent again as a whole within seconds, and by fewer calls."""

_GONE = ("NoSuchUpload", "NoSuchBucket")


@dataclass(frozen=True, slots=True)
class How:
    """What the command line says. `part_bytes` None: as fits the file. Not to `resume`: begin anew, and abort what is
    interrupted."""

    part_bytes: int | None = None
    jobs: int = JOBS
    resume: bool = True


class PartPage(msgspec.Struct):
    """One page of an upload's parts."""

    parts: list[PartEntry]
    cursor: str | None


def is_large(file: Path) -> bool:
    """Whether a file is stored in parts."""
    return file.is_file() and file.stat().st_size > LARGE_BYTES


def put_file(
    access: Access,
    file: Path,
    target: Name,
    meter: Meter,
    headers: dict[str, str],
    how: How,
    note: Callable[[str], None],
) -> dict[str, Any]:
    """Store a regular file; what the server says of the object, with `parts` and `resumed_parts`.

    `note` is called with what the person should know when this raises. Raises Refused (FileChanged) and what the calls
    do; the upload then stays, to be resumed.
    """
    with (
        file.open("rb") as opened,
        _kept(access.endpoint, target, file, note) as kept,
        Client(access, attempts=ATTEMPTS) as client,
    ):
        resumes = how.resume and kept is not None
        facts = os.fstat(opened.fileno())
        described = {"Content-Type": content_type(file.name), **headers}
        state = State(
            endpoint=access.endpoint,
            bucket=target.bucket,
            key=target.key,
            file=os.fsencode(os.path.realpath(file)).decode(errors="replace"),
            headers=described,
            size=facts.st_size,
            mtime_ns=facts.st_mtime_ns,
            upload_id="",
            part_bytes=part_bytes_for(facts.st_size, how.part_bytes),
        )
        upload = None if kept is None else _resumed(client, kept, target, state, how)
        if upload is None:
            upload = _begun(client, target, described, state.part_bytes)
            if kept is not None and resumes:
                kept.write(msgspec.structs.replace(state, upload_id=upload.upload_id))
        wanted = pieces(facts.st_size, upload.part_bytes)
        client.close()  # the server would not keep it open for as long as the parts may take
        sender = Sender(access, opened.fileno(), upload, meter)
        meter.start(target.key, facts.st_size)
        try:
            sender.run(wanted, how.jobs)
            _refuse_changed(file, opened, facts)
            stored = _completed(client, upload, sender.etags)
        except BaseException as error:
            if resumes and not _is_changed(error):
                note(f"{len(sender.etags)} of {len(wanted)} parts are stored; the same command goes on from there")
            else:
                _give_up(client, kept, upload, note)
            raise
        if kept is not None:
            kept.clear()
        _verify(stored, upload, sender.etags, facts.st_size)
        return stored | {"parts": len(wanted), "resumed_parts": sender.resumed}


@contextlib.contextmanager
def _kept(endpoint: str, target: Name, file: Path, note: Callable[[str], None]) -> Iterator[Kept | None]:
    """What is kept of the file's upload; None where nothing can be."""
    with contextlib.ExitStack() as stack:
        try:
            kept = stack.enter_context(resuming.kept(endpoint, target, file))
        except (OSError, RuntimeError) as error:  # what pathlib raises where there is no home
            note(f"an upload of {file} cannot be resumed, because its state cannot be kept: {error}")
            kept = None
        yield kept


def _resumed(client: Client, kept: Kept, target: Name, now: State, how: How) -> Upload | None:
    """The upload that is kept, if it is of the same file and there; what cannot be resumed is aborted."""
    before = kept.read()
    if before is None:
        return None
    part_bytes = before.part_bytes if how.part_bytes is None else now.part_bytes
    same = before == msgspec.structs.replace(now, upload_id=before.upload_id, part_bytes=part_bytes)
    if same and how.resume:
        there = _parts(client, target, before.upload_id)
        if there is not None:
            return Upload(target, before.upload_id, before.part_bytes, there)
    else:
        abort(client, target, before.upload_id)
    kept.clear()
    return None


def _parts(client: Client, target: Name, upload_id: str) -> dict[int, PartEntry] | None:
    """The parts that the server has of an upload, None if that is gone."""
    query = {"key": target.key, "limit": str(LIST_PAGE)}
    try:
        found = pages(client, upload_path(target.bucket, upload_id), PartPage, query)
        return {part.number: part for page in found for part in page.parts}
    except Refused as error:
        if error.code not in _GONE:
            raise
        return None


def _begun(client: Client, target: Name, headers: dict[str, str], part_bytes: int) -> Upload:
    answer = client.call("POST", uploads_path(target.bucket), query={"key": target.key}, headers=headers)
    return Upload(target, str(decode(answer, dict[str, Any])["upload_id"]), part_bytes, {})


def _completed(client: Client, upload: Upload, etags: Mapping[int, str]) -> dict[str, Any]:
    parts = [{"number": number, "etag": etags[number]} for number in sorted(etags)]
    body = msgspec.json.encode({"parts": parts})
    answer = client.call(
        "POST",
        upload_path(upload.target.bucket, upload.upload_id),
        query={"key": upload.target.key},
        headers={"Content-Type": "application/json"},
        body=lambda: io.BytesIO(body),
        size=len(body),
    )
    return decode(answer, dict[str, Any])


def _verify(stored: dict[str, Any], upload: Upload, etags: Mapping[int, str], size: int) -> None:
    """Raises Corrupt (BadDigest) if the object is not made of these parts (S3: its ETag is the MD5 of their MD5s)."""
    digests = b"".join(bytes.fromhex(etags[number]) for number in sorted(etags))
    etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(etags)}"
    if (stored.get("size"), stored.get("etag")) != (size, etag):
        raise Corrupt("BadDigest", f"{upload.target}: what was stored is not what was sent; delete the object")


def _refuse_changed(file: Path, opened: BinaryIO, before: os.stat_result) -> None:
    now = os.fstat(opened.fileno())
    if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise Refused("FileChanged", f"{file} was changed while it was stored")


def _is_changed(error: BaseException) -> bool:
    return isinstance(error, Refused) and error.code == "FileChanged"


def _give_up(client: Client, kept: Kept | None, upload: Upload, note: Callable[[str], None]) -> None:
    if kept is not None:
        kept.clear()
    try:
        if abort(client, upload.target, upload.upload_id):
            note("the upload was aborted")
    except TrilithError as error:
        note(f"the upload {upload.upload_id} could not be aborted: {error.message}")


def abort(client: Client, target: Name, upload_id: str) -> bool:
    """End an upload and discard its parts; whether there was one."""
    try:
        client.call("DELETE", upload_path(target.bucket, upload_id), query={"key": target.key}).body()
    except (Refused, OutcomeUnknown) as error:  # unknown, but gone: perhaps by an earlier attempt
        if error.code not in _GONE:
            raise
        return False
    return True
