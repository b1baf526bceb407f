"""`cluster.toml`: the bootstrap facts of a cluster, typed.

It says who the processes are, where they listen and are dialled, where their data lies, and what limits and
timings they keep. What an operator changes while the cluster runs is in the replicated log, and wins. One file
serves all roles; on separate hosts each host has the same file. Relative paths are relative to the file's folder.

An address is `unix:PATH` or `tcp:HOST:PORT` (port 0 where it listens: any free one). `dial` is what others use and
may differ from `listen`; left out, it is the same.
"""

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from cluster.errors import Refused
from cluster.limits import UNIX_PATH_BYTES_MAX, Limits, Timings

FORMAT = 1
"""Version of the file's meaning; another one is refused."""

FILE_NAME = "cluster.toml"

_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_REGION = re.compile(r"[a-z0-9-]{1,63}")
_NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
"""Names become files, certificates and lines of the log."""

_RESERVED_NAMES = frozenset({"supervisor"})
"""The supervisor's own pid file and log are called so."""


class UnixAddress(msgspec.Struct, frozen=True):
    """A Unix socket's absolute path."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


class TcpAddress(msgspec.Struct, frozen=True):
    """A TCP host and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp:[{self.host}]:{self.port}" if ":" in self.host else f"tcp:{self.host}:{self.port}"


type Address = UnixAddress | TcpAddress


class MemberConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One metadata process. `slot` is its place in the quorum, from 1; `incarnation` 32 hex digits."""

    name: str
    slot: int
    incarnation: str
    listen: str
    dial: str = ""
    directory: str
    host: str = "localhost"


class ChunkdConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One node: a chunk daemon and its disk. `zone` is the failure zone, by default the host."""

    name: str
    disk_id: str
    listen: str
    dial: str = ""
    directory: str
    host: str = "localhost"
    zone: str = ""
    weight: int = 100


class ApiConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One API process: its HTTP listeners as `host:port`. Processes of one host may share ports (SO_REUSEPORT).

    `tls_cert` and `tls_key` make the object port speak HTTPS.
    """

    name: str
    object_listen: str = "127.0.0.1:9000"
    operator_listen: str = "127.0.0.1:9001"
    host: str = "localhost"
    tls_cert: str = ""
    tls_key: str = ""
    insecure_listen: bool = False


class StewardConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One steward, the background worker. It listens nowhere; of several one works, and the others wait."""

    name: str
    host: str = "localhost"


type NodeConfig = MemberConfig | ChunkdConfig | ApiConfig | StewardConfig


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where keys lie. `tls` holds `ca.pem`, and `NAME.pem` and `NAME.key` for each node of this host (TCP only).
    Each host that runs an API has the two others, mode 0600: `credentials` is the root key's file (JSON: access_key,
    secret_key), `cluster_key` the key under which users' secrets are sealed (64 hex digits)."""

    tls: str = "tls"
    credentials: str = "credentials.json"
    cluster_key: str = "cluster.key"


class S3Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The S3 dialect. Under each of `domains` a host names a bucket (`BUCKET.s3.localhost`); `region` is what clients
    are told; `sigv2` also takes requests signed the old way, which S3 itself has given up for new buckets."""

    domains: tuple[str, ...] = ("s3.localhost",)
    region: str = "us-east-1"
    sigv2: bool = False


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file. `copies` is N of the default scheme."""

    format: int
    cluster_id: str
    copies: int = 3
    run: str = "run"
    member: tuple[MemberConfig, ...] = ()
    chunkd: tuple[ChunkdConfig, ...] = ()
    api: tuple[ApiConfig, ...] = ()
    steward: tuple[StewardConfig, ...] = ()
    identity: Identity = Identity()
    s3: S3Config = S3Config()
    limits: Limits = Limits()
    timings: Timings = Timings()
    base: str = ""
    """Folder of the file, filled in by `load`; never written."""

    def path(self, text: str) -> Path:
        """A path of the file as an absolute one."""
        return Path(self.base, text).resolve()

    @property
    def nodes(self) -> tuple["NodeConfig", ...]:
        """All processes: members, chunk daemons, APIs, stewards."""
        members: tuple[NodeConfig, ...] = self.member
        chunkds: tuple[NodeConfig, ...] = self.chunkd
        return members + chunkds + self.api + self.steward

    def role(self, name: str) -> "NodeConfig":
        """The section of one process by its name. Raises Refused (UnknownNode) with the names there are."""
        nodes = self.nodes
        for node in nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in nodes)
        raise Refused("UnknownNode", f"no node is called {name!r} in {FILE_NAME}; there are: {known}")


def address(text: str, base: str = "") -> Address:
    """Parse `unix:PATH` or `tcp:HOST:PORT`. Raises Refused (BadAddress)."""
    scheme, _, rest = text.partition(":")
    if scheme == "unix" and rest:
        path = str(Path(base, rest)) if base else rest
        size = len(path.encode())
        if size > UNIX_PATH_BYTES_MAX:
            raise Refused(
                "BadAddress",
                f"socket path {path!r} has {size} bytes; at most {UNIX_PATH_BYTES_MAX} are possible",
            )
        return UnixAddress(path)
    host, _, port = rest.rpartition(":")
    if scheme == "tcp" and host and port.isascii() and port.isdigit() and int(port) <= 65535:
        return TcpAddress(host.strip("[]"), int(port))
    raise Refused("BadAddress", f"address {text!r} is neither unix:PATH nor tcp:HOST:PORT (port 0 to 65535)")


