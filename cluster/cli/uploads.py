"""`trilith uploads`: uploads in parts that are under way, or were left."""

import click

from cluster.cli import listings, names
from cluster.cli.options import client_of, reaches_cluster
from cluster.cli.output import command, print_json, shown
from cluster.cli.paths import upload_path


@click.group()
def uploads() -> None:
    """Uploads in parts that are under way, or were left."""


@uploads.command()
@click.argument("name")
@reaches_cluster
@command
def ls(name: str, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """List uploads of BUCKET[/PREFIX]: when begun, id, key."""
    with client_of(directory, endpoint) as client:
        found = listings.uploads(client, names.parse(name))
        if as_json:
            print_json({"uploads": list(found)})
            return
        for each in found:
            click.echo(f"{each.created}  {each.upload_id}  {shown(each.key)}")


@uploads.command()
@click.argument("bucket")
@click.argument("key")
@click.argument("upload_id", metavar="ID")
@reaches_cluster
@command
def abort(bucket: str, key: str, upload_id: str, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """End the upload ID of KEY and discard its parts."""
    name = names.Name(bucket, key)
    with client_of(directory, endpoint) as client:
        client.call("DELETE", upload_path(bucket, upload_id), query={"key": key}).body()
    if as_json:
        print_json({"bucket": bucket, "key": key, "upload_id": upload_id, "aborted": True})
    else:
        click.echo(f"aborted {shown(upload_id)} of {shown(str(name))}")
