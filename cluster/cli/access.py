"""Which cluster a command talks to, and with which keys.

`--endpoint` (or AWS_ENDPOINT_URL) with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the folder of a local
cluster (`--dir`, TRILITH_DIR, `./data`), whose `endpoints.json` and `credentials.json` are read.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from cluster import identity
from cluster.errors import Refused
from cluster.supervisor import read_endpoints

DEFAULT_DIRECTORY = "./data"


@dataclass(frozen=True)
class Access:
    """Where to ask and as whom. `ca_file` verifies an HTTPS endpoint besides the system's authorities."""

    endpoint: str
    access_key: str
    secret_key: str
    ca_file: str | None = None

    def __repr__(self) -> str:
        return f"Access(endpoint={self.endpoint!r}, access_key={self.access_key!r})"


def directory_of(option: str | None) -> Path:
    """The folder of the local cluster."""
    return Path(option or os.environ.get("TRILITH_DIR") or DEFAULT_DIRECTORY)


def find(directory: str | None, endpoint: str | None, *, operator: bool = False) -> Access:
    """The access for a command. Raises Refused (NoKeys) or Unavailable (NotRunning)."""
    if directory is not None and endpoint is not None:
        raise Refused("TwoClusters", "--dir and --endpoint name a cluster each; give one of them")
    if endpoint is None and directory is None and "TRILITH_DIR" not in os.environ:
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if endpoint is not None:
        return _from_environment(endpoint)
    folder = directory_of(directory)
    endpoints = read_endpoints(folder)
    keys = identity.read_credentials(folder / "credentials.json")
    return Access(endpoints.operator if operator else endpoints.object, keys.access_key, keys.secret_key)


def _from_environment(endpoint: str) -> Access:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    values = [os.environ.get(name, "") for name in names]
    missing = [name for name, value in zip(names, values, strict=True) if not value]
    if missing:
        raise Refused("NoKeys", f"--endpoint needs the keys in the environment; not set: {', '.join(missing)}")
    if not endpoint.startswith(("http://", "https://")):
        raise Refused("BadEndpoint", f"endpoint {endpoint!r} must begin with http:// or https://")
    return Access(endpoint.rstrip("/"), values[0], values[1], os.environ.get("AWS_CA_BUNDLE"))
