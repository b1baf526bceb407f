"""Checksums as S3 clients name and see them: `x-amz-checksum-*` in headers and trailers, and in XML. Pure.

A request may name one algorithm: by a header with the value, or by `x-amz-trailer` with the value behind the body;
`x-amz-sdk-checksum-algorithm` only repeats its name. What is shown of an object is the first of its checksums; a
COMPOSITE one has its number of parts behind it. Source: S3, 'Checking object integrity'; texts as S3 writes them.
"""

import base64
import binascii
from collections.abc import Mapping

from api.digests import DIGEST_BYTES, ExpectedDigests
from api.s3 import xml
from api.s3.exchange import Payload
from cluster.errors import Refused
from metaraft.model import Checksum, ChecksumAlgorithm, ChecksumType

ALGORITHMS: tuple[ChecksumAlgorithm, ...] = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")
"""Those that S3 has, in the order of its documents."""

DEFAULT: tuple[ChecksumAlgorithm, ...] = ("CRC64NVME",)
"""What an object gets when the client asks for none."""

HEADERS: dict[ChecksumAlgorithm, str] = {algorithm: f"x-amz-checksum-{algorithm.lower()}" for algorithm in ALGORITHMS}
ELEMENTS: dict[ChecksumAlgorithm, str] = {algorithm: f"Checksum{algorithm}" for algorithm in ALGORITHMS}

_BY_HEADER = {header: algorithm for algorithm, header in HEADERS.items()}
_NO_VALUES = frozenset({"x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"})
_SDK = "x-amz-sdk-checksum-algorithm"
_PREFIX = "x-amz-checksum-"


def expected_digests(
    headers: Mapping[str, str], payload: Payload | None, default: tuple[ChecksumAlgorithm, ...]
) -> ExpectedDigests:
    """The digests that a body must have, and the algorithm to keep: `default` if the request names none.

    `payload` None: there is neither a signature over the body nor a trailer (a form). Raises Refused (InvalidDigest,
    InvalidRequest, BadDigest).
    """
    stated = stated_checksum(headers)
    trailing = None if payload is None else _announced(payload)
    if stated is not None and trailing is not None:
        raise _several()
    algorithm = trailing if stated is None else stated[0]
    _check_sdk(headers, algorithm)
    value = None if stated is None else stated[1]
    signed = None if payload is None else payload.sha256
    if algorithm == "SHA256" and value is not None and signed is not None and value != signed:
        raise Refused("BadDigest", "The SHA256 you specified did not match the calculated checksum.")
    late = None
    if payload is not None and trailing is not None:

        def late() -> ExpectedDigests:
            return _of(trailing, _trailer(payload, trailing))

    return ExpectedDigests(
        md5=content_md5(headers),
        sha256=value if algorithm == "SHA256" and value is not None else signed,
        crc64nvme=value if algorithm == "CRC64NVME" else None,
        crc32=value if algorithm == "CRC32" else None,
        crc32c=value if algorithm == "CRC32C" else None,
        sha1=value if algorithm == "SHA1" else None,
        algorithms=default if algorithm is None else (algorithm,),
        late=late,
        sha256_code="BadDigest" if signed is None else "XAmzContentSHA256Mismatch",
    )


def is_checked(headers: Mapping[str, str], payload: Payload) -> bool:
    """Whether the request says some digest of its body, besides by its signature."""
    named = any(name in headers for name in HEADERS.values())
    return named or "content-md5" in headers or _announced(payload) is not None


def content_md5(headers: Mapping[str, str]) -> bytes | None:
    """The MD5 that a body must have. Raises Refused (InvalidDigest)."""
    text = headers.get("content-md5")
    if text is None:
        return None
    value = _base64(text, 16)
    if value is None:
        raise Refused("InvalidDigest", "The Content-MD5 you specified was invalid.", detail={"Content-MD5": text[:80]})
    return value


def stated_checksum(headers: Mapping[str, str]) -> tuple[ChecksumAlgorithm, bytes] | None:
    """The one checksum that the headers say. Raises Refused (InvalidRequest)."""
    found: tuple[ChecksumAlgorithm, bytes] | None = None
    for name, text in headers.items():
        if not name.startswith(_PREFIX) or name in _NO_VALUES:
            continue
        algorithm = _BY_HEADER.get(name)
        if algorithm is None:
            raise Refused("InvalidRequest", "The algorithm type you specified in x-amz-checksum- header is invalid.")
        if found is not None:
            raise _several()
        found = algorithm, decode(algorithm, text)
    return found


def decode(algorithm: ChecksumAlgorithm, text: str) -> bytes:
    """The bytes of a checksum. Raises Refused (InvalidRequest)."""
    value = _base64(text, DIGEST_BYTES[algorithm])
    if value is None:
        raise Refused("InvalidRequest", f"Value for {HEADERS[algorithm]} header is invalid.")
    return value


