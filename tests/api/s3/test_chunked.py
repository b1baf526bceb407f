"""The aws-chunked framing: AWS's documented examples, every way to cut the bytes, and every way to get it wrong."""

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.s3.chunked import LINE_BYTES_MAX, SMALL_CHUNKS_MAX, TRAILER_BYTES_MAX, ChunkedDecoder
from api.s3.payload import Chunked
from api.s3.sigv4 import ChunkKey
from cluster.errors import Refused
from tests.api.s3.framing import (
    FORMS,
    SIGNED,
    SIGNED_TRAILER,
    UNSIGNED_TRAILER,
    chunk_key,
    frame,
    key_of,
    sign_chunk,
)

SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
TRAILER_SEED = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
DOCUMENTED = (
    b"10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n"
    + b"a" * 65536
    + b"\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n"
    + b"a" * 1024
    + b"\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
)
DOCUMENTED_TRAILER = (
    b"10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n"
    + b"a" * 65536
    + b"\r\n400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n"
    + b"a" * 1024
    + b"\r\n0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n"
    + b"x-amz-checksum-crc32c:sOO8/Q==\r\n"
    + b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
)
"""The examples of the S3 API Reference, 65 KiB of `a`."""

CRC = "x-amz-checksum-crc32"
CHUNKS = (b"abcdefgh" * 2, b"ij", b"k")
WHOLE = b"".join(CHUNKS)


def cut(body: bytes, width: int) -> list[bytes]:
    """The bytes in pieces of a width."""
    return [body[at : at + width] for at in range(0, len(body), width)]


def decode(
    form: Chunked,
    pieces: Iterable[bytes],
    size: int = len(WHOLE),
    announced: Sequence[str] = (),
    key: ChunkKey | None = None,
) -> tuple[bytes, dict[str, str]]:
    """Payload and trailers of a body in pieces."""
    decoder = ChunkedDecoder(form, size, announced, key or key_of(form))
    payload = b"".join(piece for data in pieces for piece in decoder.feed(data))
    decoder.end()
    return payload, decoder.trailers


def refused(form: Chunked, body: bytes, size: int = len(WHOLE), announced: Sequence[str] = ()) -> str:
    """The code with which a body is refused, the same however it is cut."""
    codes = set()
    for width in (len(body) + 1, 1, 7):
        with pytest.raises(Refused) as caught:
            decode(form, cut(body, width), size, announced)
        codes.add(caught.value.code)
    (code,) = codes
    return code


@pytest.mark.parametrize("width", [1 << 20, 65536, 1000, 1])
def test_the_documented_bodies_are_right(width: int) -> None:
    assert decode(SIGNED, cut(DOCUMENTED, width), 66560, key=chunk_key(SEED)) == (b"a" * 66560, {})
    announced, key = ["x-amz-checksum-crc32c"], chunk_key(TRAILER_SEED)
    payload, trailers = decode(SIGNED_TRAILER, cut(DOCUMENTED_TRAILER, width), 66560, announced, key)
    assert payload == b"a" * 66560
    assert trailers == {"x-amz-checksum-crc32c": "sOO8/Q=="}


@pytest.mark.parametrize("name", FORMS)
def test_every_cut_in_two_gives_the_whole(name: str) -> None:
    form = FORMS[name]
    trailers = {CRC: "AAAAAA=="} if form.trailer else {}
    body = frame(form, CHUNKS, trailers)
    for at in range(len(body) + 1):
        assert decode(form, [body[:at], body[at:]], announced=tuple(trailers)) == (WHOLE, trailers)


