"""What an upload's object is, from its parts as they are and as the client names them. Pure.

Order of refusals, and what each is for, as S3 has them (API reference: CompleteMultipartUpload). The ETag is the MD5 of
the parts' MD5s, and `-` and how many there are; it follows from what the client names, so that completing again can be
answered when the parts are no longer there to look at.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.digests import CHECKSUM_TYPES, composite, whole_crc
from api.operations.values import NamedPart
from cluster.errors import Refused
from cluster.limits import UPLOAD_PARTS_MAX
from metaraft.model import Checksum, ChecksumAlgorithm, ChecksumType, PartHead, Upload

DEFAULT_CHECKSUM: tuple[ChecksumAlgorithm, ChecksumType] = ("CRC64NVME", "FULL_OBJECT")
"""What an object has when its upload was begun without a word on checksums."""

_MD5 = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class WholeExpected:
    """What the client says of the object as a whole; None: nothing. A composite value is without its `-N`."""

    size: int | None = None
    checksum: tuple[ChecksumAlgorithm, bytes] | None = None
    checksum_type: ChecksumType | None = None


def check_number(number: int) -> None:
    """Raises Refused (BadPartNumber) for a number that no part has."""
    if not 1 <= number <= UPLOAD_PARTS_MAX:
        raise Refused(
            "BadPartNumber",
            f"the part number is {number}; 1 to {UPLOAD_PARTS_MAX} are allowed",
            limit={"upload_parts_max": UPLOAD_PARTS_MAX},
        )


def check_checksum(asked: tuple[ChecksumAlgorithm, ChecksumType] | None) -> None:
    """Raises Refused (InvalidRequest) for a kind of checksum that no upload's object has."""
    if asked is not None and asked[1] not in CHECKSUM_TYPES.get(asked[0], ()):
        raise Refused("InvalidRequest", f"an upload's object has no {asked[1]} checksum by {asked[0]}")


def part_algorithms(upload: Upload, asked: Sequence[ChecksumAlgorithm]) -> tuple[ChecksumAlgorithm, ...]:
    """What is kept of a part, what the request asks for first. Raises Refused (InvalidRequest) if it asks for another
    algorithm than the upload was begun with."""
    needed, _ = upload.checksum or DEFAULT_CHECKSUM
    if upload.checksum is not None and asked and needed not in asked:
        text = f"the upload was begun with checksums by {needed}, this part comes with {', '.join(asked)}"
        raise Refused("InvalidRequest", text)
    return (needed, *asked) if upload.checksum is not None else (*asked, needed)


def check_order(named: Sequence[NamedPart]) -> None:
    """Raises Refused: InvalidRequest for no parts, BadPartNumber, InvalidPartOrder."""
    if not named:
        raise Refused("InvalidRequest", "no part is named; an object has one at least")
    last = 0
    for part in named:
        check_number(part.number)
        if part.number <= last:
            raise Refused("InvalidPartOrder", f"part {part.number} is named behind part {last}; numbers must ascend")
        last = part.number


def object_etag(named: Sequence[NamedPart]) -> str:
    """The ETag of the object that these parts make. Raises Refused (InvalidPart) for one that no part has."""
    digests = hashlib.md5(usedforsecurity=False)
    for part in named:
        etag = _plain(part.etag)
        if _MD5.fullmatch(etag) is None:
            raise _invalid_part(part, "its ETag is not that of a part")
        digests.update(bytes.fromhex(etag))
    return f"{digests.hexdigest()}-{len(named)}"


def object_checksums(
    upload: Upload,
    heads: Mapping[int, PartHead],
    named: Sequence[NamedPart],
    expected: WholeExpected,
    *,
    part_bytes_min: int,
) -> dict[ChecksumAlgorithm, Checksum]:
    """The checksum of the object, once all is as the client says.

    `heads` are the upload's parts as they are. Raises Refused: InvalidPart, EntityTooSmall, InvalidRequest, BadDigest.
    """
    parts = [_checked(heads.get(part.number), part) for part in named]
    for part in parts[:-1]:
        if part.size < part_bytes_min:
            raise _too_small(part, part_bytes_min)
    size = sum(part.size for part in parts)
    if expected.size not in (None, size):
        raise Refused("InvalidRequest", f"the parts have {size} bytes, the request says {expected.size}")
    return _checksums(upload, parts, expected)


def _checked(head: PartHead | None, named: NamedPart) -> PartHead:
    if head is None:
        raise _invalid_part(named, "it was not uploaded")
    if head.etag != _plain(named.etag):
        raise _invalid_part(named, f"its ETag is {head.etag}, not {_plain(named.etag)[:80]}")
    for algorithm, value in named.checksums.items():
        found = head.checksums.get(algorithm)
        if found is None:
            raise _invalid_part(named, f"it was uploaded without a {algorithm}")
        if found.value != value:
            raise _invalid_part(named, f"its {algorithm} is {found.value.hex()}, not {value.hex()}")
    return head


def _checksums(upload: Upload, parts: Sequence[PartHead], expected: WholeExpected) -> dict[ChecksumAlgorithm, Checksum]:
    algorithm, kind = upload.checksum or DEFAULT_CHECKSUM
    if expected.checksum_type not in (None, kind):
        text = f"the upload was begun for a {kind} checksum, the request says {expected.checksum_type}"
        raise Refused("InvalidRequest", text)
    values = [part.checksums[algorithm].value for part in parts]
    if kind == "COMPOSITE":
        found = composite(algorithm, values)
    else:
        found = whole_crc(algorithm, zip(values, (part.size for part in parts), strict=True))
    if expected.checksum is not None:
        asked, value = expected.checksum
        if asked != algorithm:
            raise Refused("InvalidRequest", f"the object's checksum is by {algorithm}, the request has one by {asked}")
        if value != found:
            raise Refused("BadDigest", f"the object's {algorithm} is {found.hex()}, the request says {value.hex()}")
    return {algorithm: Checksum(found, kind)}


def _plain(etag: str) -> str:
    return etag.strip().removeprefix('"').removesuffix('"')


def _invalid_part(part: NamedPart, why: str) -> Refused:
    return Refused("InvalidPart", f"part {part.number} is not as the request says: {why}")


def _too_small(part: PartHead, least: int) -> Refused:
    return Refused(
        "EntityTooSmall",
        f"part {part.number} has {part.size} bytes; all but the last have {least} or more",
        limit={"part_bytes_min": least},
        detail={"part_number": str(part.number), "proposed_bytes": str(part.size), "etag": part.etag},
    )
