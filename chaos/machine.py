"""What this machine itself can do, measured in the same run as the product, so that a ratio can be quoted."""

import hashlib
import os
import tempfile
import threading
import time
from pathlib import Path

import msgspec
from blake3 import blake3

MIB = 1024 * 1024


class Machine(msgspec.Struct, kw_only=True):
    """Limits of the machine: milliseconds and MB/s (10^6 bytes)."""

    cores: int
    fdatasync_4k_p50_ms: float
    fdatasync_4k_p99_ms: float
    memory_copy_mb_s: float
    md5_mb_s: float
    sha256_mb_s: float
    blake3_mb_s: float
    three_synced_writers_mb_s: float


def measure(folder: Path) -> Machine:
    """All limits; about ten seconds. Writes and removes files in `folder`."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".machine-") as name:
        syncs = _fdatasync_times(Path(name, "journal"))
        writers = _three_writers(Path(name))
    data = os.urandom(64 * MIB)
    target = bytearray(len(data))
    return Machine(
        cores=os.cpu_count() or 1,
        fdatasync_4k_p50_ms=round(syncs[len(syncs) // 2] * 1e3, 3),
        fdatasync_4k_p99_ms=round(syncs[len(syncs) * 99 // 100] * 1e3, 3),
        memory_copy_mb_s=_rate(lambda: target.__setitem__(slice(None), data), len(data)),
        md5_mb_s=_rate(lambda: hashlib.md5(data, usedforsecurity=False), len(data)),
        sha256_mb_s=_rate(lambda: hashlib.sha256(data), len(data)),
        blake3_mb_s=_rate(lambda: blake3(data), len(data)),
        three_synced_writers_mb_s=round(writers, 1),
    )


def _rate(work: object, size: int) -> float:
    assert callable(work)
    work()
    times = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return round(size / sorted(times)[1] / 1e6, 1)


def _fdatasync_times(file: Path) -> list[float]:
    """Sorted seconds of 300 appends of 4 KiB, each with fdatasync."""
    times = []
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY)
    try:
        for index in range(300):
            os.pwrite(descriptor, b"x" * 4096, index * 4096)
            began = time.perf_counter()
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
    return sorted(times)


def _three_writers(folder: Path) -> float:
    """MB/s of content when three threads each write the same 256 MiB in fsynced files of 8 MiB."""
    piece = os.urandom(8 * MIB)
    count = 32

    def write(writer: int) -> None:
        for index in range(count):
            descriptor = os.open(folder / f"{writer}-{index}", os.O_CREAT | os.O_WRONLY)
            os.write(descriptor, piece)
            os.fsync(descriptor)
            os.close(descriptor)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(3)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count * len(piece) / (time.perf_counter() - began) / 1e6
