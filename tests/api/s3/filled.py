"""Buckets with something in them, and what their listings should say."""

from collections.abc import Iterable
from urllib.parse import quote

from hypothesis import strategies as st

from metaraft.commands import (
    DeleteObject,
    SetVersioning,
)
from tests.api.local_metadata import LocalMetadata
from tests.api.s3.speaking import ROOT, Answer, Speaking
from tests.metaraft.metadata import put

KEY = st.text("ab/é\U0001f600", min_size=1, max_size=5)
PREFIX, DELIMITER, LIMIT = st.text("ab/", max_size=2), st.text("a/", max_size=2), st.integers(1, 4)
NAMES, GONE = st.sets(KEY, max_size=12), st.sets(KEY, max_size=8)


def filled(*keys: str, versioned: bool = False, hurried: bool = False) -> Speaking:
    """`hurried`: time for a page is over after one question, and a question looks at three rows."""
    s3 = Speaking(meta=Hurried(), clock=iter(range(0, 1 << 30, 10)).__next__) if hurried else Speaking()
    s3.bucket()
    if versioned:
        s3.do(SetVersioning("bucket", "enabled"))
    for key in keys:
        s3.do(put(key, bucket="bucket", owner=ROOT.name))
    return s3


class Hurried(LocalMetadata):
    """Looks at three rows for each question."""

    rows_max = 3


def keys(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return answer.texts("Contents")


def prefixes(answer: Answer) -> list[str]:
    return answer.texts("CommonPrefixes", "Prefix")


def truncated(answer: Answer) -> bool:
    return answer.tree.value("IsTruncated") == "true"


def query(**parameters: object) -> str:
    return "&".join(f"{name.replace('_', '-')}={quote(str(value), safe='')}" for name, value in parameters.items())


def delete(s3: Speaking, names: Iterable[str]) -> None:
    for name in names:
        s3.do(DeleteObject("bucket", name))


def expected(names: Iterable[str], prefix: str, delimiter: str) -> list[str]:
    """All entries of a listing, in order."""
    found: set[str] = set()
    for name in names:
        if name.startswith(prefix):
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            found.add(name if cut < 0 else name[: cut + len(delimiter)])
    return sorted(found, key=str.encode)
