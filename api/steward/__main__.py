"""`python -P -m api.steward --config FILE --node NAME`: one steward.

Ends with the codes of `cluster.exits`. Several may run; one at a time works, and another takes over when it is gone.
"""

import argparse
import sys
from pathlib import Path

import trio

from api.steward.role import run_role
from cluster.config import StewardConfig, load
from cluster.errors import Refused
from cluster.exits import RoleExit
from cluster.identity import load_identity
from cluster.log import configure, get_logger


def main() -> RoleExit:
    """Run the role named on the command line; its exit code."""
    parser = argparse.ArgumentParser(prog="python -P -m api.steward", description="One steward of a Trilith cluster.")
    parser.add_argument("--config", type=Path, required=True, help="the cluster's cluster.toml")
    parser.add_argument("--node", required=True, help="which [[steward]] of it this process is")
    arguments = parser.parse_args()
    configure("steward", arguments.node)
    log = get_logger("steward")
    try:
        config = load(arguments.config)
        node = config.role(arguments.node)
        if not isinstance(node, StewardConfig):
            raise Refused("BadConfig", f"{node.name} is no steward; see [[steward]] in {arguments.config}")
        me = load_identity(config, node.name)
    except Refused as error:
        log.error("refused to start", code=error.code, reason=error.message)
        return RoleExit.CONFIG
    try:
        trio.run(run_role, config, node, me)
    except Exception:
        log.exception("failed")
        return RoleExit.INTERNAL
    return RoleExit.DONE


if __name__ == "__main__":
    sys.exit(main())
