"""`python -m metaraft` that dies, as by kill -9, at a point on the way of a copy.

The point is `before` or `after` and the name of a function, whose first call it is.
"""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

DIED = 86
"""The exit code of who died so."""

PROGRAM = ["-c", "import sys; sys.path.insert(0, '.'); from tests.metaraft.dying import main; sys.exit(main())"]


def main() -> int:
    """Run the member."""
    when, name = sys.argv.pop(1).split(" ")
    module, _, path = name.partition(":")
    owner: Any = importlib.import_module(module)
    *inner, attribute = path.split(".")
    for part in inner:
        owner = getattr(owner, part)
    setattr(owner, attribute, dying(when, getattr(owner, attribute)))
    from metaraft.__main__ import main as member

    return member()


def dying(when: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose first call is the last thing that happens."""

    def call(*arguments: Any, **named: Any) -> Any:
        if when == "after":
            function(*arguments, **named)
        os._exit(DIED)

    return call


if __name__ == "__main__":
    sys.exit(main())
