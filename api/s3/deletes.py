"""DeleteObjects: up to 1,000 keys or versions in one request, each with an outcome of its own.

Deletes of one key run in the order of the request, those of several beside each other. An entry that is there twice is
done once. Each is allowed or not by itself. Source: S3 API reference, 'DeleteObjects'.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import trio

from api.access.decisions import Action, Context
from api.access.gate import Gate
from api.conditions import NO_CONDITION, parse_date_ms, parse_tags
from api.messages import Response
from api.names import decode_key
from api.operations.objects import Objects
from api.operations.values import Deleted
from api.operations.versions import parse_version
from api.s3 import xml
from api.s3.answers import answer
from api.s3.documents import read_document
from api.s3.errors import s3_code
from api.s3.exchange import Exchange
from api.s3.lookups import exists
from api.s3.objects import byte_count, holds_without_object
from api.times import parse_iso_ms
from cluster.errors import Refused, TrilithError
from metaraft.commands import (
    Condition,
)

KEYS_MAX = 1000
"""S3: DeleteObjects."""

AT_ONCE = 16
"""Commits under way for one request: enough for a full batch in the log, few enough to leave others room (chosen)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One `Object` of the request, as its text says it."""

    key: str
    version_id: str | None = None
    etag: str | None = None
    made: str | None = None
    size: str | None = None


type Outcome = Deleted | TrilithError


class DeletesHandler:
    """The request that deletes many."""

    def __init__(self, objects: Objects, gate: Gate) -> None:
        self._objects = objects
        self._gate = gate

    async def post(self, exchange: Exchange) -> Response:
        """DeleteObjects."""
        entries, quiet = parse_delete(await read_document(exchange, "Delete", checked=True, most=xml.BODY_BYTES_MAX))
        outcomes: dict[Entry, Outcome] = {}
        groups = iter(_by_key(entries))
        async with trio.open_nursery() as nursery:
            for _ in range(min(AT_ONCE, len(entries))):
                nursery.start_soon(self._work, exchange, groups, outcomes)
        for outcome in outcomes.values():
            if isinstance(outcome, Refused) and outcome.code == "NoSuchBucket":
                raise outcome
        results = [result_of(entry, outcomes[entry], quiet=quiet) for entry in entries]
        return answer(xml.document("DeleteResult", results))

    async def _work(self, exchange: Exchange, groups: Iterator[list[Entry]], outcomes: dict[Entry, Outcome]) -> None:
        for group in groups:
            for entry in group:
                try:
                    outcomes[entry] = await self._delete(exchange, entry)
                except TrilithError as error:
                    outcomes[entry] = error

    async def _delete(self, exchange: Exchange, entry: Entry) -> Deleted:
        bucket, call = exchange.bucket, exchange.call
        if not entry.key:
            raise Refused("UserKeyMustBeSpecified", "A key must not be empty.")
        key = decode_key(entry.key.encode())
        version = None if entry.version_id is None else parse_version(entry.version_id)
        condition = _condition(entry)
        action: Action = "DeleteObject" if version is None else "DeleteObjectVersion"
        await self._gate.require(action, bucket, key, call, Context(exchange.request.client))
        try:
            return await self._objects.delete(bucket, key, condition, call, version=version)
        except Refused as error:
            if not holds_without_object(condition, error) or await exists(self._objects, bucket, key, call):
                raise
            return Deleted(entry.version_id, delete_marker=False, existed=False)


def parse_delete(document: xml.Node) -> tuple[list[Entry], bool]:
    """What is to be deleted, and whether only errors are to be told. Raises Refused (MalformedXML)."""
    entries = [_entry(node) for node in document.all("Object")]
    if not 1 <= len(entries) <= KEYS_MAX:
        raise xml.malformed(f"it has {len(entries)} objects; 1 to {KEYS_MAX} are allowed")
    quiet = document.value("Quiet") or "false"
    if quiet.lower() not in ("true", "false"):
        raise xml.malformed(f"Quiet is true or false, not {quiet[:40]!r}")
    return entries, quiet.lower() == "true"


def _entry(node: xml.Node) -> Entry:
    key = xml.required(node, "Key").text
    version_id = node.value("VersionId") or None
    return Entry(key, version_id, node.value("ETag"), node.value("LastModifiedTime"), node.value("Size"))


def _condition(entry: Entry) -> Condition:
    if entry.etag is None and entry.made is None and entry.size is None:
        return NO_CONDITION
    made_ms: int | None = None
    if entry.made is not None:
        made_ms = parse_iso_ms(entry.made) or parse_date_ms(entry.made)
        if made_ms is None:
            raise Refused("InvalidArgument", f"LastModifiedTime {entry.made[:40]!r} is no time")
    return Condition(
        if_match=parse_tags("ETag", entry.etag, weak=False),
        if_made_ms=made_ms,
        if_size=None if entry.size is None else byte_count("Size", entry.size),
    )


def _by_key(entries: Iterable[Entry]) -> list[list[Entry]]:
    """The entries without repetitions, those of one key together in their order."""
    groups: dict[str, list[Entry]] = {}
    for entry in dict.fromkeys(entries):
        groups.setdefault(entry.key, []).append(entry)
    return list(groups.values())


def result_of(entry: Entry, outcome: Outcome, *, quiet: bool) -> str:
    """What is told of one entry."""
    named = xml.element("Key", entry.key) + xml.optional("VersionId", entry.version_id)
    if isinstance(outcome, TrilithError):
        return xml.group("Error", named, xml.element("Code", s3_code(outcome)), xml.element("Message", outcome.message))
    if quiet:
        return ""
    marker = ""
    if outcome.delete_marker:
        marker = xml.flag("DeleteMarker", True) + xml.optional("DeleteMarkerVersionId", outcome.version_id)
    return xml.group("Deleted", named, marker)