def stated_of_whole(
    headers: Mapping[str, str], parts: int
) -> tuple[tuple[ChecksumAlgorithm, bytes] | None, ChecksumType | None]:
    """What a request says of the checksum of an object of so many parts, and of its type; None: nothing.

    A value may have `-N` behind it, where N must be the number of parts; it is COMPOSITE then. Raises Refused
    (InvalidRequest).
    """
    kind = _type(headers.get("x-amz-checksum-type"))
    found: tuple[ChecksumAlgorithm, bytes] | None = None
    for algorithm, name in HEADERS.items():
        if name not in headers:
            continue
        if found is not None:
            raise _several()
        value, dash, count = headers[name].partition("-")
        if dash and (count != str(parts) or kind == "FULL_OBJECT"):
            raise Refused("InvalidRequest", f"Value for {name} header is invalid.")
        kind = "COMPOSITE" if dash else kind
        found = algorithm, decode(algorithm, value)
    return found, kind


def _type(text: str | None) -> ChecksumType | None:
    match text and text.upper():
        case None:
            return None
        case "COMPOSITE":
            return "COMPOSITE"
        case "FULL_OBJECT":
            return "FULL_OBJECT"
    raise Refused("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")


def parse_algorithm(text: str) -> ChecksumAlgorithm:
    """An algorithm by its name. Raises Refused (InvalidRequest)."""
    for algorithm in ALGORITHMS:
        if text.upper() == algorithm:
            return algorithm
    known = ", ".join(ALGORITHMS)
    raise Refused(
        "InvalidRequest",
        f"Checksum algorithm provided is unsupported. Please try again with any of the valid types: [{known}]",
    )


# ---- what clients see


def shown(checksums: Mapping[ChecksumAlgorithm, Checksum]) -> tuple[ChecksumAlgorithm, Checksum] | None:
    """The checksum that S3 shows of an object or a part: the first that it has a word for."""
    return next(((algorithm, value) for algorithm, value in checksums.items() if algorithm in HEADERS), None)


def encode(checksum: Checksum, parts: int | None = None) -> str:
    """A checksum as text, with the number of parts behind a COMPOSITE one."""
    text = base64.b64encode(checksum.value).decode()
    return f"{text}-{parts}" if checksum.type == "COMPOSITE" and parts is not None else text


def headers_of(
    checksums: Mapping[ChecksumAlgorithm, Checksum], parts: int | None = None, *, with_type: bool = True
) -> list[tuple[str, str]]:
    """The headers that show an object's checksum, or a part's (which has no type)."""
    found = shown(checksums)
    if found is None:
        return []
    algorithm, checksum = found
    headers = [(HEADERS[algorithm], encode(checksum, parts))]
    return [*headers, ("x-amz-checksum-type", checksum.type)] if with_type else headers


def elements_of(
    checksums: Mapping[ChecksumAlgorithm, Checksum], parts: int | None = None, *, with_type: bool = True
) -> str:
    """The elements that show an object's checksum, or a part's (which has no type)."""
    found = shown(checksums)
    if found is None:
        return ""
    algorithm, checksum = found
    element = xml.element(ELEMENTS[algorithm], encode(checksum, parts))
    return element + xml.element("ChecksumType", checksum.type) if with_type else element


# ---- parts of it


def _base64(text: str, size: int) -> bytes | None:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if len(value) == size else None


def _announced(payload: Payload) -> ChecksumAlgorithm | None:
    found = [_BY_HEADER[name] for name in payload.announced if name in _BY_HEADER]
    if len(found) > 1:
        raise _several()
    return found[0] if found else None


def _trailer(payload: Payload, algorithm: ChecksumAlgorithm) -> bytes:
    text = payload.trailers().get(HEADERS[algorithm])
    if text is None:
        raise Refused("MalformedTrailerError", f"The request was announced to end in {HEADERS[algorithm]}, and did not")
    return decode(algorithm, text)


def _of(algorithm: ChecksumAlgorithm, value: bytes) -> ExpectedDigests:
    return ExpectedDigests(
        sha256=value if algorithm == "SHA256" else None,
        crc64nvme=value if algorithm == "CRC64NVME" else None,
        crc32=value if algorithm == "CRC32" else None,
        crc32c=value if algorithm == "CRC32C" else None,
        sha1=value if algorithm == "SHA1" else None,
        algorithms=(algorithm,),
    )


def _check_sdk(headers: Mapping[str, str], algorithm: ChecksumAlgorithm | None) -> None:
    named = headers.get(_SDK)
    if named is None:
        return
    if algorithm is None:
        raise Refused(
            "InvalidRequest",
            f"{_SDK} specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
        )
    if named.upper() != algorithm:
        raise Refused("InvalidRequest", f"Value for {_SDK} header is invalid.")


def _several() -> Refused:
    return Refused(
        "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
    )
