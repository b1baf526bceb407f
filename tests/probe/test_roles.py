"""Roles started by themselves, without a supervisor, over TCP with mutual TLS: as separate hosts run them."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from chaos.roles import Roles
from cluster.create import Shape
from cluster.exits import RoleExit
from cluster.supervisor import role_command
from tests.probe.conftest import Http

pytestmark = pytest.mark.probe


def test_roles_make_a_cluster_without_a_supervisor(folder: Path) -> None:
    with Roles(folder, Shape(transport="tcp")) as roles:
        http = Http(roles.access())
        data = os.urandom(10_000_000)
        assert http("PUT", "/objects/x", data).status == 201
        assert http("GET", "/objects/x").body == data
        roles.kill("chunk-1")
        roles.kill("meta-1")
        deadline = time.monotonic() + 60
        while http("GET", "/objects/x").status == 503:  # the leader may have been killed
            assert time.monotonic() < deadline
        assert http("GET", "/objects/x").body == data
        roles.start("chunk-1")
        roles.start("meta-1")
        facts = Http(roles.access(operator=True))("GET", "/status").json()
        assert facts["cluster_id"] == roles.config.cluster_id
        second = subprocess.run(
            role_command("chunkd", folder / "cluster.toml", "chunk-1"), capture_output=True, text=True, check=False
        )
        assert second.returncode == RoleExit.CONFIG, second.stderr
        (folder / "tls" / "meta-2.key").chmod(0o644)
        open_key = subprocess.run(
            role_command("metaraft", folder / "cluster.toml", "meta-2"), capture_output=True, text=True, check=False
        )
        assert open_key.returncode == RoleExit.CONFIG
        assert "0600" in open_key.stderr
    assert all(process.returncode is not None for process in roles.processes.values())
