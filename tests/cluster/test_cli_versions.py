"""Versions, versioning and uploads on the command line: what is asked of the server, and what is shown."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from cluster.cli.main import main
from cluster.cli.options import Size
from tests.cluster.http_script import Script, Step, answering, error, scripted

KEYS = {"AWS_ACCESS_KEY_ID": "ROOT", "AWS_SECRET_ACCESS_KEY": "root-secret", "TRILITH_DIR": "", "AWS_CA_BUNDLE": ""}
WHEN = "2026-01-02T03:04:05.678Z"
NOTHING: dict[str, object] = {"prefixes": [], "cursor": None}


def trilith(script: Script, *arguments: str) -> Result:
    """Run a command against a script's server."""
    return CliRunner().invoke(main, [*arguments, "--endpoint", script.endpoint], env=KEYS)


def told(**values: object) -> Step:
    """An answer in JSON."""
    return answering(200, json.dumps(values).encode())


def version(key: str, version_id: str, *, deleted: bool = False) -> dict[str, object]:
    """A version as a listing tells it."""
    facts = {
        "latest": True,
        "delete_marker": deleted,
        "size": 0 if deleted else 7,
        "created": WHEN,
    }
    return {"key": key, "version_id": version_id, "etag": None, "sha256": None, "revision": 1, **facts}


def requests(script: Script) -> list[str]:
    """Method and path of all that was asked."""
    return [" ".join(seen.head.decode().split(" ")[:2]) for seen in script.seen]


def test_versions_are_listed_with_their_ids_page_by_page() -> None:
    first = told(versions=[version("a\n", "00ff"), version("a\n", "null")], prefixes=["b/"], cursor="c+")
    last = told(versions=[version("c", "00fe", deleted=True)], **NOTHING)
    with scripted(first, last) as script:
        lines = trilith(script, "ls", "--versions", "box").stdout.splitlines()
    assert requests(script) == [
        "GET /buckets/box/versions?limit=1000&delimiter=%2F",
        "GET /buckets/box/versions?limit=1000&delimiter=%2F&cursor=c%2B",
    ]
    assert [line.split() for line in lines] == [
        ["b/"],
        [WHEN, "7", "00ff", "a\\n"],
        [WHEN, "7", "null", "a\\n"],
        [WHEN, "deleted", "00fe", "c"],
    ]
    with scripted(first, last) as script:
        shown = json.loads(trilith(script, "ls", "-r", "--versions", "box/a", "--json").stdout)
    assert "GET /buckets/box/versions?limit=1000&prefix=a" in requests(script)
    assert [each["version_id"] for each in shown["versions"]] == ["00ff", "null", "00fe"]
    assert shown["prefixes"] == ["b/"]


def test_versioning_is_shown_enabled_and_suspended() -> None:
    for words, method, body, state in [
        ((), "GET", b"", "off"),
        (("enable",), "PUT", b'{"versioning":"enabled"}', "enabled"),
        (("suspend",), "PUT", b'{"versioning":"suspended"}', "suspended"),
    ]:
        with scripted(told(versioning=state)) as script:
            assert trilith(script, "versioning", "box", *words).stdout == f"versioning is {state}\n"
        assert (requests(script), script.seen[0].body) == ([f"{method} /buckets/box/versioning"], body)
        with scripted(told(versioning=state)) as script:
            shown = json.loads(trilith(script, "versioning", "box", *words, "--json").stdout)
        assert shown == {"bucket": "box", "versioning": state}


