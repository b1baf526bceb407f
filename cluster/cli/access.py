"""Which cluster a command talks to, and with which keys.

`--endpoint` with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the folder of a local cluster (`--dir`, TRILITH_DIR,
`./data`), whose `endpoints.json` and root key are read. AWS_ENDPOINT_URL is not: a key that was meant for another
store would be sent there in clear text.
"""

import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cluster import identity
from cluster.config import FILE_NAME, Config, load
from cluster.endpoints import read_endpoints
from cluster.errors import Refused

DEFAULT_DIRECTORY = "./data"

_KEY = re.compile(r"[!-9;-~]+")  # printable ASCII without space; the colon divides access key and secret
_SECRET = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Access:
    """Where to ask and as whom.

    `ca_file` replaces the system's authorities for HTTPS. `certificate` (DER) is the only one that is accepted: that
    of a cluster in a folder of this machine, whose name need not be the one it is asked by.
    """

    endpoint: str
    access_key: str
    secret_key: str
    ca_file: str | None = None
    certificate: bytes | None = None

    def __repr__(self) -> str:
        return f"Access(endpoint={self.endpoint!r}, access_key={self.access_key!r})"


def directory_of(option: str | None) -> Path:
    """The folder of the local cluster."""
    return Path(option or os.environ.get("TRILITH_DIR") or DEFAULT_DIRECTORY)


def find(directory: str | None, endpoint: str | None, *, operator: bool = False) -> Access:
    """The access for a command. Raises Refused (TwoClusters, BadEndpoint, NoKeys, ...) or Unavailable (NotRunning)."""
    if directory is not None and endpoint is not None:
        raise Refused("TwoClusters", "--dir and --endpoint name a cluster each; give one of them")
    if endpoint is not None:
        return _from_environment(endpoint)
    folder = directory_of(directory)
    endpoints = read_endpoints(folder)
    return local(load(folder / FILE_NAME), endpoints.operator if operator else endpoints.object)


def local(config: Config, endpoint: str) -> Access:
    """The root's access to a cluster of this machine. Raises Refused (NoKeys, BadCertificate)."""
    keys = identity.read_credentials(config.path(config.identity.credentials))
    certificate = None
    if endpoint.startswith("https:"):
        file = config.path(config.api[0].tls_cert)
        try:
            pem = file.read_text("ascii")
            first = pem[pem.index(ssl.PEM_HEADER) : pem.index(ssl.PEM_FOOTER)] + ssl.PEM_FOOTER
            certificate = ssl.PEM_cert_to_DER_cert(first)
        except (OSError, ValueError) as error:
            raise Refused("BadCertificate", f"{file} holds no certificate: {error}") from error
    return _checked(Access(endpoint, keys.access_key, keys.secret_key, certificate=certificate), "the root key")


def _from_environment(endpoint: str) -> Access:
    try:
        url = urlsplit(endpoint)
        port_is_good = url.port != 0
    except ValueError:
        url, port_is_good = urlsplit(""), False
    if url.scheme not in ("http", "https") or not url.hostname or not port_is_good:
        raise Refused("BadEndpoint", f"endpoint {endpoint!r} is not http://HOST:PORT or https://HOST:PORT")
    if url.username is not None or url.path not in ("", "/") or url.query or url.fragment:
        raise Refused("BadEndpoint", "an endpoint is only http(s)://HOST:PORT: no user, path or query in it")
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    values = [os.environ.get(name, "") for name in names]
    missing = [name for name, value in zip(names, values, strict=True) if not value]
    if missing:
        raise Refused("NoKeys", f"--endpoint needs the keys in the environment; not set: {', '.join(missing)}")
    access = Access(endpoint.rstrip("/"), values[0], values[1], os.environ.get("AWS_CA_BUNDLE") or None)
    return _checked(access, " or ".join(names))


def _checked(access: Access, source: str) -> Access:
    if not _KEY.fullmatch(access.access_key) or not _SECRET.fullmatch(access.secret_key):
        raise Refused("NoKeys", f"{source} holds characters that no key has (a space or the end of a line, perhaps)")
    return access