@given(st.data())
def test_any_cuts_give_the_whole(data: st.DataObject) -> None:
    form = FORMS[data.draw(st.sampled_from(sorted(FORMS)))]
    chunks = data.draw(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
    trailers = {CRC: "AAAAAA=="} if form.trailer and data.draw(st.booleans()) else {}
    body = frame(form, chunks, trailers)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    pieces = [body[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    whole = b"".join(chunks)
    assert decode(form, pieces, len(whole), tuple(trailers)) == (whole, trailers)


@given(st.data())
def test_no_byte_of_a_signed_body_can_be_changed(data: st.DataObject) -> None:
    body = bytearray(frame(SIGNED_TRAILER, CHUNKS, {CRC: "AAAAAA=="}))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    try:
        payload, trailers = decode(SIGNED_TRAILER, [bytes(body)], announced=(CRC,))
    except Refused:
        return
    assert (payload, trailers) == (WHOLE, {CRC: "AAAAAA=="})  # a tab for a space, a letter's case in the size


@given(st.binary(max_size=200), st.sampled_from(sorted(FORMS)))
def test_any_bytes_are_refused_or_payload(body: bytes, name: str) -> None:
    try:
        payload, _ = decode(FORMS[name], [body], 5)
    except Refused:
        return
    assert len(payload) == 5


def test_a_piece_that_is_all_payload_is_not_copied() -> None:
    decoder = ChunkedDecoder(UNSIGNED_TRAILER, 1000, (), None)
    assert decoder.feed(b"3e8\r\n") == []
    data = bytes(1000)
    (piece,) = decoder.feed(data)
    assert piece is data


# ---- signatures


def test_a_wrong_chunk_signature_is_told_at_its_end() -> None:
    body = frame(SIGNED, CHUNKS).replace(b"abc", b"abd", 1)
    decoder = ChunkedDecoder(SIGNED, len(WHOLE), (), chunk_key())
    begin = body.index(b"abd")
    end = begin + len(CHUNKS[0])
    assert decoder.feed(body[: end - 1]) == [body[begin : end - 1]]
    with pytest.raises(Refused) as caught:
        decoder.feed(body[end - 1 :])
    assert caught.value.code == "SignatureDoesNotMatch"
    assert caught.value.detail is not None
    assert caught.value.detail["StringToSign"].startswith("AWS4-HMAC-SHA256-PAYLOAD\n")


def test_chunks_cannot_be_left_out_repeated_or_reordered() -> None:
    key = chunk_key()
    first = sign_chunk(key, key.seed, CHUNKS[0])
    second = sign_chunk(key, first, CHUNKS[1])
    last = sign_chunk(key, second, b"")

    def chunk(data: bytes, signed: str) -> bytes:
        return f"{len(data):x};chunk-signature={signed}\r\n".encode() + data + (b"\r\n" if data else b"")

    one, two, end = chunk(CHUNKS[0], first), chunk(CHUNKS[1], second), chunk(b"", last) + b"\r\n"
    size = len(CHUNKS[0]) + len(CHUNKS[1])
    assert decode(SIGNED, [one + two + end], size) == (CHUNKS[0] + CHUNKS[1], {})
    assert refused(SIGNED, two + one + end, size) == "SignatureDoesNotMatch"
    assert refused(SIGNED, one + end, len(CHUNKS[0])) == "SignatureDoesNotMatch"
    assert refused(SIGNED, two + end, len(CHUNKS[1])) == "SignatureDoesNotMatch"
    assert refused(SIGNED, one + one + two + end, size + len(CHUNKS[0])) == "SignatureDoesNotMatch"
    assert refused(SIGNED, one + two + chunk(b"", second) + b"\r\n", size) == "SignatureDoesNotMatch"


def test_chunks_of_another_request_are_refused() -> None:
    body = frame(SIGNED, CHUNKS, key=chunk_key("6" * 64))
    assert refused(SIGNED, body) == "SignatureDoesNotMatch"


@pytest.mark.parametrize("name", ["signed", "signed trailer"])
def test_the_last_chunk_is_signed_too(name: str) -> None:
    body = frame(FORMS[name], CHUNKS)
    at = body.index(b"\r\n0;chunk-signature=") + len(b"\r\n0;chunk-signature=")
    changed = body[:at] + (b"1" if body[at : at + 1] != b"1" else b"2") + body[at + 1 :]
    assert refused(FORMS[name], changed) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b";chunk-signature=", b";chunk-sig=", "IncompleteBody"),
        (b";chunk-signature=", b"", "IncompleteBody"),
        (b";chunk-signature=", b";a=b;chunk-signature=", "IncompleteBody"),
        (b"\r\nabc", b";a=b\r\nabc", "IncompleteBody"),
        (b"\r\nabc", b"0\r\nabc", "SignatureDoesNotMatch"),
    ],
)
def test_a_chunk_begins_with_its_size_and_signature(old: bytes, new: bytes, code: str) -> None:
    assert refused(SIGNED, frame(SIGNED, CHUNKS).replace(old, new, 1)) == code


