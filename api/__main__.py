"""`python -P -m api --config FILE --node NAME`: one API process.

Ends with the codes of `cluster.exits`. Keys are read from files and written nowhere.
"""

import argparse
import sys
from pathlib import Path

import msgspec
import trio

from api.edge.bounds import tls_context
from api.role import open_ports, run_role, tune_process
from cluster.config import ApiConfig, load
from cluster.errors import Refused
from cluster.exits import RoleExit
from cluster.identity import load_identity, read_cluster_key, read_credentials
from cluster.log import configure, get_logger


def main() -> RoleExit:
    """Run the role named on the command line; its exit code."""
    parser = argparse.ArgumentParser(prog="python -P -m api", description="One API process of a Trilith cluster.")
    parser.add_argument("--config", type=Path, required=True, help="the cluster's cluster.toml")
    parser.add_argument("--node", required=True, help="which [[api]] of it this process is")
    parser.add_argument("--object-listen", help="HOST:PORT in the place of the configured one; the port may be shared")
    parser.add_argument("--operator-listen", help="HOST:PORT in the place of the configured one")
    parser.add_argument("--insecure-listen", action="store_true", help="clear HTTP beyond loopback is wanted")
    arguments = parser.parse_args()
    configure("api", arguments.node)
    log = get_logger("api")
    try:
        config = load(arguments.config)
        node = config.role(arguments.node)
        if not isinstance(node, ApiConfig):
            raise Refused("BadConfig", f"{node.name} is no API process; see [[api]] in {arguments.config}")
        node = msgspec.structs.replace(
            node,
            object_listen=arguments.object_listen or node.object_listen,
            operator_listen=arguments.operator_listen or node.operator_listen,
            insecure_listen=node.insecure_listen or arguments.insecure_listen,
            tls_cert=node.tls_cert and str(config.path(node.tls_cert)),
            tls_key=node.tls_key and str(config.path(node.tls_key)),
        )
        me = load_identity(config, node.name)
        credentials = read_credentials(config.path(config.identity.credentials))
        cluster_key = read_cluster_key(config.path(config.identity.cluster_key))
        if node.tls_cert:
            tls_context(node.tls_cert, node.tls_key)  # keys that cannot be used are told before anything starts
        ports = open_ports(config, node, shared=arguments.object_listen is not None)
    except Refused as error:
        log.error("refused to start", code=error.code, reason=error.message)
        return RoleExit.CONFIG
    tune_process()
    try:
        trio.run(run_role, config, node, me, credentials, cluster_key, ports)
    except Exception:
        log.exception("failed")
        return RoleExit.INTERNAL
    return RoleExit.DONE


if __name__ == "__main__":
    sys.exit(main())
