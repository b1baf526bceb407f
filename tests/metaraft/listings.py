"""What the tests of listings share: rows written straight in, rows that count looks, and the plain answer."""

from collections.abc import Iterator, Sequence

from hypothesis import strategies as st

from metaraft.memory_rows import MemoryRows
from metaraft.model import DEFAULT_SPACE, Body, DeleteMarker, Inline, Upload, Version
from metaraft.rows import Rows, null_key, upload_key, version_key, versions_key
from tests.metaraft.metadata import START_MS, Metadata, encode, etag

type Entry = tuple[str, bool]
"""A key or (True) a common prefix."""

letters = st.text(st.sampled_from("ab/é\U0010ffff\x01"), max_size=5)
some_keys = st.lists(letters.filter(bool), max_size=25, unique=True)
some_prefixes = letters.map(lambda text: text[:2])
some_delimiters = st.sampled_from(["", "/", "a", "ab", "//", "é/"])


def group(key: str, prefix: str, delimiter: str) -> str | None:
    """The common prefix of a key, as S3 and the contract of the listings define it."""
    at = key.find(delimiter, len(prefix)) if delimiter else -1
    return None if at < 0 else key[: at + len(delimiter)]


def entries(keys: Sequence[str], prefix: str, delimiter: str) -> list[Entry]:
    """All entries of a listing of objects."""
    found: dict[Entry, None] = {}
    for key in sorted(keys, key=str.encode):
        if key.startswith(prefix):
            common = group(key, prefix, delimiter)
            found[(key, False) if common is None else (common, True)] = None
    return list(found)


class Counting(MemoryRows):
    """Rows that count what is looked at, and how often a place is sought."""

    def __init__(self) -> None:
        super().__init__()
        self.looked = 0
        self.sought = 0

    def first(self, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        """As the twin's."""
        self.sought += 1
        row = super().first(start, stop)
        self.looked += row is not None
        return row

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """As the twin's."""
        self.sought += 1
        for row in super().scan(start, stop):
            self.looked += 1
            yield row


def counting(metadata: Metadata) -> Counting:
    """The same rows, nothing looked at so far."""
    rows = Counting()
    for key, value in metadata.rows.items():
        rows.put(key, value)
    return rows


def version(revision: int, *, deleted: bool = False, null: bool = False, data: bytes = b"data") -> Version:
    """A small version, or a delete marker."""
    body: Body = DeleteMarker() if deleted else Inline(data)
    size, tag = (0, "") if deleted else (len(data), etag(data))
    return Version(revision, START_MS + revision, size, tag, "text/plain", body, owner="me", null=null)


def keep_version(rows: Rows, key: str, one: Version, *, bucket_id: int = 1) -> None:
    """Write a version's row."""
    versions = versions_key(DEFAULT_SPACE, bucket_id, key.encode())
    rows.insert(version_key(versions, one.revision), encode(one))


def keep_null(rows: Rows, key: str, revision: int, *, bucket_id: int = 1) -> None:
    """Write the row that leads to a null version which is not the newest."""
    rows.put(null_key(DEFAULT_SPACE, bucket_id, key.encode()), encode(revision))


def upload_id(revision: int) -> bytes:
    """An upload's id."""
    return revision.to_bytes(8, "big") + b"nonce!!!"


def keep_upload(rows: Rows, key: str, revision: int, *, bucket_id: int = 1, created_ms: int = START_MS) -> Upload:
    """Write an upload's row."""
    upload = Upload(upload_id(revision), key, created_ms, 0, "me", "text/plain", tags={"a": "b"})
    rows.insert(upload_key(DEFAULT_SPACE, bucket_id, key.encode(), upload.upload_id), encode(upload))
    return upload
