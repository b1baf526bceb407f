"""What a load's history shows: contradictions, and acknowledged writes that are gone."""

from collections.abc import Sequence

from chaos.check import check_key
from chaos.history import Operation
from chaos.load import Load


def judge(load: Load) -> list[str]:
    """All that no order of the operations explains, with the operations; a search that was not finished too."""
    found = list(load.history.violations)
    for key, operations in load.history.operations.items():
        verdict = check_key(operations)
        if verdict != "linearizable":
            found.append(f"{key}: {verdict}: {operations}")
    return found


def lost(load: Load) -> int:
    """How many keys do not have at the end what was written to them last and acknowledged.

    Those alone whose last write is known: one that began after all others had ended. (Whatever else can be lost
    contradicts the history, and `judge` finds it.)
    """
    return sum(_is_lost(operations) for operations in load.history.operations.values())


def _is_lost(operations: Sequence[Operation]) -> bool:
    writes = [operation for operation in operations if operation.kind in ("put", "delete")]
    if not writes or any(write.end is None for write in writes):
        return False
    last = max(writes, key=lambda write: write.begin)
    assert last.end is not None
    if any(write.end is not None and write.end >= last.begin for write in writes if write is not last):
        return False
    reads = [read for read in operations if read.kind == "get" and read.end is not None and read.begin > last.end]
    return any(read.value != last.value for read in reads)
