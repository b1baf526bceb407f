"""A note beside a database whose rows were found to be wrong: no later process may open it either.

A supervisor that does not start the member again is begun anew some day, and the member would lead and serve until it
was found again. The note goes with the rows when they are replaced by a copy, or the member by another.
"""

import contextlib
import os
from pathlib import Path

from cluster.errors import Corrupt

FILE = "condemned"


def condemn(store: Path, why: str) -> None:
    """Write down why the rows in this folder are wrong. Blocking; on a disk that takes no more it is left undone."""
    with contextlib.suppress(OSError), (store / FILE).open("w") as note:
        note.write(why)
        note.flush()
        os.fsync(note.fileno())


def refuse_condemned(store: Path) -> None:
    """Raises Corrupt (StoreCondemned) if there is such a note."""
    try:
        why = (store / FILE).read_text(errors="replace")
    except FileNotFoundError:
        return
    raise Corrupt("StoreCondemned", f"{why} (found before, and written down in {store / FILE})")
