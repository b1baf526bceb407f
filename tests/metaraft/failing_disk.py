"""`python -m metaraft` on a disk whose fdatasync fails from the moment a file `fail` lies beside the configuration.

What fails is the journal's or the database's, as the first argument says: the call itself, in this process.
"""

import errno
import os
import sys
from pathlib import Path

_real = os.fdatasync


def main() -> int:
    """Run the member."""
    flag = Path(sys.argv[sys.argv.index("--config") + 1]).with_name("fail")
    code = int(sys.argv.pop(1))

    def fdatasync(fd: int) -> None:
        if flag.exists():
            raise OSError(code, f"{os.strerror(code)} (injected; {errno.errorcode[code]})")
        _real(fd)

    os.fdatasync = fdatasync  # type: ignore[assignment]
    from metaraft.__main__ import main as member

    return member()


if __name__ == "__main__":
    sys.exit(main())