def test_spaces_in_a_chunks_header_are_passed_over() -> None:
    body = frame(SIGNED, CHUNKS).replace(b";chunk-signature=", b" ; chunk-signature = ")
    assert decode(SIGNED, [body]) == (WHOLE, {})


def test_unsigned_framing_has_no_signatures() -> None:
    assert refused(UNSIGNED_TRAILER, frame(SIGNED, CHUNKS)) == "IncompleteBody"
    assert refused(SIGNED, frame(UNSIGNED_TRAILER, CHUNKS)) == "IncompleteBody"


# ---- sizes


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("size", [0, 1, len(WHOLE) - 1, len(WHOLE) + 1, 10**12])
def test_the_whole_is_as_long_as_was_said(name: str, size: int) -> None:
    assert refused(FORMS[name], frame(FORMS[name], CHUNKS), size) == "IncompleteBody"


@pytest.mark.parametrize("name", FORMS)
def test_a_body_that_ends_early_is_refused_wherever(name: str) -> None:
    form = FORMS[name]
    trailers = {CRC: "AAAAAA=="} if form.trailer else {}
    body = frame(form, CHUNKS, trailers)
    for stop in range(len(body) - 2):  # the last line end may be missing
        with pytest.raises(Refused) as caught:
            decode(form, [body[:stop]], announced=tuple(trailers))
        assert caught.value.code in ("IncompleteBody", "MalformedTrailerError")
    assert decode(form, [body[:-2]], announced=tuple(trailers)) == (WHOLE, trailers)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n",
        b"abcde",
        b"5\nabcde\n0\n\n",
        b"5\rabcde\r0\r\r",
        b"5\r\nabcde0\r\n\r\n",
        b"5\r\nabcde\n0\r\n\r\n",
        b"5\r\nabcdef\r\n0\r\n\r\n",
        b"-5\r\nabcde\r\n0\r\n\r\n",
        b"+5\r\nabcde\r\n0\r\n\r\n",
        b"0x5\r\nabcde\r\n0\r\n\r\n",
        b"g\r\nabcde\r\n0\r\n\r\n",
        b"\r\n5\r\nabcde\r\n0\r\n\r\n",
        b"4\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nabc\r\n0\r\n\r\n2\r\nde\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nabcde\r\n0\r\n\r\n",
        b"ffffffffffffffff\r\nabcde\r\n0\r\n\r\n",
        b"5\r\nabcde\r\n",
        b"5\r\nabcde\r\n0\r\n\r\nmore",
        b"5\r\nabcde\r\n0\r\n\r\n" + b"\r\n" * 20,
        b"5" + b" " * LINE_BYTES_MAX + b"\r\nabcde\r\n0\r\n\r\n",
        b"5" + b" " * LINE_BYTES_MAX,
    ],
)
def test_framing_that_is_none_is_refused(body: bytes) -> None:
    assert refused(UNSIGNED_TRAILER, body, 5) == "IncompleteBody"


def test_a_chunk_may_be_as_large_as_the_whole() -> None:
    data = bytes(1 << 20)
    assert decode(SIGNED, [frame(SIGNED, [data])], len(data)) == (data, {})


def test_an_empty_body_is_one_empty_chunk() -> None:
    for form in FORMS.values():
        assert decode(form, [frame(form, [])], 0) == (b"", {})


def test_small_chunks_are_taken_up_to_a_number() -> None:
    some = [b"x"] * SMALL_CHUNKS_MAX
    assert decode(UNSIGNED_TRAILER, [frame(UNSIGNED_TRAILER, some)], len(some))[0] == b"x" * len(some)
    many = [b"x"] * (SMALL_CHUNKS_MAX + 2)
    assert refused(UNSIGNED_TRAILER, frame(UNSIGNED_TRAILER, many), len(many)) == "InvalidChunkSizeError"
    large = [bytes(1024)] * (2 * SMALL_CHUNKS_MAX)
    assert len(decode(UNSIGNED_TRAILER, [frame(UNSIGNED_TRAILER, large)], 1024 * len(large))[0]) == 1024 * len(large)


# ---- trailers


@pytest.mark.parametrize(
    "tail",
    [
        b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n",
        b"x-amz-checksum-crc32:AAAAAA==\r\n",
        b"X-Amz-Checksum-CRC32: AAAAAA== \r\n\r\n",
        b"x-amz-checksum-crc32:AAAAAA==\n\r\n\r\n",  # minio-go
        b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n\r\n",
    ],
)
def test_trailers_are_read_as_clients_write_them(tail: bytes) -> None:
    body = b"5\r\nabcde\r\n0\r\n" + tail
    for width in (len(body), 1):
        assert decode(UNSIGNED_TRAILER, cut(body, width), 5, [CRC]) == (b"abcde", {CRC: "AAAAAA=="})


