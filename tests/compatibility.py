"""Writes `docs/compatibility.md`: what of S3 there is, from the table of operations and the outcome of the tests.

The tests of the S3 dialect run with every request noted on its way into the dialect: its operation, parameters, headers
and answer. What a failing test has sent does not count, and what hostile tests have sent shows nothing but that.
`make compatibility` runs this; it fails if the tests do not show all that the table says.
"""

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from api.messages import Request, Response, parse_query
from api.s3.address import resolve
from api.s3.dialect import S3Dialect
from api.s3.operation import Operation, Target
from api.s3.table import OPERATIONS, route
from cluster.errors import TrilithError

PAGE = Path(__file__).resolve().parent.parent / "docs" / "compatibility.md"
TESTS = "tests/api/s3"
HOSTILE = f"{TESTS}/test_hostile.py"


class Sent(NamedTuple):
    """One request of a test, and what it was answered; `headers` in the table's words, for those that count."""

    operation: str
    parameters: frozenset[str]
    headers: frozenset[str]
    status: int
    code: str


class Recorder:
    """A pytest plugin that notes requests, by the test that sent them."""

    def __init__(self) -> None:
        self.sent: dict[str, list[Sent]] = defaultdict(list)
        self.failed: set[str] = set()
        self._test = ""

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        self._test = nodeid

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A part of a test has ended."""
        if report.failed:
            self.failed.add(report.nodeid)

    def note(self, request: Request, response: Response, domains: tuple[str, ...]) -> None:
        """One request was answered."""
        address = resolve(request.headers.get("host", ""), request.path, domains)
        target: Target = "service" if address.bucket is None else "bucket" if address.key is None else "object"
        try:
            query = parse_query(request.query)
        except TrilithError:
            return
        is_form = request.headers.get("content-type", "").startswith("multipart/form-data")
        operation = route(target, request.method, query, {} if is_form else request.headers)
        if operation is not None:
            parameters = frozenset(query.keys() & {*parameters_of(operation)})
            words = {operation.word_for(name) for name in request.headers}
            headers = frozenset(word for word in words if word is not None)
            self.sent[self._test].append(
                Sent(operation.name, parameters, headers, response.status, response.error_code)
            )

    def passed(self) -> Iterator[tuple[str, Sent]]:
        """What passing tests have sent, with the file of each."""
        for test, requests in self.sent.items():
            if test not in self.failed:
                yield from ((test.partition("::")[0], request) for request in requests)


def record() -> tuple[Recorder, int]:
    """Run the tests and note what they send; pytest's exit code."""
    recorder = Recorder()
    answer = S3Dialect.answer

    async def noted(self: S3Dialect, request: Request) -> Response:
        response = await answer(self, request)
        recorder.note(request, response, self._on.domains)
        return response

    S3Dialect.answer = noted  # type: ignore[method-assign]
    try:
        code = pytest.main([TESTS, "-m", "not long and not probe and not clients"], plugins=[recorder])
    finally:
        S3Dialect.answer = answer  # type: ignore[method-assign]
    return recorder, int(code)


class Shown:
    """What passing tests show of one operation."""

    def __init__(self, operation: Operation, seen: Iterable[tuple[str, Sent]]) -> None:
        self.operation = operation
        told = [(file, request) for file, request in seen if request.operation == operation.name]
        fair = [(file, request) for file, request in told if file != HOSTILE]
        done = [request for _, request in fair if request.status < 400]
        codes = {request.code for _, request in fair}
        self.is_hostile = len(told) > len(fair)
        self.is_done = bool(done) or operation.none in codes
        self.is_refused = "NotImplemented" in codes
        self.parameters = _in_order(parameters_of(operation), (name for each in done for name in each.parameters))
        self.headers = _in_order(operation.understood, (name for each in done for name in each.headers))
        self.errors = _in_order(operation.errors, codes)
        self.files = sorted({Path(file).stem for file, _ in fair})

    def missing(self) -> Iterator[str]:
        """What the table says and no test shows."""
        if not self.is_hostile:
            yield "hostile input"
        if self.operation.support == "not implemented":
            if not self.is_refused:
                yield "NotImplemented"
            return
        if not self.is_done:
            yield "success"
        yield from (code for code in self.operation.errors if code not in self.errors)
        if self.operation.support == "full":
            yield from (name for name in parameters_of(self.operation) if name not in self.parameters)
            yield from (name for name in self.operation.understood if name not in self.headers)


def parameters_of(operation: Operation) -> tuple[str, ...]:
    """All query parameters that an operation understands."""
    return (*operation.query, *dict(operation.values), *operation.parameters)


def _in_order(known: Iterable[str], seen: Iterable[str]) -> list[str]:
    found = {*seen}
    return [name for name in known if name in found]


def gaps(seen: Iterable[tuple[str, Sent]]) -> list[str]:
    """For each operation that the tests show less of than the table says: what they do not."""
    requests = list(seen)
    missing = {operation.name: list(Shown(operation, requests).missing()) for operation in OPERATIONS}
    return [f"{name}: no test has {', '.join(words)}" for name, words in missing.items() if words]


def page(seen: Iterable[tuple[str, Sent]]) -> str:
    """The page as Markdown."""
    requests = list(seen)
    full = [operation for operation in OPERATIONS if operation.support == "full"]
    none = [operation for operation in OPERATIONS if operation.support == "none configured"]
    absent = [operation for operation in OPERATIONS if operation.support == "not implemented"]
    lines = [
        "# What of S3 there is",
        "",
        "Made by `make compatibility` from the table of operations (`api/s3/table.py`) and from what the tests of the",
        "S3 dialect send and see; do not edit it by hand. A parameter or header stands here only if a passing test has",
        "it in a request that was done, an error only if a passing test was answered with it. Every operation is sent",
        "what no client should send, too (`tests/api/s3/test_hostile.py`). Headers and errors that every operation may",
        "have (signatures, access, limits) are tested apart.",
        "",
        f"{len(full)} operations are there, {len(none)} answer that nothing is configured, {len(absent)} are refused",
        "with 501 NotImplemented.",
        "",
        "## Operations",
        "",
        "| operation | parameters | headers | documented errors | tested in |",
        "|---|---|---|---|---|",
        *(_row(Shown(operation, requests)) for operation in full),
        "",
        "## Configurations that cannot be made yet",
        "",
        "Asked for, they answer as S3 does where none is configured; a call that would make one is refused (below).",
        "",
        "| operation | answer |",
        "|---|---|",
        *(f"| {operation.name} | {operation.none or 'nothing to remove: 204'} |" for operation in none),
        "",
        "## Not implemented",
        "",
        *(f"- {operation.name}" for operation in absent),
        "",
        "Of all operations, these are refused and never ignored: server-side encryption, object lock, storage classes",
        "other than STANDARD, access control lists other than the owner's own, MFA delete.",
        "",
    ]
    return "\n".join(lines)


def _row(shown: Shown) -> str:
    columns = (shown.parameters, shown.headers, shown.errors, shown.files)
    cells = [shown.operation.name, *(", ".join(column).replace("*", "\\*") or "-" for column in columns)]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Run the tests and write the page; pytest's exit code, or 1 if the tests do not show what the table says."""
    recorder, code = record()
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(recorder.passed()), encoding="utf-8")
    found = gaps(recorder.passed())
    sys.stderr.writelines(f"{gap}\n" for gap in found)
    return code or int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
