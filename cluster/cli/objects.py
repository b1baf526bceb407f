"""`trilith mb rb put get cp ls rm stat`: buckets and objects of a running cluster."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from cluster.cli import names, store
from cluster.cli.access import find
from cluster.cli.http import Client, bucket_path, decode
from cluster.cli.output import command, human_bytes, meter, print_json, say, shown
from cluster.errors import Refused


def _reaches_cluster[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """The options of every command that talks to a running cluster."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--endpoint", help="URL of the object port; keys from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY."),
        click.option("--dir", "directory", help="Folder of a local cluster (or TRILITH_DIR; default ./data)."),
    ):
        function = option(function)
    return function


def _client(directory: str | None, endpoint: str | None) -> Client:
    return Client(find(directory, endpoint))


@click.command()
@click.argument("bucket")
@_reaches_cluster
@command
def mb(bucket: str, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """Make a bucket."""
    with _client(directory, endpoint) as client:
        made = decode(client.call("PUT", bucket_path(bucket)), dict[str, Any])
    print_json(made) if as_json else click.echo(f"made {shown(bucket)}")


@click.command()
@click.argument("bucket")
@click.option("-r", "--recursive", is_flag=True, help="Remove its objects first.")
@_reaches_cluster
@command
def rb(bucket: str, recursive: bool, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """Remove a bucket. It must be empty, unless --recursive."""
    removed = 0
    with _client(directory, endpoint) as client:
        if recursive:
            for entry in store.keys(client, names.Name(bucket, "")):
                store.remove(client, names.Name(bucket, entry.key))
                removed += 1
        client.call("DELETE", bucket_path(bucket)).body()
    print_json({"bucket": bucket, "objects_removed": removed}) if as_json else click.echo(f"removed {shown(bucket)}")


@click.command()
@click.argument("source")
@click.argument("target")
@click.option("-r", "--recursive", is_flag=True, help="SOURCE is a folder; TARGET a prefix.")
@click.option("--content-type", help="Instead of a guess from the file's name.")
@_reaches_cluster
@command
def put(
    source: str,
    target: str,
    recursive: bool,
    content_type: str | None,
    directory: str | None,
    endpoint: str | None,
    as_json: bool,
) -> None:
    """Store a file, or standard input (-), as BUCKET/KEY."""
    if recursive and source == "-":
        raise click.UsageError("standard input (-) is no folder; leave out --recursive")
    headers = {"Content-Type": content_type} if content_type else {}
    stored: list[dict[str, Any]] = []
    with (
        _told(lambda: _stored(stored), quiet=as_json),
        _client(directory, endpoint) as client,
        meter(quiet=as_json) as progress,
    ):
        if source == "-":
            stored.append(store.put_stream(client, names.with_key(target), progress, headers))
        elif recursive:
            for file, name in _files_below(Path(source), names.parse(target)):
                stored.append(store.put_file(client, file, name, progress, headers))
        else:
            name = names.target_for(names.parse(target), source)
            stored.append(store.put_file(client, Path(source), name, progress, headers))
    if as_json:
        print_json({"stored": stored})


def _stored(made: list[dict[str, Any]]) -> Iterator[str]:
    for each in made:
        yield f"stored {shown(each['bucket'] + '/' + each['key'])} {human_bytes(each['size'])}"


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
@_reaches_cluster
@command
def get(source: str, target: str, recursive: bool, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """Fetch BUCKET/KEY into a file, a folder (default .) or standard output (-)."""
    name = names.parse(source)
    if recursive and target == "-":
        raise click.UsageError("standard output (-) is no folder; leave out --recursive")
    fetched: list[dict[str, Any]] = []
    with (
        _told(lambda: _fetched(fetched), quiet=as_json),
        _client(directory, endpoint) as client,
        meter(quiet=as_json) as progress,
    ):
        if target == "-":
            store.get_stream(client, names.with_key(source), progress)
            return
        for key, file in _plan(client, name, target) if recursive else [_single(names.with_key(source), target)]:
            size = store.get_file(client, names.Name(name.bucket, key), file, progress)
            fetched.append({"key": key, "file": str(file), "size": size})
    if as_json:
        print_json({"fetched": fetched})


def _plan(client: Client, name: names.Name, target: str) -> list[tuple[str, Path]]:
    """Every key with its file; all are checked before the first byte is fetched."""
    plan = [(entry.key, names.file_for(Path(target), entry.key, name.key)) for entry in store.keys(client, name)]
    names.refuse_file_and_folder(file for _, file in plan)
    return plan


def _single(name: names.Name, target: str) -> tuple[str, Path]:
    folder = Path(target)
    is_folder = target.endswith("/") or folder.is_dir()
    return name.key, names.file_for(folder, name.key, name.key) if is_folder else folder


def _fetched(files: list[dict[str, Any]]) -> Iterator[str]:
    for each in files:
        yield f"fetched {shown(each['file'])} {human_bytes(each['size'])}"


@contextlib.contextmanager
def _told(lines: Callable[[], Iterator[str]], *, quiet: bool) -> Iterator[None]:
    """Say what was done also when the rest of it fails."""
    try:
        yield
    finally:
        for line in () if quiet else lines():
            click.echo(line)


@click.command()
@click.argument("source")
@click.argument("target")
@click.option("-r", "--recursive", is_flag=True, help="All keys below SOURCE, to names below TARGET.")
@_reaches_cluster
@command
def cp(source: str, target: str, recursive: bool, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """Copy BUCKET/KEY to BUCKET/KEY inside the store.

    With --recursive BUCKET/a/ to BUCKET/b gives a/x the name b/x, and BUCKET/a to BUCKET/b the name b/a/x.
    """
    copied: list[dict[str, Any]] = []
    pairs: list[tuple[names.Name, names.Name]] = []

    def lines() -> Iterator[str]:
        for origin, goal in pairs[: len(copied)]:
            yield f"copied {shown(str(origin))} to {shown(str(goal))}"

    with _told(lines, quiet=as_json), _client(directory, endpoint) as client:
        if recursive:
            pairs += _copies_below(client, names.parse(source), names.parse(target))
        else:
            pairs.append((names.with_key(source), names.target_for(names.parse(target), source)))
        for origin, goal in pairs:
            copied.append(store.copy(client, origin, goal))
    if as_json:
        print_json({"copied": copied})


def _copies_below(client: Client, origin: names.Name, goal: names.Name) -> Iterator[tuple[names.Name, names.Name]]:
    prefix = names.as_folder(goal.key)
    for entry in store.keys(client, origin):
        key = prefix + names.relative_to(origin.key, entry.key)
        if key:
            yield names.Name(origin.bucket, entry.key), names.Name(goal.bucket, key)
        else:
            say(f"left out: {shown(entry.key)} (it would have no name)")


@click.command()
@click.argument("name", default="")
@click.option("-r", "--recursive", is_flag=True, help="All keys below, not only this level.")
@_reaches_cluster
@command
def ls(name: str, recursive: bool, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """List buckets, or what lies under BUCKET[/PREFIX]."""
    with _client(directory, endpoint) as client:
        if not name:
            found = list(store.buckets(client))
            if as_json:
                print_json({"buckets": found})
            for bucket in [] if as_json else found:
                click.echo(f"{bucket.created}  {bucket.name}")
            return
        where = names.parse(name)
        objects: list[store.Entry] = []
        prefixes: list[str] = []
        for page in store.pages(client, where.bucket, where.key, "" if recursive else "/"):
            if as_json:
                objects += page.objects
                prefixes += page.prefixes
                continue
            for prefix in page.prefixes:
                click.echo(f"{'':<24}  {'':>12}  {shown(prefix)}")
            for entry in page.objects:
                click.echo(f"{entry.created:<24}  {entry.size:>12}  {shown(entry.key)}")
        if as_json:
            print_json({"objects": objects, "prefixes": prefixes})


@click.command()
@click.argument("name")
@click.option("-r", "--recursive", is_flag=True, help="All keys that begin with BUCKET/PREFIX.")
@_reaches_cluster
@command
def rm(name: str, recursive: bool, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """Delete BUCKET/KEY; a missing key is no error."""
    removed: list[str] = []
    with _client(directory, endpoint) as client:
        if recursive:
            where = names.parse(name)
            targets = [names.Name(where.bucket, entry.key) for entry in store.keys(client, where)]
        else:
            targets = [names.with_key(name)]
        for target in targets:
            store.remove(client, target)
            removed.append(str(target))
    if as_json:
        print_json({"removed": removed})
    elif recursive:
        say(f"removed {len(removed)} objects")


@click.command()
@click.argument("name")
@_reaches_cluster
@command
def stat(name: str, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """Show the metadata of BUCKET/KEY, or of BUCKET."""
    with _client(directory, endpoint) as client:
        facts = store.stat(client, names.parse(name))
    if as_json:
        print_json(facts)
        return
    for fact, value in facts.items():
        click.echo(f"{fact:<16} {shown(str(value))}")
