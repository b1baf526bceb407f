"""`python -P -m chaos.crash_client CLUSTER_TOML OPERATIONS MARKS`: one member under a load of so many operations.

It starts the member, does the operations with a few clients at once, and writes the number of each into the file of
marks as soon as it was acknowledged: under strace, that write is the mark. Then it kills the member.
"""

import contextlib
import logging
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import structlog
import trio

from cluster.config import Config, load
from cluster.errors import Refused
from cluster.identity import NodeIdentity
from cluster.limits import Limits
from cluster.process import end_with_parent
from cluster.supervisor import role_command
from metaraft.client import MetaClient
from metaraft.commands import Command, CreateBucket, DeleteObject, PutObject, SetBucketSetting
from metaraft.model import Copies, Inline
from metaraft.results import BucketDone

CLIENTS = 3
DEADLINE_S = 60.0


def key_of(operation: int) -> bytes:
    """The idempotency key of an operation, by which it is found in the log."""
    return operation.to_bytes(16, "big")


def operation_of(key: bytes) -> int:
    """The operation that has this idempotency key."""
    return int.from_bytes(key, "big")


def command_of(operation: int, bucket_id: int) -> Command:
    """What an operation does: puts of all sizes over a few keys, deletes, and values that shrink."""
    dice = random.Random(operation)
    key = f"k{dice.randrange(24)}"
    match dice.randrange(8):
        case 0:
            return DeleteObject("b", key)
        case 1:
            return SetBucketSetting("b", "s", dice.randbytes(dice.choice([10, 3000])))
        case _:
            data = dice.randbytes(dice.choice([0, 40, 700, 4000]))
            return PutObject("b", bucket_id, key, len(data), "0" * 32, "", Inline(data))


async def run(config: Config, operations: int, marks: int) -> None:
    """All operations. The first one makes the bucket. After three quarters the load rests until the log was cut."""
    client = MetaClient(config, NodeIdentity(config.cluster_id, "api-1"))
    rest_after = operations * 3 // 4

    async def write(bucket_id: int, left: Iterator[int]) -> None:
        for operation in left:
            with contextlib.suppress(Refused):  # that was decided in the log as well
                await client.commit(command_of(operation, bucket_id), key=key_of(operation), deadline=soon())
            os.write(marks, b"%d\n" % operation)

    async with trio.open_nursery() as nursery:
        await nursery.start(client.run)
        made = await client.commit(CreateBucket("b", "o", Copies(3)), key=key_of(1), deadline=soon())
        assert isinstance(made, BucketDone)
        os.write(marks, b"1\n")
        for part in (range(2, rest_after + 1), range(rest_after + 1, operations + 1)):
            await cut(client, config.limits)
            left = iter(part)
            async with trio.open_nursery() as writers:
                for _ in range(CLIENTS):
                    writers.start_soon(write, made.bucket.bucket_id, left)
        nursery.cancel_scope.cancel()


async def cut(client: MetaClient, limits: Limits) -> None:
    """Wait until the log is no longer than two segments: one that has more can drop some. Raises trio.TooSlowError."""
    with trio.fail_after(DEADLINE_S):
        while True:
            [member] = await client.status()
            if member.role != "unreachable" and member.log_bytes <= 2 * limits.journal_segment_bytes:
                return
            await trio.sleep(0.05)


def soon() -> float:
    """A deadline."""
    return trio.current_time() + DEADLINE_S


def main() -> None:
    """From the command line."""
    config_file, operations, marks = sys.argv[1:]
    descriptor = os.open(marks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    config = load(Path(config_file))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    command = role_command("metaraft", Path(config_file), config.member[0].name)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=end_with_parent()) as member:  # noqa: PLW1509, S603 - one prctl; our own module
        try:
            trio.run(run, config, int(operations), descriptor)
        finally:
            member.kill()


if __name__ == "__main__":
    main()