def test_a_signed_trailer_may_have_a_line_feed_before_its_line_ends() -> None:
    body = frame(SIGNED_TRAILER, CHUNKS, {CRC: "AAAAAA=="}).replace(b"==\r\n", b"==\n\r\n")
    assert decode(SIGNED_TRAILER, [body], announced=[CRC]) == (WHOLE, {CRC: "AAAAAA=="})


@pytest.mark.parametrize(
    ("tail", "code"),
    [
        (b"\r\n", "MalformedTrailerError"),
        (b"", "MalformedTrailerError"),
        (b"\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "MalformedTrailerError"),
        (b"x-amz-checksum-crc32c:AAAAAA==\r\n\r\n", "MalformedTrailerError"),
        (b"x-amz-checksum-crc32:AAAAAA==\r\nbonus:1\r\n\r\n", "MalformedTrailerError"),
        (b"x-amz-checksum-crc32:AAAAAA==\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "MalformedTrailerError"),
        (
            b"x-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:" + b"5" * 64 + b"\r\n\r\n",
            "MalformedTrailerError",
        ),
        (b"x-amz-checksum-crc32 AAAAAA==\r\n\r\n", "MalformedTrailerError"),
        (b":AAAAAA==\r\n\r\n", "MalformedTrailerError"),
        (b"x-amz-checksum-crc32:\xff\r\n\r\n", "MalformedTrailerError"),
        (b"x-amz-checksum-crc32:AAAAAA==\n", "IncompleteBody"),
        (b"x-amz-checksum-crc32:AAAAAA==\r", "IncompleteBody"),
        (b"x-amz-checksum-crc32:AAAAAA==", "IncompleteBody"),
        (b"x-amz-checksum-crc32:AAAAAA==\r\n\r\njunk", "IncompleteBody"),
        (b"x" * (TRAILER_BYTES_MAX + 1), "MalformedTrailerError"),
        (b"a:b\r\n" * (TRAILER_BYTES_MAX // 5 + 1), "MalformedTrailerError"),
        (b"\n" * (TRAILER_BYTES_MAX + 1), "MalformedTrailerError"),
        (b"".join(b"a%d:b\r\n" % number for number in range(20)) + b"\r\n", "MalformedTrailerError"),
    ],
)
def test_trailers_are_those_that_were_announced(tail: bytes, code: str) -> None:
    assert refused(UNSIGNED_TRAILER, b"5\r\nabcde\r\n0\r\n" + tail, 5, [CRC]) == code


@pytest.mark.parametrize("announced", [(), (CRC,)])
def test_framing_without_a_trailer_has_none(announced: tuple[str, ...]) -> None:
    body = frame(SIGNED, CHUNKS)[:-2] + b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    assert refused(SIGNED, body, announced=announced) == "MalformedTrailerError"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b"AAAAAA==", b"AAAAAB==", "SignatureDoesNotMatch"),
        (b"x-amz-trailer-signature:", b"x-amz-trailer-signature:0", "SignatureDoesNotMatch"),
        (b"x-amz-trailer-signature:", b"x-amz-trailer-sig:", "MalformedTrailerError"),
        (b"x-amz-trailer-signature:", b"\r\nx-amz-trailer-signature:", "IncompleteBody"),
        (b"\r\n\r\n", b"\r\nmore:1\r\n\r\n", "MalformedTrailerError"),
    ],
)
def test_signed_trailers_are_proved(old: bytes, new: bytes, code: str) -> None:
    body = frame(SIGNED_TRAILER, CHUNKS, {CRC: "AAAAAA=="})
    assert refused(SIGNED_TRAILER, body.replace(old, new), announced=[CRC]) == code


def test_a_trailer_that_is_to_be_signed_is() -> None:
    body = frame(SIGNED, CHUNKS)[:-2] + b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    assert refused(SIGNED_TRAILER, body, announced=[CRC]) == "IncompleteBody"
    assert refused(SIGNED_TRAILER, frame(SIGNED, CHUNKS)) == "IncompleteBody"
