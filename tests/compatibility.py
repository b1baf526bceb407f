"""Writes `docs/compatibility.md`: what of S3 there is, from the table of operations and the outcome of the tests.

The tests of the S3 dialect run with every request noted on its way into the dialect: its operation, parameters, headers
and answer. What a failing test has sent does not count. `make compatibility` runs this.
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

_UNTOLD = frozenset({"x-amz-content-sha256", "x-amz-date", "x-amz-decoded-content-length"})
"""Headers of signatures, which every operation has."""

_TOLD = frozenset(
    {
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-md5",
        "content-type",
        "expires",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "range",
    }
)
"""Headers that S3 shares with HTTP."""


class Sent(NamedTuple):
    """One request of a test, and what it was answered."""

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
            parameters = frozenset(query.keys() & {*operation.parameters, *operation.query})
            headers = frozenset(name for name in request.headers if name in _TOLD or _is_s3s(name))
            self.sent[self._test].append(
                Sent(operation.name, parameters, headers, response.status, response.error_code)
            )

    def passed(self) -> Iterator[tuple[str, Sent]]:
        """What passing tests have sent, with the file of each."""
        for test, requests in self.sent.items():
            if test not in self.failed:
                yield from ((test.partition("::")[0], request) for request in requests)


def _is_s3s(name: str) -> bool:
    return name.startswith("x-amz-") and name not in _UNTOLD and not name.startswith("x-amz-meta-")


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


def page(requests: Iterable[tuple[str, Sent]]) -> str:
    """The page as Markdown."""
    by_operation: dict[str, list[tuple[str, Sent]]] = defaultdict(list)
    for file, request in requests:
        by_operation[request.operation].append((file, request))
    full = [operation for operation in OPERATIONS if operation.support == "full"]
    none = [operation for operation in OPERATIONS if operation.support == "none configured"]
    absent = [operation for operation in OPERATIONS if operation.support == "not implemented"]
    lines = [
        "# What of S3 there is",
        "",
        "Made by `make compatibility` from the table of operations (`api/s3/table.py`) and from what the tests of the",
        "S3 dialect send and see; do not edit it by hand. A parameter, header or error stands here only if a passing",
        "test has it. Errors that every operation may have (signatures, access, limits) are tested apart.",
        "",
        f"{len(full)} operations are there, {len(none)} answer that nothing is configured, {len(absent)} are refused",
        "with 501 NotImplemented.",
        "",
        "## Operations",
        "",
        "| operation | parameters | headers | documented errors seen | tested in |",
        "|---|---|---|---|---|",
        *(_row(operation, by_operation[operation.name]) for operation in full),
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
        ", ".join(operation.name for operation in absent) + ".",
        "",
        "Of all operations, these are refused and never ignored: server-side encryption, object lock, storage classes",
        "other than STANDARD, access control lists other than the owner's own, MFA delete.",
        "",
    ]
    return "\n".join(lines)


def _row(operation: Operation, seen: list[tuple[str, Sent]]) -> str:
    good = [request for _, request in seen if request.status < 400]
    parameters = sorted({name for request in good for name in request.parameters})
    headers = sorted({name for request in good for name in request.headers})
    codes = {request.code for _, request in seen if request.code}
    errors = [code for code in operation.errors if code in codes]
    files = sorted({Path(file).stem for file, _ in seen})
    cells = [operation.name, *(", ".join(cell) or "-" for cell in (parameters, headers, errors, files))]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Run the tests and write the page; pytest's exit code."""
    recorder, code = record()
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(recorder.passed()), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
