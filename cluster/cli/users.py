"""`trilith user`: who may use the cluster besides root, and with which keys. Needs the root key.

Secrets come from files or standard input, never from the command line, where other processes can see them. What is
not given is made here and sent along, so that a request that has to be repeated says the same each time. A secret
that was made is printed, this once; one that was given is not.
"""

import io
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import msgspec

from cluster.cli.access import find
from cluster.cli.http import Client, decode
from cluster.cli.output import command, print_json, shown
from cluster.errors import Refused
from cluster.identity import random_credentials

_SECRET_CHARS_MAX = 128


class _User(msgspec.Struct):
    """A user in a listing."""

    name: str
    id: str
    display_name: str
    email: str
    created: str
    access_keys: list[str]


class _Page(msgspec.Struct):
    """One page of users."""

    users: list[_User]
    next: str | None


class _Text(click.ParamType[str]):
    """An argument that can be sent: the system's may have any bytes."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The value as it is. Fails for what is not UTF-8."""
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail("it is not UTF-8", param, ctx)
        return value


_TEXT = _Text()


def _reaches_operator[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """The options of every command here."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "--endpoint", help="URL of the operator port; keys from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY."
        ),
        click.option("--dir", "directory", help="Folder of a local cluster (or TRILITH_DIR; default ./data)."),
    ):
        function = option(function)
    return function


def _takes_key[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """The options of a key that is to be made."""
    for option in (
        click.option("--secret-key-file", help="File with the secret key, or - for standard input (default: made)."),
        click.option("--access-key", type=_TEXT, help="The access key (default: made)."),
    ):
        function = option(function)
    return function


@click.group()
def user() -> None:
    """Users and their keys."""


@user.command()
@click.argument("name", type=_TEXT)
@_takes_key
@click.option(
    "--id", "canonical_id", type=_TEXT, help="The canonical id, which owns what the user makes (default: made)."
)
@click.option("--display-name", type=_TEXT, help="What owners are shown as (default: NAME).")
@click.option("--email", type=_TEXT, help="An email address.")
@_reaches_operator
@command
def add(
    name: str,
    access_key: str | None,
    secret_key_file: str | None,
    canonical_id: str | None,
    display_name: str | None,
    email: str | None,
    directory: str | None,
    endpoint: str | None,
    as_json: bool,
) -> None:
    """Make a user with a key. A secret that is made is shown now and never again."""
    body = _key_body(access_key, secret_key_file)
    body |= {"name": name, "id": secrets.token_hex(32) if canonical_id is None else canonical_id}
    body |= {key: value for key, value in (("display_name", display_name), ("email", email)) if value is not None}
    with _client(directory, endpoint) as client:
        made = _post(client, "/users", body)
    _tell(made, body, secret_key_file, as_json=as_json)


@user.command()
@_reaches_operator
@command
def ls(directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """List users with their access keys."""
    with _client(directory, endpoint) as client:
        found = _users(client)
        if as_json:
            print_json({"users": list(found)})
            return
        for each in found:
            shown_name = "" if each.display_name == each.name else f" ({each.display_name})"
            click.echo(shown(f"{each.name}{shown_name}  {' '.join(each.access_keys) or 'no key'}"))


@user.command()
@click.argument("name", type=_TEXT)
@_reaches_operator
@command
def rm(name: str, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """Remove a user and its keys. Its buckets stay, and are root's to manage."""
    with _client(directory, endpoint) as client:
        client.call("DELETE", f"/users/{quote(name, safe='')}").body()
    print_json({"name": name, "removed": True}) if as_json else click.echo(f"removed {shown(name)}")


@user.group()
def key() -> None:
    """Keys of a user."""


@key.command("add")
@click.argument("name", type=_TEXT)
@_takes_key
@_reaches_operator
@command
def add_key(
    name: str,
    access_key: str | None,
    secret_key_file: str | None,
    directory: str | None,
    endpoint: str | None,
    as_json: bool,
) -> None:
    """Give the user NAME one more key. A secret that is made is shown now and never again."""
    body = _key_body(access_key, secret_key_file)
    with _client(directory, endpoint) as client:
        made = _post(client, f"/users/{quote(name, safe='')}/keys", body)
    _tell(made, body, secret_key_file, as_json=as_json)


@key.command("rm")
@click.argument("access_key", type=_TEXT)
@_reaches_operator
@command
def rm_key(access_key: str, directory: str | None, endpoint: str | None, as_json: bool) -> None:
    """Take the key ACCESS_KEY away."""
    with _client(directory, endpoint) as client:
        client.call("DELETE", f"/keys/{quote(access_key, safe='')}").body()
    print_json({"access_key": access_key, "removed": True}) if as_json else click.echo(f"removed {shown(access_key)}")


def _client(directory: str | None, endpoint: str | None) -> Client:
    return Client(find(directory, endpoint, operator=True))


def _key_body(access_key: str | None, secret_key_file: str | None) -> dict[str, str]:
    made = random_credentials()
    return {
        "access_key": made.access_key if access_key is None else access_key,
        "secret_key": made.secret_key if secret_key_file is None else _read_secret(secret_key_file),
    }


def _read_secret(source: str) -> str:
    """The first line of a file, or of standard input (-). Raises Refused (BadSecret), with no part of it."""
    if source == "-":
        text = sys.stdin.readline(_SECRET_CHARS_MAX + 2)
    else:
        with Path(source).open(encoding="utf-8", errors="replace") as file:
            text = file.readline(_SECRET_CHARS_MAX + 2)
    secret = text.removesuffix("\n")
    if not secret or len(secret) > _SECRET_CHARS_MAX:
        name = "standard input" if source == "-" else source
        raise Refused("BadSecret", f"the first line of {name} is no secret key: 8 to {_SECRET_CHARS_MAX} characters")
    return secret


def _post(client: Client, path: str, body: dict[str, str]) -> dict[str, Any]:
    data = msgspec.json.encode(body)
    headers = {"Content-Type": "application/json"}
    answer = client.call("POST", path, headers=headers, body=lambda: io.BytesIO(data), size=len(data))
    return decode(answer, dict[str, Any])


def _tell(made: dict[str, Any], body: dict[str, str], secret_key_file: str | None, *, as_json: bool) -> None:
    """What was made; its secret only if that was made here."""
    if secret_key_file is None:
        made = made | {"secret_key": body["secret_key"]}
    if as_json:
        print_json(made)
        return
    for name, value in made.items():
        if value:
            click.echo(f"{name.replace('_', ' '):<13} {shown(value)}")


def _users(client: Client) -> Iterator[_User]:
    after: str | None = ""
    while after is not None:
        page = decode(client.call("GET", "/users", query={"after": after} if after else None), _Page)
        yield from page.users
        after = page.next
