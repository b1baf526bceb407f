"""The page on compatibility: it is of the table as it is, and nothing stands on it that no test shows."""

import re

import pytest

from api.s3.operation import Operation
from api.s3.table import OPERATIONS
from tests.compatibility import HOSTILE, PAGE, Sent, Shown, gaps, page

GET = Operation(
    "Get",
    "GET",
    "object",
    "GetObject",
    parameters=("versionId",),
    understood=("range", "x-amz-meta-*"),
    errors=("NoSuchKey",),
)
OF_GET = frozenset({"versionId"}), frozenset({"range", "x-amz-meta-*"})
EVERYTHING = [
    ("tests/api/s3/test_a.py", Sent("Get", *OF_GET, 200, "")),
    ("tests/api/s3/test_b.py", Sent("Get", frozenset(), frozenset(), 404, "NoSuchKey")),
    (HOSTILE, Sent("Get", frozenset(), frozenset(), 400, "InvalidArgument")),
]


def sections(text: str) -> dict[str, list[str]]:
    """The operations that each section of a page names, in order."""
    return {
        section.partition("\n")[0]: re.findall(r"^(?:\| |- )([A-Z]\w+)(?: \||$)", section, re.MULTILINE)
        for section in text.split("\n## ")[1:]
    }


@pytest.mark.parametrize("text", [PAGE.read_text(encoding="utf-8"), page([])], ids=["as it is", "without tests"])
def test_the_page_names_exactly_the_operations_of_the_table(text: str) -> None:
    named = {support: [each.name for each in OPERATIONS if each.support == support] for support in SECTIONS}
    assert sections(text) == {SECTIONS[support]: names for support, names in named.items()}


SECTIONS = {
    "full": "Operations",
    "none configured": "Configurations that cannot be made yet",
    "not implemented": "Not implemented",
}


def test_the_page_as_it_is_has_all_that_the_table_says() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for operation in OPERATIONS:
        if operation.support == "full":
            row = next(line for line in text.splitlines() if line.startswith(f"| {operation.name} |"))
            cells = [cell.replace("\\*", "*").split(", ") for cell in row.strip("| ").split(" | ")]
            known = (*operation.query, *dict(operation.values), *operation.parameters)
            for cell, names in zip(cells[1:], (known, operation.understood, operation.errors), strict=False):
                assert cell == (list(names) or ["-"]), operation.name


def test_what_all_tests_show_is_missing_nothing() -> None:
    assert list(Shown(GET, EVERYTHING).missing()) == []


@pytest.mark.parametrize(
    ("left_out", "missing"),
    [
        (0, ["success", "versionId", "range", "x-amz-meta-*"]),
        (1, ["NoSuchKey"]),
        (2, ["hostile input"]),
    ],
)
def test_what_no_test_shows_is_missing(left_out: int, missing: list[str]) -> None:
    shown = EVERYTHING[:left_out] + EVERYTHING[left_out + 1 :]
    assert list(Shown(GET, shown).missing()) == missing


def test_what_was_refused_or_hostile_shows_no_parameter_and_no_header() -> None:
    refused = [("tests/api/s3/test_a.py", Sent("Get", *OF_GET, 404, "NoSuchKey")), (HOSTILE, EVERYTHING[0][1])]
    assert list(Shown(GET, refused).missing()) == ["success", "versionId", "range", "x-amz-meta-*"]


def test_without_tests_every_operation_is_missing() -> None:
    assert [gap.partition(":")[0] for gap in gaps([])] == [operation.name for operation in OPERATIONS]
