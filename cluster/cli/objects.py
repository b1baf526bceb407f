"""`trilith put get cp rm stat`: objects of a running cluster."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from cluster.cli import large, listings, names, parts, store
from cluster.cli.access import Access, find
from cluster.cli.http import Client
from cluster.cli.options import Size, client_of, reaches_cluster
from cluster.cli.output import Meter, command, human_bytes, meter, print_json, say, shown
from cluster.errors import Refused


@click.command()
@click.argument("source")
@click.argument("target")
@click.option("-r", "--recursive", is_flag=True, help="SOURCE is a folder; TARGET a prefix.")
@click.option("--content-type", help="Instead of a guess from the file's name.")
@click.option(
    "--part-size", type=Size(), help="Of a file above 64 MiB, which is stored in parts (default: as fits it)."
)
@click.option("--jobs", type=click.IntRange(1, 64), default=parts.JOBS, show_default=True, help="Parts at once.")
@click.option("--no-resume", is_flag=True, help="Begin anew, and abort what is interrupted.")
@reaches_cluster
@command
def put(
    source: str,
    target: str,
    recursive: bool,
    content_type: str | None,
    part_size: int | None,
    jobs: int,
    no_resume: bool,
    directory: str | None,
    endpoint: str | None,
    as_json: bool,
) -> None:
    """Store a file, or standard input (-), as BUCKET/KEY.

    A file above 64 MiB goes in parts. If that is interrupted, the same command goes on from where it was, unless the
    file has changed.
    """
    if recursive and source == "-":
        raise click.UsageError("standard input (-) is no folder; leave out --recursive")
    headers = {"Content-Type": content_type} if content_type else {}
    how = large.How(part_size, jobs, resume=not no_resume)
    stored: list[dict[str, Any]] = []
    notes: list[str] = []
    access = find(directory, endpoint)
    with (
        _told(lambda: _stored(stored), notes, quiet=as_json),
        Client(access) as client,
        meter(quiet=as_json) as progress,
    ):
        if source == "-":
            stored.append(store.put_stream(client, names.with_key(target), progress, headers))
        elif recursive:
            for file, name in _files_below(Path(source), names.parse(target)):
                stored.append(_put(access, client, file, name, progress, headers, how, notes))
        else:
            name = names.target_for(names.parse(target), source)
            stored.append(_put(access, client, Path(source), name, progress, headers, how, notes))
    if as_json:
        print_json({"stored": stored})


def _put(
    access: Access,
    client: Client,
    file: Path,
    name: names.Name,
    progress: Meter,
    headers: dict[str, str],
    how: large.How,
    notes: list[str],
) -> dict[str, Any]:
    if large.is_large(file):
        return large.put_file(access, file, name, progress, headers, how, notes.append)
    return store.put_file(client, file, name, progress, headers)


def _stored(made: list[dict[str, Any]]) -> Iterator[str]:
    for each in made:
        line = f"stored {shown(each['bucket'] + '/' + each['key'])} {human_bytes(each['size'])}"
        if "parts" in each:
            line += f" in {each['parts']} parts"
            line += f", {each['resumed_parts']} of them before" if each["resumed_parts"] else ""
        yield line


def _files_below(folder: Path, target: names.Name) -> list[tuple[Path, names.Name]]:
    """All regular files (also by a link) below a folder with their names; what is left out is said."""
    if not folder.is_dir():
        raise Refused("NoSuchFile" if not folder.exists() else "NotAFolder", f"{folder} is not a folder")

    def fail(error: OSError) -> None:
        raise error  # a folder that cannot be read is no empty folder

    found: list[Path] = []
    for root, folders, files in folder.walk(on_error=fail):
        for path in [root / name for name in folders + files]:
            if path.is_file():
                found.append(path)
            elif path.is_symlink() or not path.is_dir():
                say(f"left out: {shown(str(path))} ({'a link to no file' if path.is_symlink() else 'no file'})")
    prefix = names.as_folder(target.key)
    return [(path, names.Name(target.bucket, prefix + path.relative_to(folder).as_posix())) for path in sorted(found)]


@click.command()
@click.argument("source")
@click.argument("target", default=".")
@click.option("-r", "--recursive", is_flag=True, help="SOURCE is a prefix; TARGET a folder.")
@click.option("--version", metavar="ID", help="This version, not the current one.")
@reaches_cluster
@command
def get(
    source: str,
    target: str,
    recursive: bool,
    version: str | None,
    directory: str | None,
    endpoint: str | None,
    as_json: bool,
) -> None:
    """Fetch BUCKET/KEY into a file, a folder (default .) or standard output (-)."""
    name = names.parse(source)
    if recursive and target == "-":
        raise click.UsageError("standard output (-) is no folder; leave out --recursive")
    _refuse_version_of_many(version, recursive=recursive)
    fetched: list[dict[str, Any]] = []
    with (
        _told(lambda: _fetched(fetched), quiet=as_json),
        client_of(directory, endpoint) as client,
        meter(quiet=as_json) as progress,
    ):
        if target == "-":
            store.get_stream(client, names.with_key(source, version), progress)
            return
        for key, file in _plan(client, name, target) if recursive else [_single(names.with_key(source), target)]:
            size = store.get_file(client, names.Name(name.bucket, key, version), file, progress)
            fetched.append({"key": key, "file": str(file), "size": size})
    if as_json:
        print_json({"fetched": fetched})


def _plan(client: Client, name: names.Name, target: str) -> list[tuple[str, Path]]:
    """Every key with its file; all are checked before the first byte is fetched."""
    plan = [(entry.key, names.file_for(Path(target), entry.key, name.key)) for entry in listings.keys(client, name)]
    names.refuse_file_and_folder(file for _, file in plan)
    return plan


def _single(name: names.Name, target: str) -> tuple[str, Path]:
    folder = Path(target)
    is_folder = target.endswith("/") or folder.is_dir()
    return name.key, names.file_for(folder, name.key, name.key) if is_folder else folder


def _fetched(files: list[dict[str, Any]]) -> Iterator[str]:
    for each in files:
        yield f"fetched {shown(each['file'])} {human_bytes(each['size'])}"


def _refuse_version_of_many(version: str | None, *, recursive: bool) -> None:
    if recursive and version is not None:
        raise click.UsageError("--version is of one key; leave out --recursive")


@contextlib.contextmanager
def _told(lines: Callable[[], Iterator[str]], notes: Sequence[str] = (), *, quiet: bool) -> Iterator[None]:
    """Say what was done also when the rest of it fails, and in any case what the person should know."""
    try:
        yield
    finally:
        for line in () if quiet else lines():
            click.echo(line)
        for note in notes:
            say(shown(note))


@click.command()
@click.argument("source")
@click.argument("target")
@click.option("-r", "--recursive", is_flag=True, help="All keys below SOURCE, to names below TARGET.")
@click.option("--version", metavar="ID", help="This version of SOURCE, not the current one.")
@reaches_cluster
@command
def cp(
    source: str,
    target: str,
    recursive: bool,
    version: str | None,
    directory: str | None,
    endpoint: str | None,
    as_json: bool,
) -> None:
    """Copy BUCKET/KEY to BUCKET/KEY inside the store.

    With --recursive BUCKET/a/ to BUCKET/b gives a/x the name b/x, and BUCKET/a to BUCKET/b the name b/a/x.
    """
    _refuse_version_of_many(version, recursive=recursive)
    copied: list[dict[str, Any]] = []
    pairs: list[tuple[names.Name, names.Name]] = []

    def lines() -> Iterator[str]:
        for origin, goal in pairs[: len(copied)]:
            yield f"copied {shown(str(origin))} to {shown(str(goal))}"

    with _told(lines, quiet=as_json), client_of(directory, endpoint) as client:
        if recursive:
            pairs += _copies_below(client, names.parse(source), names.parse(target))
        else:
            pairs.append((names.with_key(source, version), names.target_for(names.parse(target), source)))
        for origin, goal in pairs:
            copied.append(store.copy(client, origin, goal))
    if as_json:
        print_json({"copied": copied})


def _copies_below(client: Client, origin: names.Name, goal: names.Name) -> Iterator[tuple[names.Name, names.Name]]:
    prefix = names.as_folder(goal.key)
    for entry in listings.keys(client, origin):
        key = prefix + names.relative_to(origin.key, entry.key)
        if key:
            yield names.Name(origin.bucket, entry.key), names.Name(goal.bucket, key)
        else:
            say(f"left out: {shown(entry.key)} (it would have no name)")


@click.command()
@click.argument("name")
@click.option("-r", "--recursive", is_flag=True, help="All keys that begin with BUCKET/PREFIX.")
@click.option("--version", metavar="ID", help="This version, for good.")
@reaches_cluster
@command
def rm(
    name: str, recursive: bool, version: str | None, directory: str | None, endpoint: str | None, as_json: bool
) -> None:
    """Delete BUCKET/KEY; a missing key is no error. Where versions are kept the former ones stay."""
    _refuse_version_of_many(version, recursive=recursive)
    removed: list[str] = []
    with client_of(directory, endpoint) as client:
        if recursive:
            where = names.parse(name)
            targets = [names.Name(where.bucket, entry.key) for entry in listings.keys(client, where)]
        else:
            targets = [names.with_key(name, version)]
        for target in targets:
            store.remove(client, target)
            removed.append(str(target))
    if as_json:
        print_json({"removed": removed})
    elif recursive:
        say(f"removed {len(removed)} objects")


@click.command()
@click.argument("name")
@click.option("--version", metavar="ID", help="This version, not the current one.")
@reaches_cluster
@command
def stat(name: str, version: str | None, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """Show the metadata of BUCKET/KEY, or of BUCKET."""
    with client_of(directory, endpoint) as client:
        facts = store.stat(client, names.parse(name) if version is None else names.with_key(name, version))
    if as_json:
        print_json(facts)
        return
    for fact, value in facts.items():
        click.echo(f"{fact:<16} {shown(str(value))}")
