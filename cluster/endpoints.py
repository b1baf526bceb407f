"""`endpoints.json`: where the cluster of a folder answers. It is there only while a supervisor runs that saw all of it
ready."""

import os
from pathlib import Path

import msgspec

from cluster.errors import Refused, Unavailable

ENDPOINTS_FILE = "endpoints.json"


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """URLs of the object port and of the operator port."""

    object: str
    operator: str


def write_endpoints(directory: Path, endpoints: Endpoints) -> None:
    """Publish where the cluster answers, atomically."""
    temporary = directory / f".{ENDPOINTS_FILE}.tmp"
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(endpoints)) + b"\n")
    os.replace(temporary, directory / ENDPOINTS_FILE)


def read_endpoints(directory: Path) -> Endpoints:
    """Where the cluster in `directory` answers. Raises Unavailable (NotRunning), Refused (BadEndpoints)."""
    file = directory / ENDPOINTS_FILE
    try:
        return msgspec.json.decode(file.read_bytes(), type=Endpoints)
    except FileNotFoundError:
        raise Unavailable(
            "NotRunning", f"no cluster is ready in {directory}; `trilith up {directory}` starts one"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused("BadEndpoints", f"{file} is not what `trilith up` writes: {error}") from error