def test_a_version_is_asked_for_where_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for words, step, asked in [
        (("get", "box/a", str(file)), answering(200, b"x"), "GET /buckets/box/objects/a?version=00ff"),
        (("get", "box/a", "-"), answering(200, b"x"), "GET /buckets/box/objects/a?version=00ff"),
        (("stat", "box/a"), told(key="a"), "GET /buckets/box/objects/a?metadata=&version=00ff"),
        (("rm", "box/a"), answering(204), "DELETE /buckets/box/objects/a?version=00ff"),
        (("cp", "box/a", "box/b"), told(key="b"), "PUT /buckets/box/objects/b"),
    ]:
        with scripted(step) as script:
            assert trilith(script, *words, "--version", "00ff").exit_code == 0
        assert requests(script) == [asked]
        assert script.seen[0].header("X-Copy-Source-Version") == ("00ff" if words[0] == "cp" else "")


@pytest.mark.parametrize(
    "words",
    [
        ("ls", "--versions"),
        ("get", "-r", "box/a", "folder", "--version", "00ff"),
        ("cp", "-r", "box/a", "box/b", "--version", "00ff"),
        ("rm", "-r", "box/a", "--version", "00ff"),
        ("stat", "box", "--version", "00ff"),
        ("versioning", "box", "off"),
        ("put", "file", "box/a", "--part-size", "many"),
        ("put", "file", "box/a", "--jobs", "0"),
        ("uploads", "abort", "box", "a"),
    ],
)
def test_what_makes_no_sense_is_a_wrong_command_line(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, [*words, "--endpoint", "http://127.0.0.1:1"], env=KEYS)
    assert done.exit_code == 2, done.output


def test_uploads_are_listed_and_aborted() -> None:
    entry = {"upload_id": "cafe", "bucket": "box", "key": "a ü", "created": WHEN}
    with scripted(told(uploads=[entry], **NOTHING)) as script:
        assert trilith(script, "uploads", "ls", "box/a").stdout == f"{WHEN}  cafe  a ü\n"
    assert requests(script) == ["GET /buckets/box/uploads?limit=1000&prefix=a"]
    with scripted(told(uploads=[entry], **NOTHING)) as script:
        assert json.loads(trilith(script, "uploads", "ls", "box", "--json").stdout) == {"uploads": [entry]}
    with scripted(answering(204)) as script:
        assert trilith(script, "uploads", "abort", "box", "a ü", "cafe").stdout == "aborted cafe of box/a ü\n"
    assert requests(script) == ["DELETE /buckets/box/uploads/cafe?key=a%20%C3%BC"]
    with scripted(answering(404, error("NoSuchUpload"))) as script:
        assert trilith(script, "uploads", "abort", "box", "a", "cafe").exit_code == 3


def test_a_bucket_is_emptied_of_all_versions_and_uploads_before_it_is_removed() -> None:
    upload = {"upload_id": "cafe", "bucket": "box", "key": "b", "created": "t"}
    steps = (
        told(versions=[version("a", "02", deleted=True), version("a", "01")], **NOTHING),
        answering(204),
        answering(204),
        told(uploads=[upload], **NOTHING),
        answering(204),
        answering(204),
    )
    with scripted(*steps) as script:
        done = trilith(script, "rb", "-r", "box", "--json")
    assert json.loads(done.stdout) == {"bucket": "box", "objects_removed": 1}
    assert requests(script) == [
        "GET /buckets/box/versions?limit=1000",
        "DELETE /buckets/box/objects/a?version=02",
        "DELETE /buckets/box/objects/a?version=01",
        "GET /buckets/box/uploads?limit=1000",
        "DELETE /buckets/box/uploads/cafe?key=b",
        "DELETE /buckets/box",
    ]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("0", 0), ("16777216", 1 << 24), ("9b", 9), ("1K", 1024), ("5 GiB", 5 << 30)),
        *(("16M", 1 << 24), ("16mb", 1 << 24), ("16MiB", 1 << 24)),
    ],
)
def test_sizes_are_read_with_their_units(text: str, size: int) -> None:
    assert Size().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5M", "1MM", "1 i", "1X", "٣", "1" * 16])
def test_what_is_no_size_is_told(text: str) -> None:
    with pytest.raises(click.BadParameter, match="not a size"):
        Size().convert(text, None, None)
