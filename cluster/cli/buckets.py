"""`trilith mb rb ls versioning`: buckets of a running cluster, and what lies in them."""

import io
from typing import Any

import click
import msgspec

from cluster.cli import large, listings, names, store
from cluster.cli.http import Client, decode
from cluster.cli.options import client_of, reaches_cluster
from cluster.cli.output import command, print_json, shown
from cluster.cli.paths import bucket_path

_STATES = {"enable": "enabled", "suspend": "suspended"}


@click.command()
@click.argument("bucket")
@reaches_cluster
@command
def mb(bucket: str, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """Make a bucket."""
    with client_of(directory, endpoint) as client:
        made = decode(client.call("PUT", bucket_path(bucket)), dict[str, Any])
    print_json(made) if as_json else click.echo(f"made {shown(bucket)}")


@click.command()
@click.argument("bucket")
@click.option("-r", "--recursive", is_flag=True, help="Remove its objects, in all versions, and its uploads first.")
@reaches_cluster
@command
def rb(bucket: str, recursive: bool, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """Remove a bucket. It must be empty, unless --recursive."""
    with client_of(directory, endpoint) as client:
        removed = _emptied(client, names.Name(bucket, "")) if recursive else 0
        client.call("DELETE", bucket_path(bucket)).body()
    print_json({"bucket": bucket, "objects_removed": removed}) if as_json else click.echo(f"removed {shown(bucket)}")


def _emptied(client: Client, bucket: names.Name) -> int:
    """Remove all there is in a bucket; how many of it were objects or former versions of them."""
    removed = 0
    for page in listings.versions(client, bucket):
        for entry in page.versions:
            store.remove(client, names.Name(bucket.bucket, entry.key, entry.version_id))
            removed += not entry.delete_marker
    for upload in listings.uploads(client, bucket):
        large.abort(client, names.Name(bucket.bucket, upload.key), upload.upload_id)
    return removed


@click.command()
@click.argument("name", default="")
@click.option("-r", "--recursive", is_flag=True, help="All keys below, not only this level.")
@click.option("--versions", is_flag=True, help="All versions and delete markers, the newest of a key first.")
@reaches_cluster
@command
def ls(name: str, recursive: bool, versions: bool, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """List buckets, or what lies under BUCKET[/PREFIX]."""
    if versions and not name:
        raise click.UsageError("--versions needs a bucket")
    with client_of(directory, endpoint) as client:
        if not name:
            _list_buckets(client, as_json=as_json)
            return
        where, delimiter = names.parse(name), "" if recursive else "/"
        if versions:
            _list_versions(client, where, delimiter, as_json=as_json)
        else:
            _list_objects(client, where, delimiter, as_json=as_json)


def _list_buckets(client: Client, *, as_json: bool) -> None:
    found = list(listings.buckets(client))
    if as_json:
        print_json({"buckets": found})
    for bucket in [] if as_json else found:
        click.echo(f"{bucket.created}  {bucket.name}")


def _list_objects(client: Client, where: names.Name, delimiter: str, *, as_json: bool) -> None:
    objects: list[listings.Entry] = []
    prefixes: list[str] = []
    for page in listings.objects(client, where, delimiter):
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


def _list_versions(client: Client, where: names.Name, delimiter: str, *, as_json: bool) -> None:
    versions: list[listings.VersionEntry] = []
    prefixes: list[str] = []
    for page in listings.versions(client, where, delimiter):
        if as_json:
            versions += page.versions
            prefixes += page.prefixes
            continue
        for prefix in page.prefixes:
            click.echo(f"{'':<24}  {'':>12}  {'':<16}  {shown(prefix)}")
        for entry in page.versions:
            size = "deleted" if entry.delete_marker else str(entry.size)
            click.echo(f"{entry.created:<24}  {size:>12}  {entry.version_id:<16}  {shown(entry.key)}")
    if as_json:
        print_json({"versions": versions, "prefixes": prefixes})


@click.command()
@click.argument("bucket")
@click.argument("change", type=click.Choice(list(_STATES)), required=False)
@reaches_cluster
@command
def versioning(bucket: str, change: str | None, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """Show whether BUCKET keeps versions of its objects, or enable or suspend that."""
    path = bucket_path(bucket) + "/versioning"
    with client_of(directory, endpoint) as client:
        if change is None:
            answer = client.call("GET", path)
        else:
            data = msgspec.json.encode({"versioning": _STATES[change]})
            headers = {"Content-Type": "application/json"}
            answer = client.call("PUT", path, headers=headers, body=lambda: io.BytesIO(data), size=len(data))
        found = decode(answer, dict[str, Any])
    print_json({"bucket": bucket, **found}) if as_json else click.echo(f"versioning is {shown(found['versioning'])}")
