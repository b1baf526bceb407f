"""A client that uploads a file in parts, and goes on where an earlier run of it ended: it asks which parts are there.

python -m tests.clients.scenarios.resume http://127.0.0.1:9000 FILE BUCKET KEY
"""

import sys
from pathlib import Path
from typing import Any

from tests.clients.scenarios.aws import client, found
from tests.clients.scenarios.steps import MIB

PART_BYTES = 16 * MIB

s3 = client()


def upload(file: Path, at: dict[str, str]) -> None:
    """Upload what is missing, and tell each part that was sent and how many were there."""
    begun = found(s3, "list_multipart_uploads", "Uploads[]", Bucket=at["Bucket"], Prefix=at["Key"])
    upload_id = begun[0]["UploadId"] if begun else s3.create_multipart_upload(**at)["UploadId"]
    parts: dict[int, Any] = {
        part["PartNumber"]: part for part in found(s3, "list_parts", "Parts[]", UploadId=upload_id, **at)
    }
    say(f"there were {len(parts)} parts")
    with file.open("rb") as opened:
        for number, offset in enumerate(range(0, file.stat().st_size, PART_BYTES), 1):
            if number in parts:
                continue
            opened.seek(offset)
            body = opened.read(PART_BYTES)
            parts[number] = s3.upload_part(PartNumber=number, Body=body, UploadId=upload_id, **at)
            say(f"sent {number}")
    named = [{"PartNumber": number, "ETag": part["ETag"]} for number, part in sorted(parts.items())]
    s3.complete_multipart_upload(UploadId=upload_id, MultipartUpload={"Parts": named}, **at)
    say("completed")


def say(what: str) -> None:
    """A line for who watches."""
    print(what, flush=True)  # noqa: T201


if __name__ == "__main__":
    upload(Path(sys.argv[2]), {"Bucket": sys.argv[3], "Key": sys.argv[4]})
