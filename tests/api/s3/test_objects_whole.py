"""Objects and uploads over a whole cluster: a log, three members, three daemons, and their faults."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from api.s3.waiting import LongAnswers
from tests.api.s3.storing import Caller, md5
from tests.api.whole import Whole, whole

MIB = 1024 * 1024
BIG = (bytes(range(251)) * 40_000)[: 9 * MIB]
PART = BIG[: 5 * MIB]
DELETE = "<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object><Object><Key>c</Key></Object></Delete>"


@asynccontextmanager
async def calling(cluster: Whole) -> AsyncGenerator[Caller]:
    """A caller with a bucket `bucket`."""
    async with trio.open_nursery() as nursery:
        answers = LongAnswers("host-1")
        await nursery.start(answers.run)
        s3 = Caller(cluster.apps.operations, cluster.config.limits, answers)
        assert (await s3.call("PUT", "/bucket")).status == 200
        yield s3
        nursery.cancel_scope.cancel()


async def test_an_object_lives_from_its_making_to_its_removal() -> None:
    async with whole() as cluster, calling(cluster) as s3:
        await s3.versioning()
        stored = await s3.put("a", BIG, {"x-amz-meta-a": "1", "x-amz-tagging": "t=1"})
        found = await s3.get("a", {"range": "bytes=8388600-8388700"})
        assert (found.status, found.body) == (206, BIG[8_388_600:8_388_701])
        await s3.put("b", b"", {"x-amz-copy-source": "bucket/a"})
        assert (await s3.head("b")).headers["x-amz-meta-a"] == "1"
        assert (await s3.upload("c", PART, b"end")).status == 200
        assert (await s3.get("c?partNumber=2")).body == b"end"
        gone = await s3.call("POST", "/bucket?delete", DELETE, {"content-md5": md5(DELETE.encode())})
        assert gone.texts("Deleted") == ["a", "b", "c"]
        assert (await s3.get("a")).headers["x-amz-delete-marker"] == "true"
        assert (await s3.get(f"a?versionId={stored.headers['x-amz-version-id']}")).body == BIG


async def test_an_upload_goes_on_while_a_member_and_a_daemon_are_down() -> None:
    async with whole(members=3) as cluster, calling(cluster) as s3:
        upload = await s3.begin("key")
        first = await s3.put(f"key?partNumber=1&uploadId={upload}", PART)
        second = await s3.put(f"key?partNumber=2&uploadId={upload}", b"end")
        await cluster.stop("chunk-1")
        for member in ("meta-1", "meta-2", "meta-3"):
            await cluster.stop(member)
            again = await s3.put(f"key?partNumber=2&uploadId={upload}", b"end")
            assert again.headers["etag"] == second.headers["etag"]
            assert (await s3.get(f"key?uploadId={upload}")).texts("Part", "PartNumber") == ["1", "2"]
            await cluster.start(member)
        done = await s3.complete("key", upload, [(1, first.headers["etag"]), (2, second.headers["etag"])])
        assert done.status == 200
        assert (await s3.get("key")).body == PART + b"end"


async def test_of_many_that_complete_if_nothing_is_there_one_wins() -> None:
    async with whole(members=3) as cluster, calling(cluster) as s3:
        statuses: list[int] = []

        async def race(number: int) -> None:
            upload = await s3.begin("key")
            etag = (await s3.put(f"key?partNumber=1&uploadId={upload}", b"%d" % number)).headers["etag"]
            done = await s3.complete("key", upload, [(1, etag)], {"if-none-match": "*"})
            statuses.append(done.status)

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(race, number)
        assert sorted(statuses) == [200] + [412] * 7