def load(file: Path) -> Config:
    """Read and check a configuration. Raises Refused (BadConfig) naming the key and what is allowed."""
    try:
        raw = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise Refused("BadConfig", f"there is no {file}; `trilith init` makes one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused("BadConfig", f"{file} is not TOML: {error}") from error
    if raw.get("format") != FORMAT:
        raise Refused("BadConfig", f"{file}: format is {raw.get('format')!r}; this version reads {FORMAT}")
    raw["base"] = str(file.resolve().parent)
    unknown = _unknown_key(raw, Config, "")
    if unknown is not None:
        raise Refused("BadConfig", f"{file}: {unknown}")
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise Refused("BadConfig", f"{file}: {error}") from error
    reason = invalid(config)
    if reason is not None:
        raise Refused("BadConfig", f"{file}: {reason}")
    return config


def invalid(config: Config) -> str | None:
    """Why these values cannot make a cluster, or None."""
    reason = _invalid_names([node.name for node in config.nodes]) or _invalid_s3(config.s3)
    if reason is not None:
        return reason
    if len(config.member) not in (1, 3, 5):
        return f"there are {len(config.member)} members; a quorum has 1, 3 or 5 slots"
    if sorted(member.slot for member in config.member) != list(range(1, len(config.member) + 1)):
        return f"member slots must be 1 to {len(config.member)}, each once"
    if config.copies < 1:
        return f"copies is {config.copies}; it must be at least 1"
    if config.limits.inline_bytes > config.limits.inline_bytes_max:
        return f"limits.inline_bytes is {config.limits.inline_bytes}; at most {config.limits.inline_bytes_max}"
    for section in (config.limits, config.timings):
        for name in section.__struct_fields__:
            if getattr(section, name) < 0:
                return f"{name} is {getattr(section, name)}; it must not be negative"
    for node in config.nodes:
        addresses = () if isinstance(node, ApiConfig | StewardConfig) else (node.listen, node.dial or node.listen)
        for text in addresses:
            try:
                address(text, config.base)
            except Refused as error:
                return f"{node.name}: {error.message}"
    return None


def _invalid_names(names: list[str]) -> str | None:
    for name in names:
        if not _NODE_NAME.fullmatch(name) or name in _RESERVED_NAMES:
            return f"node name {name!r} is not possible: 1 to 63 letters, digits and hyphens, and not 'supervisor'"
    doubled = {name for name in names if names.count(name) > 1}
    return f"node names are given twice: {', '.join(sorted(doubled))}" if doubled else None


def _invalid_s3(section: S3Config) -> str | None:
    for domain in section.domains:
        if not _DOMAIN.fullmatch(domain):
            return f"s3.domains has {domain!r}; a domain has lower-case letters, digits, dots, hyphens, and no port"
    if not _REGION.fullmatch(section.region):
        return f"s3.region is {section.region!r}; it must be 1 to 63 lower-case letters, digits and hyphens"
    return None


def _unknown_key(raw: dict[str, Any], struct: type[msgspec.Struct], where: str) -> str | None:
    """A sentence on the first key that the file has and the struct has not, with the nearest name it has."""
    fields = {field.name: field.type for field in msgspec.structs.fields(struct)}
    for key, value in raw.items():
        if key not in fields:
            known = sorted(set(fields) - {"base"})
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known)}"
            return f"unknown key {where + key!r}; {hint}"
        inner = _struct_of(fields[key])
        items = value if isinstance(value, list) else [value]
        for item in items:
            if inner is not None and isinstance(item, dict):
                found = _unknown_key(item, inner, f"{where}{key}.")
                if found is not None:
                    return found
    return None


def _struct_of(hint: Any) -> type[msgspec.Struct] | None:
    """The struct in a field's type: itself, or the item of `tuple[X, ...]`."""
    for candidate in (hint, *getattr(hint, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None


def dump(config: Config) -> str:
    """The configuration as TOML text, defaults of limits and timings left out; `load` reads it back."""
    lines = ["# Bootstrap facts of a Trilith cluster. Made by `trilith init`.", ""]
    tables: list[str] = []
    for name in config.__struct_fields__:
        value = getattr(config, name)
        if name == "base":
            continue
        if isinstance(value, tuple):
            for item in value:
                tables += [f"[[{name}]]", *_toml_lines(item), ""]
        elif isinstance(value, msgspec.Struct):
            body = _toml_lines(value, only_changed=name in ("s3", "limits", "timings"))
            tables += [f"[{name}]", *body, ""] if body else []
        else:
            lines.append(f"{name} = {_toml_value(value)}")
    return "\n".join([*lines, "", *tables])


def _toml_lines(value: msgspec.Struct, *, only_changed: bool = False) -> list[str]:
    default = type(value)() if only_changed else None
    return [
        f"{name} = {_toml_value(getattr(value, name))}"
        for name in value.__struct_fields__
        if default is None or getattr(value, name) != getattr(default, name)
    ]


def _toml_value(value: str | float | bool | tuple[str, ...]) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
        return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
    return repr(value)
