"""A note beside a database whose rows were found to be wrong: no later process may open it either.

A supervisor that does not start the member again is begun anew some day, and the member would lead and serve until it
was found again. The note goes with the folder, when the member is replaced by another.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from cluster.errors import Corrupt
from metaraft.files import write_file

FILE = "condemned"

ROT = frozenset({"RowRot", "StoreRot", "SetHashWrong"})
"""What is found of rows that are wrong, whoever reads them. (A journal that is, is found so at each start.)"""


def condemn(store: Path, why: str) -> None:
    """Write down why the rows in this folder are wrong. Blocking; on a disk that takes no more it is left undone."""
    with contextlib.suppress(OSError):
        write_file(store / FILE, why.encode())


def condemn_rotten(store: Path, failures: BaseException) -> None:
    """Write it down if rows that are wrong are the cause of any of these failures."""
    for cause in _causes(failures):
        if isinstance(cause, Corrupt) and cause.code in ROT:
            condemn(store, str(cause))
            return


def is_condemned(store: Path) -> bool:
    """Whether there is such a note."""
    return (store / FILE).exists()


def refuse_condemned(store: Path) -> None:
    """Raises Corrupt (StoreCondemned) if there is such a note."""
    try:
        why = (store / FILE).read_text(errors="replace")
    except FileNotFoundError:
        return
    raise Corrupt("StoreCondemned", f"{why} (found before, and written down in {store / FILE})")


def _causes(error: BaseException) -> Iterator[BaseException | None]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    else:
        yield error.__cause__
