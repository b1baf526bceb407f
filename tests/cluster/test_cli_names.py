"""`bucket/key` on the command line: only the first slash divides, and no key leaves the folder it is fetched into."""

from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.cli import names
from cluster.cli.names import Name
from cluster.errors import Refused

FOLDER = Path("/folder")


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("box", "box", ""),
        ("box/", "box", ""),
        ("box/a", "box", "a"),
        ("box//a", "box", "/a"),
        ("box/a/", "box", "a/"),
        ("box/../x", "box", "../x"),
        ("box/a b?c#d%2F+é😀", "box", "a b?c#d%2F+é😀"),
        ("s3://box/a", "box", "a"),
        ("trilith://box/s3://x", "box", "s3://x"),
    ],
)
def test_only_the_first_slash_divides(text: str, bucket: str, key: str) -> None:
    assert names.parse(text) == Name(bucket, key)


@pytest.mark.parametrize("text", ["", "/", "/key", "s3://"])
def test_name_without_a_bucket_is_a_wrong_command_line(text: str) -> None:
    with pytest.raises(click.UsageError, match="BUCKET/KEY"):
        names.parse(text)


def test_key_is_asked_for_where_one_is_needed() -> None:
    assert names.with_key("box/k") == Name("box", "k")
    assert names.with_key("box/k", "null") == Name("box", "k", "null")
    with pytest.raises(click.UsageError, match="names no key"):
        names.with_key("box/")


def test_argument_that_is_not_utf8_is_no_key() -> None:
    with pytest.raises(Refused, match=r"caf\\xe9"):
        names.parse(b"box/caf\xe9".decode("utf-8", "surrogateescape"))
    with pytest.raises(Refused, match=r"caf\\xe9"):
        names.with_key("box/k", b"caf\xe9".decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    ("target", "source", "key"),
    [
        ("box", "file.txt", "file.txt"),
        ("box/", "dir/file.txt", "file.txt"),
        ("box/in/", "dir/file.txt", "in/file.txt"),
        ("box/in", "dir/file.txt", "in"),
        ("box/in/", "box/deep/", "in/deep"),
    ],
)
def test_target_takes_the_sources_last_name(target: str, source: str, key: str) -> None:
    assert names.target_for(names.parse(target), source) == Name("box", key)


@pytest.mark.parametrize("source", ["-", "/", "", "..", "a/.."])
def test_source_without_a_name_gives_none(source: str) -> None:
    with pytest.raises(click.UsageError, match="no name to take"):
        names.target_for(Name("box", "in/"), source)


@pytest.mark.parametrize(
    ("prefix", "key", "relative"),
    [
        ("", "a/b", "a/b"),
        ("in/", "in/a", "a"),
        ("in", "in/a", "in/a"),
        ("in/de", "in/deep/a", "deep/a"),
        ("in/a", "in/a", "a"),
    ],
)
def test_names_below_a_target_begin_behind_the_prefixs_last_slash(prefix: str, key: str, relative: str) -> None:
    assert names.relative_to(prefix, key) == relative
    assert names.file_for(FOLDER, key, prefix) == FOLDER / relative


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", "a//b", "a/", ".", "..", "a/./b", "ü" * 128])
def test_key_that_no_file_can_be_called_is_refused(key: str) -> None:
    with pytest.raises(Refused) as raised:
        names.file_for(FOLDER, key, "")
    assert raised.value.code == "UnsafeKey"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), st.text(max_size=3))
def test_no_key_leaves_the_folder(key: str, prefix: str) -> None:
    try:
        file = names.file_for(FOLDER, prefix + key, prefix)
    except Refused:
        return
    assert file.is_relative_to(FOLDER)
    assert ".." not in file.parts
    assert file != FOLDER


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join))
def test_different_keys_are_different_files(key: str) -> None:
    assert str(names.file_for(FOLDER, key, "")) == f"/folder/{key}"


def test_file_that_is_also_a_folder_is_found_before_the_first_byte() -> None:
    names.refuse_file_and_folder([FOLDER / "a", FOLDER / "b" / "c", FOLDER / "bb"])
    with pytest.raises(Refused, match="would be a file and the folder of"):
        names.refuse_file_and_folder([FOLDER / "b" / "c" / "d", FOLDER / "a", FOLDER / "b"])


def test_prefix_as_a_folder() -> None:
    assert [names.as_folder(prefix) for prefix in ("", "a", "a/")] == ["", "a/", "a/"]
