"""Requests of several clients on one key or upload at once: what each is told fits what there is in the end."""

import hashlib
import itertools
from collections.abc import Awaitable, Callable, Iterable

import trio

from api.s3 import xml
from tests.api.s3.attacking import Client, Stage, code, stage
from tests.api.s3.storing import completion
from tests.api.whole import Answer

ROUNDS = 8
CLIENTS = 16

type Call = Callable[[], Awaitable[Answer]]


async def at_once(calls: Iterable[Call]) -> list[Answer]:
    """The answers to calls that are made at once, in order of the calls."""
    answers: dict[int, Answer] = {}

    async def run(number: int, call: Call) -> None:
        answers[number] = await call()

    async with trio.open_nursery() as nursery:
        for number, call in enumerate(calls):
            nursery.start_soon(run, number, call)
    return [answers[number] for number in sorted(answers)]


def put(client: Client, target: str, body: bytes, headers: dict[str, str] | None = None) -> Call:
    return lambda: client("PUT", target, body, headers)


def complete(client: Client, target: str, etag: str) -> Call:
    return lambda: client("POST", target, completion((1, etag)).encode())


def delete(client: Client, target: str) -> Call:
    return lambda: client("DELETE", target)


async def begun(on: Stage, key: str, data: bytes) -> tuple[str, str]:
    """The target of an upload with part 1, and the part's ETag."""
    upload = await on.begin(on.ann, f"/anns/{key}")
    part = await on.ann("PUT", f"/anns/{key}?partNumber=1&uploadId={upload}", data)
    return f"/anns/{key}?uploadId={upload}", part.headers["etag"]


async def test_of_many_conditional_writes_at_once_one_wins() -> None:
    async with stage() as on:
        etag = (await on.ann("PUT", "/anns/kept", b"first")).headers["etag"]
        for turn in range(ROUNDS):
            for key, headers in ((f"new-{turn}", {"if-none-match": "*"}), ("kept", {"if-match": etag})):
                bodies = [f"{turn} by {number}".encode() for number in range(CLIENTS)]
                answers = await at_once([put(on.ann, f"/anns/{key}", body, headers) for body in bodies])
                won = [number for number, answer in enumerate(answers) if answer.status == 200]
                assert len(won) == 1
                assert {code(answer) for answer in answers} <= {"", "PreconditionFailed", "ConditionalRequestConflict"}
                assert (await on.ann("GET", f"/anns/{key}")).body == bodies[won[0]]
                etag = answers[won[0]].headers["etag"]


async def test_completing_at_once_and_again_answers_the_same() -> None:
    async with stage() as on:
        target, etag = await begun(on, "whole", b"part")
        answers = await at_once([complete(on.ann, target, etag)] * CLIENTS)
        answers.append(await complete(on.ann, target, etag)())
        assert {answer.status for answer in answers} == {200}
        assert len({xml.parse(each.body, "CompleteMultipartUploadResult").value("ETag") for each in answers}) == 1
        assert (await on.ann("GET", "/anns/whole")).body == b"part"


async def test_of_abort_and_complete_at_once_one_happens() -> None:
    async with stage() as on:
        for turn in range(ROUNDS):
            target, etag = await begun(on, f"either-{turn}", b"part")
            calls = [complete(on.ann, target, etag), delete(on.ann, target)]
            if turn % 2:
                calls.reverse()
            answers = await at_once(calls)
            if turn % 2:
                answers.reverse()
            completed, aborted = answers
            found = await on.ann("GET", f"/anns/either-{turn}")
            if completed.status == 200:
                assert code(aborted) == "NoSuchUpload"
                assert (found.status, found.body) == (200, b"part")
            else:
                assert (code(completed), aborted.status, found.status) == ("NoSuchUpload", 204, 404)
            listed = await on.ann("GET", "/anns?uploads=")
            assert xml.parse(listed.body, "ListMultipartUploadsResult").all("Upload") == []


async def test_a_part_that_is_replaced_while_its_upload_is_completed_is_in_it_as_named_or_not_at_all() -> None:
    async with stage() as on:
        for turn in range(ROUNDS):
            target, etag = await begun(on, f"part-{turn}", b"the part that is named")
            again = target.replace("?", "?partNumber=1&")
            calls = [complete(on.ann, target, etag), put(on.ann, again, b"another one")]
            completed, replaced = await at_once(calls if turn % 2 else calls[::-1])
            if not turn % 2:
                completed, replaced = replaced, completed
            found = await on.ann("GET", f"/anns/part-{turn}")
            if completed.status == 200:
                assert found.body == b"the part that is named"
                assert found.headers["etag"] == f'"{hashlib.md5(bytes.fromhex(etag.strip('"'))).hexdigest()}-1"'
                assert code(replaced) in ("", "NoSuchUpload")
            else:
                assert code(completed) in ("InvalidPart", "ServiceUnavailable")
                assert (replaced.status, found.status) == (200, 404)


async def test_pages_of_a_listing_have_what_was_there_all_the_time_once_whatever_is_deleted_meanwhile() -> None:
    async with stage() as on:
        keys = [f"{letter}{number:02}" for letter in "ab" for number in range(40)]
        await at_once([put(on.ann, f"/anns/{key}", b"x") for key in keys])
        seen: list[str] = []
        doomed = itertools.cycle(key for key in keys if key[-1] in "13579")
        token = ""
        while True:
            more = f"&continuation-token={token}" if token else ""
            query = "&".join(sorted(f"list-type=2&max-keys=7&prefix={more}".split("&")))
            page = xml.parse((await on.ann("GET", f"/anns?{query}")).body, "ListBucketResult")
            entries = [node.value("Key") or "" for node in page.all("Contents")]
            assert page.value("KeyCount") == str(len(entries))
            seen += entries
            if page.value("IsTruncated") == "false":
                break
            assert len(entries) == 7
            token = (
                (page.value("NextContinuationToken") or "").replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")
            )
            for _ in range(6):
                await on.ann("DELETE", f"/anns/{next(doomed)}")
        assert seen == sorted(set(seen))
        assert {*[key for key in keys if key[-1] in "02468"], "k"} <= set(seen)


async def test_while_versioning_is_suspended_there_is_one_null_version_whoever_writes() -> None:
    async with stage() as on:
        for status in ("Enabled", "Suspended"):
            body = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>".encode()
            assert (await on.ann("PUT", "/anns?versioning=", body)).status == 200
            bodies = [f"{status} {number}".encode() for number in range(CLIENTS)]
            answers = await at_once([put(on.ann, "/anns/v", body) for body in bodies])
            assert {answer.status for answer in answers} == {200}
            ids = {answer.headers["x-amz-version-id"] for answer in answers}
            assert len(ids) == CLIENTS if status == "Enabled" else ids == {"null"}
        await at_once([delete(on.ann, "/anns/v")] * 3)
        listed = xml.parse((await on.ann("GET", "/anns?prefix=v&versions=")).body, "ListVersionsResult")
        assert len(listed.all("Version")) == CLIENTS
        assert [node.value("VersionId") for node in listed.all("DeleteMarker")] == ["null"]
        assert (await on.ann("GET", "/anns/v")).status == 404
        assert (await on.ann("DELETE", "/anns/v?versionId=null")).headers["x-amz-delete-marker"] == "true"
        assert (await on.ann("GET", "/anns/v")).body.startswith(b"Enabled ")
