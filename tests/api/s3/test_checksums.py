"""Checksums as requests say them and as answers show them."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.digests import DIGEST_BYTES, ExpectedDigests
from api.messages import RequestBody
from api.s3.checksums import (
    ALGORITHMS,
    DEFAULT,
    HEADERS,
    elements_of,
    expected_digests,
    headers_of,
    is_checked,
    parse_algorithm,
    shown,
    stated_of_whole,
)
from cluster.errors import Refused
from metaraft.model import Checksum, ChecksumAlgorithm
from tests.api.s3.storing import b64, crc32, md5, sha1, sha256

CRC32 = crc32(b"content")


class Trailing:
    """A payload that ends in trailers, or was hashed by its signature."""

    def __init__(self, *announced: str, trailers: dict[str, str] | None = None, sha256: bytes | None = None) -> None:
        self.size: int | None = 7
        self.sha256 = sha256
        self.announced = announced
        self._trailers = trailers or {}

    def body(self, *, digested: bool = False) -> RequestBody:
        raise AssertionError(f"nobody reads it here ({digested})")

    def trailers(self) -> dict[str, str]:
        return self._trailers


def refused(headers: dict[str, str], payload: Trailing | None = None) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        expected_digests(headers, payload, DEFAULT)
    return caught.value.code, caught.value.message


def test_a_request_that_says_nothing_gets_the_default() -> None:
    assert expected_digests({}, Trailing(), DEFAULT) == ExpectedDigests(algorithms=("CRC64NVME",))
    assert expected_digests({}, None, ()) == ExpectedDigests(algorithms=())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_header_says_the_value_and_what_is_kept(algorithm: ChecksumAlgorithm) -> None:
    value = bytes(range(DIGEST_BYTES[algorithm]))
    found = expected_digests({HEADERS[algorithm]: b64(value), "content-md5": md5(b"x")}, Trailing(), DEFAULT)
    assert found.algorithms == (algorithm,)
    assert found.values() == {algorithm: value, "MD5": hashlib.md5(b"x").digest()}
    assert found.late is None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_trailer_is_computed_from_the_start_and_compared_at_the_end(algorithm: ChecksumAlgorithm) -> None:
    value = bytes(range(DIGEST_BYTES[algorithm]))
    payload = Trailing("x-other", HEADERS[algorithm], trailers={HEADERS[algorithm]: b64(value)})
    found = expected_digests({"x-amz-sdk-checksum-algorithm": algorithm.lower()}, payload, DEFAULT)
    assert found.algorithms == (algorithm,)
    assert found.values() == {}
    assert found.late is not None
    assert found.late().values() == {algorithm: value}


def test_a_trailer_that_was_announced_and_did_not_come_is_refused() -> None:
    found = expected_digests({}, Trailing("x-amz-checksum-crc32"), DEFAULT)
    assert found.late is not None
    with pytest.raises(Refused) as caught:
        found.late()
    assert caught.value.code == "MalformedTrailerError"


def test_a_trailer_that_is_no_checksum_is_refused() -> None:
    payload = Trailing("x-amz-checksum-crc32", trailers={"x-amz-checksum-crc32": "AAA"})
    found = expected_digests({}, payload, DEFAULT)
    assert found.late is not None
    with pytest.raises(Refused) as caught:
        found.late()
    assert caught.value.code == "InvalidRequest"


def test_what_the_signature_says_has_a_code_of_its_own() -> None:
    digest = hashlib.sha256(b"content").digest()
    found = expected_digests({}, Trailing(sha256=digest), DEFAULT)
    assert (found.sha256, found.sha256_code) == (digest, "XAmzContentSHA256Mismatch")
    both = expected_digests({"x-amz-checksum-sha256": sha256(b"content")}, Trailing(sha256=digest), DEFAULT)
    assert (both.sha256, both.algorithms) == (digest, ("SHA256",))


def test_two_sha256_that_differ_cannot_both_be_right() -> None:
    assert refused({"x-amz-checksum-sha256": sha256(b"other")}, Trailing(sha256=bytes(32)))[0] == "BadDigest"


MULTIPLE = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."


@pytest.mark.parametrize(
    ("headers", "announced", "message"),
    [
        ({"x-amz-checksum-crc32": CRC32, "x-amz-checksum-sha1": sha1(b"content")}, (), MULTIPLE),
        ({"x-amz-checksum-crc32": CRC32}, ("x-amz-checksum-crc32",), MULTIPLE),
        ({}, ("x-amz-checksum-crc32", "x-amz-checksum-sha1"), MULTIPLE),
        ({"x-amz-checksum-crc32": ""}, (), "Value for x-amz-checksum-crc32 header is invalid."),
        ({"x-amz-checksum-crc32": CRC32[:-1]}, (), "Value for x-amz-checksum-crc32 header is invalid."),
        ({"x-amz-checksum-crc32": CRC32 + "\n"}, (), "Value for x-amz-checksum-crc32 header is invalid."),
        ({"x-amz-checksum-crc32": "é"}, (), "Value for x-amz-checksum-crc32 header is invalid."),
        ({"x-amz-checksum-crc32": sha1(b"")}, (), "Value for x-amz-checksum-crc32 header is invalid."),
        ({"x-amz-checksum-md4": "AA=="}, (), "The algorithm type you specified in x-amz-checksum- header is invalid."),
        (
            {"x-amz-sdk-checksum-algorithm": "CRC32"},
            (),
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers"
            " were found.",
        ),
        (
            {"x-amz-sdk-checksum-algorithm": "SHA1", "x-amz-checksum-crc32": CRC32},
            (),
            "Value for x-amz-sdk-checksum-algorithm header is invalid.",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(headers: dict[str, str], announced: tuple[str, ...], message: str) -> None:
    assert refused(headers, Trailing(*announced)) == ("InvalidRequest", message)


@pytest.mark.parametrize("text", ["", "x", "AAAA", md5(b"x") + "=", sha1(b"x"), "é" * 22 + "=="])
def test_a_content_md5_that_is_none_is_an_invalid_digest(text: str) -> None:
    assert refused({"content-md5": text})[0] == "InvalidDigest"


def test_headers_about_checksums_in_answers_are_no_checksums() -> None:
    headers = {"x-amz-checksum-mode": "ENABLED", "x-amz-checksum-algorithm": "SHA1", "x-amz-checksum-type": "COMPOSITE"}
    assert expected_digests(headers, None, DEFAULT).values() == {}


def test_a_body_is_checked_when_the_request_says_a_digest_of_it_somewhere() -> None:
    assert not is_checked({}, Trailing(sha256=bytes(32)))
    assert is_checked({"content-md5": "x"}, Trailing())
    assert is_checked({"x-amz-checksum-sha1": "x"}, Trailing())
    assert is_checked({}, Trailing("x-amz-checksum-crc32"))


def test_algorithms_are_known_by_name_in_any_case() -> None:
    assert parse_algorithm("crc64nvme") == "CRC64NVME"
    for name in ("", "MD5", "BLAKE3", "CRC64", "é"):
        with pytest.raises(Refused) as caught:
            parse_algorithm(name)
        assert caught.value.code == "InvalidRequest"


# ---- of the whole of an upload


def test_the_checksum_of_a_whole_may_say_its_number_of_parts() -> None:
    value = hashlib.sha1(b"x").digest()
    text = b64(value)
    assert stated_of_whole({}, 3) == (None, None)
    assert stated_of_whole({"x-amz-checksum-sha1": text}, 3) == (("SHA1", value), None)
    assert stated_of_whole({"x-amz-checksum-sha1": f"{text}-3"}, 3) == (("SHA1", value), "COMPOSITE")
    both = {"x-amz-checksum-crc32": CRC32, "x-amz-checksum-type": "full_object"}
    assert stated_of_whole(both, 3)[1] == "FULL_OBJECT"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-sha1": f"{sha1(b'x')}-2"},
        {"x-amz-checksum-sha1": f"{sha1(b'x')}-"},
        {"x-amz-checksum-sha1": f"{sha1(b'x')}-3", "x-amz-checksum-type": "FULL_OBJECT"},
        {"x-amz-checksum-sha1": "-3"},
        {"x-amz-checksum-sha1": sha1(b"x"), "x-amz-checksum-crc32": CRC32},
        {"x-amz-checksum-type": "HALF_OBJECT"},
        {"x-amz-checksum-type": ""},
    ],
)
def test_what_no_whole_can_have_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Refused) as caught:
        stated_of_whole(headers, 3)
    assert caught.value.code == "InvalidRequest"


# ---- what is shown


def test_the_first_that_s3_has_a_word_for_is_shown() -> None:
    checksums: dict[ChecksumAlgorithm, Checksum] = {
        "BLAKE3": Checksum(bytes(32)),
        "CRC32": Checksum(b"\1\2\3\4"),
        "SHA256": Checksum(bytes(32)),
    }
    assert shown(checksums) == ("CRC32", Checksum(b"\1\2\3\4"))
    assert headers_of(checksums) == [("x-amz-checksum-crc32", "AQIDBA=="), ("x-amz-checksum-type", "FULL_OBJECT")]
    assert headers_of(checksums, with_type=False) == [("x-amz-checksum-crc32", "AQIDBA==")]
    element = "<ChecksumCRC32>AQIDBA==</ChecksumCRC32>"
    assert elements_of(checksums) == element + "<ChecksumType>FULL_OBJECT</ChecksumType>"
    assert elements_of(checksums, with_type=False) == element
    assert (shown({}), headers_of({}), elements_of({})) == (None, [], "")


def test_a_composite_one_has_its_number_of_parts_behind_it() -> None:
    checksums: dict[ChecksumAlgorithm, Checksum] = {"SHA1": Checksum(bytes(20), "COMPOSITE")}
    assert headers_of(checksums, 12) == [
        ("x-amz-checksum-sha1", b64(bytes(20)) + "-12"),
        ("x-amz-checksum-type", "COMPOSITE"),
    ]
    assert f"{b64(bytes(20))}-12<" in elements_of(checksums, 12)


@given(st.sampled_from(ALGORITHMS), st.data())
def test_what_is_shown_can_be_said(algorithm: ChecksumAlgorithm, data: st.DataObject) -> None:
    size = DIGEST_BYTES[algorithm]
    value = data.draw(st.binary(min_size=size, max_size=size))
    header = dict(headers_of({algorithm: Checksum(value)}, with_type=False))
    assert expected_digests(header, None, ()).values() == {algorithm: value}


@given(st.text(max_size=60))
def test_no_text_is_more_than_a_refusal(text: str) -> None:
    for headers in ({"content-md5": text}, {"x-amz-checksum-sha256": text}):
        try:
            found = expected_digests(headers, None, DEFAULT)
        except Refused:
            continue
        assert [base64.b64encode(value).decode() for value in found.values().values()] == [text]
