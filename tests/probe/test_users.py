"""Users on a running cluster: their keys work where they should, through restarts, and no secret of theirs is seen."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.local import LocalCluster

pytestmark = pytest.mark.probe


@pytest.fixture(scope="module")
def cluster(short_folder: Path) -> Iterator[LocalCluster]:
    """The cluster of all tests here; each has users of its own."""
    with LocalCluster(short_folder) as running:
        yield running


def as_root(cluster: LocalCluster, *arguments: str, given: str | None = None) -> str:
    """Run `trilith user` with the root key; what it printed."""
    return cluster.command("user", *arguments, "--dir", str(cluster.folder), input=given).stdout


def as_user(cluster: LocalCluster, key: tuple[str, str], *arguments: str, operator: bool = False, code: int = 0) -> str:
    """Run a command with a user's key; what it printed."""
    keys = {**os.environ, "AWS_ACCESS_KEY_ID": key[0], "AWS_SECRET_ACCESS_KEY": key[1]}
    endpoint = cluster.access(operator=operator).endpoint
    done = cluster.command(*arguments, "--endpoint", endpoint, check=False, env=keys)
    assert done.returncode == code, (arguments, done)
    return done.stdout + done.stderr


def add(cluster: LocalCluster, name: str) -> tuple[str, str]:
    """Make a user; its key."""
    made = json.loads(as_root(cluster, "add", name, "--json"))
    return made["access_key"], made["secret_key"]


def test_a_user_works_in_its_own_buckets_through_restarts(cluster: LocalCluster) -> None:
    ann, bob = add(cluster, "ann"), add(cluster, "bob")
    as_user(cluster, ann, "mb", "anns")
    as_user(cluster, ann, "put", "/etc/hostname", "anns/host")
    for _ in range(2):
        assert as_user(cluster, ann, "get", "anns/host", "-") == Path("/etc/hostname").read_text()
        assert "anns" in as_user(cluster, ann, "ls")
        assert "default" not in as_user(cluster, ann, "ls")
        as_user(cluster, ann, "ls", "default", code=4)
        as_user(cluster, bob, "get", "anns/host", "-", code=4)
        as_user(cluster, bob, "ls", "nowhere", code=3)
        as_user(cluster, ann, "user", "ls", operator=True, code=4)
        as_user(cluster, ann, "status", operator=True, code=4)
        listed = json.loads(as_root(cluster, "ls", "--json"))["users"]
        assert [user["name"] for user in listed] == ["ann", "bob"]
        cluster.down()
        cluster.up()
    as_root(cluster, "rm", "bob")
    as_user(cluster, bob, "ls", code=4)


def test_a_given_secret_comes_from_a_pipe_and_a_removed_key_is_refused_at_once(cluster: LocalCluster) -> None:
    secret = "eves-secret-from-a-pipe"
    as_root(cluster, "add", "eve", "--access-key", "EVEKEY", "--secret-key-file", "-", given=f"{secret}\n")
    first = ("EVEKEY", secret)
    as_user(cluster, first, "ls")
    made = json.loads(as_root(cluster, "key", "add", "eve", "--json"))
    second = (made["access_key"], made["secret_key"])
    as_user(cluster, second, "ls")
    as_root(cluster, "key", "rm", "EVEKEY")
    as_user(cluster, first, "ls", code=4)
    as_user(cluster, second, "ls")


def test_secrets_are_in_no_file_of_the_cluster_and_on_no_command_line(cluster: LocalCluster) -> None:
    _, made = add(cluster, "zoe")
    given = "zoes-secret-from-a-pipe"
    as_root(cluster, "key", "add", "zoe", "--access-key", "ZOEKEY", "--secret-key-file", "-", given=given)
    as_user(cluster, ("ZOEKEY", given), "ls")
    as_user(cluster, ("ZOEKEY", "zoes-wrong-secret"), "ls", code=4)
    key = (cluster.folder / "cluster.key").read_text().strip()
    secrets = [made.encode(), given.encode(), b"zoes-wrong-secret", key.encode(), bytes.fromhex(key)]
    for file in cluster.folder.rglob("*"):
        if file.is_file() and file.name != "cluster.key":
            assert not [secret for secret in secrets if secret in file.read_bytes()], file
    for node in cluster.config.nodes:
        for name in ("cmdline", "environ"):
            seen = Path(f"/proc/{cluster.pid(node.name)}/{name}").read_bytes()
            assert not [secret for secret in secrets if secret in seen]


def test_without_its_cluster_key_a_cluster_serves_root_and_says_what_is_wrong_with_the_others(
    cluster: LocalCluster,
) -> None:
    lea = add(cluster, "lea")
    key, away = cluster.folder / "cluster.key", cluster.folder / "away.key"
    cluster.down()
    key.rename(away)
    cluster.up()
    assert "made cluster.key" in (cluster.folder / "run" / "supervisor.out").read_text()
    said = as_user(cluster, lea, "ls", code=7)
    assert "another cluster key" in said
    assert lea[1] not in said
    assert "another cluster key" in (cluster.folder / "run" / "api-1.log").read_text()
    cluster.command("ls", "--dir", str(cluster.folder))
    mia = add(cluster, "mia")
    as_user(cluster, mia, "ls")
    cluster.down()
    away.rename(key)
    cluster.up()
    as_user(cluster, lea, "ls")
    as_user(cluster, mia, "ls", code=7)
