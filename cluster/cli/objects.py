"""`trilith mb rb put get cp ls rm stat`: buckets and objects of a running cluster."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cluster.cli import names, store
from cluster.cli.access import find
from cluster.cli.http import Client, bucket_path, decode
from cluster.cli.output import command, human_bytes, meter, print_json, say
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
    print_json(made) if as_json else click.echo(f"made {bucket}")


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
    print_json({"bucket": bucket, "objects_removed": removed}) if as_json else click.echo(f"removed {bucket}")


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
    headers = {"Content-Type": content_type} if content_type else {}
    with _client(directory, endpoint) as client, meter(quiet=as_json) as progress:
        if source == "-":
            stored = [store.put_stream(client, names.with_key(target), progress, headers)]
        elif recursive:
            stored = [
                store.put_file(client, file, name, progress, headers)
                for file, name in _files_below(Path(source), names.parse(target))
            ]
        else:
            name = names.target_for(names.parse(target), source)
            stored = [store.put_file(client, Path(source), name, progress, headers)]
    if as_json:
        print_json({"stored": stored})
    else:
        for made in stored:
            click.echo(f"stored {made.get('key', target)} {human_bytes(made.get('size', 0))}")


def _files_below(folder: Path, target: names.Name) -> list[tuple[Path, names.Name]]:
    if not folder.is_dir():
        raise Refused("NoSuchFile" if not folder.exists() else "NotAFolder", f"{folder} is not a folder")
    prefix = target.key + "/" if target.key and not target.key.endswith("/") else target.key
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path, names.Name(target.bucket, prefix + path.relative_to(folder).as_posix())) for path in files]


@click.command()
@click.argument("source")
@click.argument("target", default=".")
@click.option("-r", "--recursive", is_flag=True, help="SOURCE is a prefix; TARGET a folder.")
@_reaches_cluster
@command
def get(source: str, target: str, recursive: bool, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """Fetch BUCKET/KEY into a file, a folder (default .) or standard output (-)."""
    name = names.parse(source)
    fetched: list[dict[str, Any]] = []
    with _client(directory, endpoint) as client, meter(quiet=as_json) as progress:
        if recursive:
            # every name is checked before the first byte is fetched
            plan = [
                (entry.key, names.file_for(Path(target), entry.key, name.key)) for entry in store.keys(client, name)
            ]
            for key, file in plan:
                size = store.get_file(client, names.Name(name.bucket, key), file, progress)
                fetched.append({"key": key, "file": str(file), "size": size})
        elif target == "-":
            store.get_stream(client, names.with_key(source), progress)
            return
        else:
            found = names.with_key(source)
            folder = Path(target)
            file = names.file_for(folder, found.key, found.key) if folder.is_dir() else folder
            size = store.get_file(client, found, file, progress)
            fetched.append({"key": found.key, "file": str(file), "size": size})
    if as_json:
        print_json({"fetched": fetched})
    else:
        for got in fetched:
            click.echo(f"fetched {got['file']} {human_bytes(got['size'])}")


@click.command()
@click.argument("source")
@click.argument("target")
@click.option("-r", "--recursive", is_flag=True, help="Both are prefixes.")
@_reaches_cluster
@command
def cp(source: str, target: str, recursive: bool, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """Copy BUCKET/KEY to BUCKET/KEY inside the store."""
    with _client(directory, endpoint) as client:
        if recursive:
            origin, goal = names.parse(source), names.parse(target)
            pairs = [
                (names.Name(origin.bucket, entry.key), names.Name(goal.bucket, goal.key + entry.key[len(origin.key) :]))
                for entry in store.keys(client, origin)
            ]
        else:
            pairs = [(names.with_key(source), names.target_for(names.parse(target), source))]
        copied = [store.copy(client, origin, goal) for origin, goal in pairs]
    if as_json:
        print_json({"copied": copied})
    else:
        for origin, goal in pairs:
            click.echo(f"copied {origin} to {goal}")


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
                click.echo(f"{'':<24}  {'':>12}  {prefix}")
            for entry in page.objects:
                click.echo(f"{entry.created:<24}  {entry.size:>12}  {entry.key}")
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
        click.echo(f"{fact:<16} {value}")
