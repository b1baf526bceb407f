"""A request's body under its signature: what is proved of it, and when."""

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping

import pytest

from api.messages import Request
from api.s3.body import Body, open_body
from api.s3.payload import Payload, Unsigned, Whole, payload_of
from cluster.errors import Refused
from tests.api.s3.framing import FORMS, SIGNED, UNSIGNED_TRAILER, chunk_key, frame, key_of
from tests.api.s3.messages import message

SHA256 = hashlib.sha256(b"abcdef").digest()
CRC = "x-amz-checksum-crc32"


def put(pieces: Iterable[bytes], headers: Mapping[str, str] | None = None, length: int | None = 6) -> Request:
    return message("PUT", "/b/k", {"host": "h", **(headers or {})}, pieces, length)


def chunked(body: bytes, size: str = "6", headers: Mapping[str, str] | None = None) -> Request:
    cut = len(body) // 2
    return put([body[:cut], body[cut:]], {"x-amz-decoded-content-length": size, **(headers or {})}, len(body))


async def read(body: Body) -> bytes:
    return b"".join([piece async for piece in body])


def refused(request: Request, payload: Payload) -> str:
    with pytest.raises(Refused) as caught:
        open_body(request, payload, None)
    return caught.value.code


async def test_a_body_that_nothing_is_said_of_is_passed_on() -> None:
    body = open_body(put([b"abc", b"def"]), Unsigned(), None)
    assert (body.length, body.sha256, body.announced) == (6, None, ())
    assert await read(body) == b"abcdef"
    assert body.trailers == {}


@pytest.mark.parametrize("is_left", [True, False])
async def test_a_body_with_the_hash_that_was_signed_is_good(is_left: bool) -> None:
    body = open_body(put([b"abc", b"def"]), Whole(SHA256), None)
    if is_left:
        body.leave_hash()
    assert (body.length, body.sha256) == (6, SHA256)
    assert await read(body) == b"abcdef"


async def test_a_body_with_another_hash_does_not_end_well() -> None:
    body = open_body(put([b"abc", b"deg"]), Whole(SHA256), None)
    assert [await anext(body), await anext(body)] == [b"abc", b"deg"]
    with pytest.raises(Refused) as caught:
        await anext(body)
    assert caught.value.code == "XAmzContentSHA256Mismatch"
    assert caught.value.detail == {
        "ClientComputedContentSHA256": SHA256.hex(),
        "S3ComputedContentSHA256": hashlib.sha256(b"abcdeg").hexdigest(),
    }


async def test_who_hashes_the_whole_anyway_compares_it_too() -> None:
    body = open_body(put([b"abcdeg"]), Whole(SHA256), None)
    body.leave_hash()
    assert await read(body) == b"abcdeg"
    assert body.sha256 == SHA256


@pytest.mark.parametrize("name", FORMS)
async def test_framing_is_taken_off(name: str) -> None:
    form = FORMS[name]
    trailers = {CRC: "AAAAAA=="} if form.trailer else {}
    headers = {"x-amz-trailer": CRC.upper()} if form.trailer else {}
    request = chunked(frame(form, [b"abcd", b"ef"], trailers), headers=headers)
    body = open_body(request, form, key_of(form))
    assert (body.length, body.announced) == (6, tuple(trailers))
    assert body.trailers == {}
    assert await read(body) == b"abcdef"
    assert body.trailers == trailers
    assert await read(body) == b""


async def test_trailers_are_not_told_before_the_end() -> None:
    whole = frame(UNSIGNED_TRAILER, [b"abcdef"], {CRC: "AAAAAA=="})
    headers = {"x-amz-decoded-content-length": "6", "x-amz-trailer": CRC}
    body = open_body(put([whole], headers), UNSIGNED_TRAILER, None)
    assert await anext(body) == b"abcdef"
    assert body.trailers == {}
    with pytest.raises(StopAsyncIteration):
        await anext(body)
    assert body.trailers == {CRC: "AAAAAA=="}


async def test_a_wrong_signature_is_told_before_the_end() -> None:
    request = chunked(frame(SIGNED, [b"abcd", b"ef"], key=chunk_key("6" * 64)))
    with pytest.raises(Refused) as caught:
        await read(open_body(request, SIGNED, chunk_key()))
    assert caught.value.code == "SignatureDoesNotMatch"


async def test_what_the_connection_says_is_passed_on() -> None:
    class Broken:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"6\r\nabc"
            raise Refused("RequestTimeout", "too slow")

    request = Request("PUT", b"/b/k", b"", {"x-amz-decoded-content-length": "6"}, Broken(), 20, "", "", 0.0)
    with pytest.raises(Refused) as caught:
        await read(open_body(request, UNSIGNED_TRAILER, None))
    assert caught.value.code == "RequestTimeout"


def test_signed_chunks_need_a_signed_request() -> None:
    assert refused(chunked(frame(SIGNED, [b"abcdef"])), SIGNED) == "AccessDenied"


@pytest.mark.parametrize(
    ("size", "code"),
    [(None, "MissingContentLength"), ("", "InvalidArgument"), ("-1", "InvalidArgument"), ("٣", "InvalidArgument")],
)
def test_a_body_in_chunks_says_how_long_it_is(size: str | None, code: str) -> None:
    headers = {} if size is None else {"x-amz-decoded-content-length": size}
    assert refused(put([], headers), UNSIGNED_TRAILER) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("foo", "InvalidRequest"),
        ("content-md5", "InvalidRequest"),
        ("x-amz-content-sha256", "InvalidRequest"),
        ("x-amz-checksum-bad", "InvalidRequest"),
        (f", {CRC}", "InvalidRequest"),
        (f"{CRC}, x-amz-checksum-sha256", "InvalidRequest"),
        (f"{CRC}, {CRC}", "InvalidRequest"),
    ],
)
def test_one_checksum_may_be_announced(text: str, code: str) -> None:
    assert refused(chunked(b"", headers={"x-amz-trailer": text}), UNSIGNED_TRAILER) == code


@pytest.mark.parametrize("text", ["", ",", CRC, f"{CRC},", f" {CRC} , ", CRC.upper()])
def test_a_list_of_trailers_may_end_in_commas(text: str) -> None:
    body = open_body(chunked(b"", headers={"x-amz-trailer": text}), UNSIGNED_TRAILER, None)
    assert body.announced == ((CRC,) if text.strip(", ") else ())


@pytest.mark.parametrize("payload", [Unsigned(), Whole(SHA256), SIGNED])
def test_only_a_body_with_a_trailer_can_keep_the_announcement(payload: Payload) -> None:
    assert refused(put([], {"x-amz-trailer": CRC}), payload) == "MalformedTrailerError"


@pytest.mark.parametrize(
    ("headers", "payload"),
    [
        ({}, Unsigned()),
        ({"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}, Unsigned()),
        ({"x-amz-content-sha256": SHA256.hex().upper()}, Whole(SHA256)),
        ({"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}, UNSIGNED_TRAILER),
    ],
)
def test_the_form_of_an_anonymous_body_is_what_its_header_says(headers: dict[str, str], payload: Payload) -> None:
    assert payload_of(headers) == payload
