"""The cluster that clients are tested against: seven processes and a second API that speaks HTTPS. It can be crippled.

No supervisor runs, so what is killed stays dead until the test starts it.
"""

import io
import os
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from chaos.roles import Roles
from cluster import identity
from cluster.cli.access import Access
from cluster.cli.http import Client, decode
from cluster.config import FILE_NAME, ApiConfig, dump, load
from cluster.errors import OutcomeUnknown, Unavailable
from cluster.ports import free_ports
from tests.clients.scenarios.steps import MIB

_READY_S = 30.0
"""A member and a daemon that die are noticed in a second or two; the rest is for a busy machine."""


def roles_with_https(folder: Path) -> Roles:
    """Three members, three daemons, an API that speaks HTTP and one that speaks HTTPS as `localhost`; not started."""
    roles = Roles(folder)
    identity.make_ca(folder / "tls", roles.config.cluster_id)
    identity.make_node_certificate(folder / "tls", "localhost")
    port, admin_port = free_ports(2)
    secure = ApiConfig(
        name="api-2",
        object_listen=f"127.0.0.1:{port}",
        operator_listen=f"127.0.0.1:{admin_port}",
        tls_cert=str(folder / "tls" / "localhost.pem"),
        tls_key=str(folder / "tls" / "localhost.key"),
    )
    reconfigure(roles, api=(*roles.config.api, secure))
    return roles


def reconfigure(roles: Roles, **sections: Any) -> None:
    """Change sections of cluster.toml before anything is started."""
    file = roles.folder / FILE_NAME
    file.write_text(dump(msgspec.structs.replace(roles.config, **sections)))
    roles.config = load(file)


@dataclass
class Store:
    """Where clients go, and what of it is down."""

    roles: Roles
    down: list[str] = field(default_factory=list)

    @property
    def access(self) -> Access:
        """The HTTP endpoint and the root key."""
        return self.roles.access()

    @property
    def https(self) -> str:
        """The HTTPS endpoint; `authority` is the file that vouches for it."""
        return f"https://localhost:{self.roles.config.api[1].object_listen.rpartition(':')[2]}"

    @property
    def virtual(self) -> str:
        """The HTTP endpoint by a name below which hosts name buckets."""
        return f"http://s3.localhost:{self.access.endpoint.rpartition(':')[2]}"

    @property
    def authority(self) -> Path:
        """The certificate of the cluster's own CA."""
        return self.roles.folder / "tls" / "ca.pem"

    def cripple(self) -> None:
        """Kill the leading member and a chunk daemon, and wait until the others write without them."""
        with Client(self.roles.access(operator=True)) as client:
            leader = decode(client.call("GET", "/status"), dict[str, Any])["leader"]
        self.down = [str(leader), "chunk-2"]
        for name in self.down:
            self.roles.kill(name)
        self.wait_writable()

    def mend(self) -> None:
        """Start again what is down."""
        self.start(self.down)
        self.down = []

    def kill_all(self) -> list[str]:
        """Kill every process that lives at once; their names."""
        names = [node.name for node in self.roles.config.nodes if node.name not in self.down]
        for name in names:
            self.roles.processes[name].kill()
        for name in names:
            self.roles.processes[name].wait()
        return names

    def start(self, names: list[str]) -> None:
        """Start these again, and wait until they serve and objects can be written."""
        for name in names:
            self.roles.start(name, wait=False)
        for name in names:
            self.roles.wait_ready(name)
        self.wait_writable()

    def wait_writable(self) -> None:
        """Until a write of a chunk is acknowledged. Raises Unavailable, OutcomeUnknown if that lasts too long."""
        deadline, body = time.monotonic() + _READY_S, partial(io.BytesIO, os.urandom(MIB))
        while True:
            try:
                with Client(self.access) as client:
                    client.call("PUT", "/objects/writable", body=body, size=MIB, repeatable=False)
                return
            except (Unavailable, OutcomeUnknown):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def logs(self, *, bytes_max: int = 2000) -> str:
        """The ends of the APIs' logs, for the message of a failed test."""
        names = [api.name for api in self.roles.config.api]
        ends = [self.roles.log_file(name).read_text(errors="replace")[-bytes_max:] for name in names]
        return "".join(f"\n--- {name}\n{end}" for name, end in zip(names, ends, strict=True))
