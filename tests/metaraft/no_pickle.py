"""`python -m metaraft` in a process where unpickling anything ends it at once with a code of its own.

Every way to unpickle is replaced before the program is imported, so nothing can hold on to the real ones.
"""

import _pickle
import os
import pickle
import sys
from typing import Any

UNPICKLED = 99
"""Exit code of a process that tried."""


def _end(*_arguments: Any, **_named: Any) -> Any:
    os._exit(UNPICKLED)


class _Ends(pickle._Unpickler):
    load = _end  # PySyncObj adds to its parent's tables when it is imported


def main() -> int:
    """Run the member."""
    for module in (pickle, _pickle):
        for name in ("loads", "load", "_loads", "_load"):
            setattr(module, name, _end)
        for name in ("Unpickler", "_Unpickler"):
            setattr(module, name, _Ends)

    def watch(event: str, _arguments: tuple[Any, ...]) -> None:
        if event == "pickle.find_class":
            os._exit(UNPICKLED)

    sys.addaudithook(watch)
    from metaraft.__main__ import main as member

    return member()


if __name__ == "__main__":
    sys.exit(main())
