"""boto3's transfer manager, old or current, presigned URLs, and forms: large files in parts, streams of unknown length.

The forms and URLs are used by urllib3, as a program without boto3 would.
"""

import hashlib
import io
import os
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import urllib3
from boto3.s3.transfer import TransferConfig

from tests.clients.scenarios.aws import bucket, client, keys, refused
from tests.clients.scenarios.steps import KEYS, KIB, MIB, content, run

s3 = client(signature_version="s3v4")
http = urllib3.PoolManager()
IN_PARTS = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)


def files() -> None:
    """Files around the sizes at which parts begin go up and come down the same, with metadata and progress."""
    with bucket(s3, "files") as name, tempfile.TemporaryDirectory() as folder:
        for size in (0, 1, 5 * MIB - 1, 5 * MIB, 15 * MIB + 7):
            source, target, seen = Path(folder, "source"), Path(folder, "target"), [0]
            source.write_bytes(content(size, size))
            extra = {"Metadata": {"size": str(size)}, "ContentType": "text/x-test"}
            at: dict[str, Any] = {"Bucket": name, "Key": f"{KEYS[3]}/{size}"}
            s3.upload_file(
                str(source), ExtraArgs=extra, Config=IN_PARTS, Callback=lambda sent, to=seen: to.append(sent), **at
            )
            assert sum(seen) == size
            head = s3.head_object(**at)
            assert (head["ContentLength"], head["Metadata"]) == (size, extra["Metadata"])
            assert ("-" in head["ETag"]) == (size >= 5 * MIB)
            s3.download_file(Filename=str(target), Config=IN_PARTS, **at)
            assert target.read_bytes() == content(size, size)


def streams() -> None:
    """What comes from a pipe, its length unknown, is stored whole; what is written into a pipe comes whole."""
    body = content(17 * MIB + 5, 17)
    with bucket(s3, "streams") as name:
        end, begin = os.pipe()

        def write() -> None:
            with open(begin, "wb") as pipe:
                pipe.write(body)

        writer = threading.Thread(target=write)
        writer.start()
        with open(end, "rb") as pipe:
            s3.upload_fileobj(pipe, name, "piped", Config=IN_PARTS)
        writer.join()
        whole = io.BytesIO()
        s3.download_fileobj(name, "piped", whole, Config=IN_PARTS)
        assert whole.getvalue() == body
        pieces: Iterable[bytes] = s3.get_object(Bucket=name, Key="piped")["Body"].iter_chunks(64 * KIB)
        assert b"".join(pieces) == body


def copies_in_parts() -> None:
    """A managed copy takes the parts of a large object, and its metadata."""
    with bucket(s3, "parts") as name:
        body = content(12 * MIB, 12)
        s3.upload_fileobj(io.BytesIO(body), name, "source", ExtraArgs={"Metadata": {"m": "1"}}, Config=IN_PARTS)
        s3.copy({"Bucket": name, "Key": "source"}, name, "copy", Config=IN_PARTS)
        got = s3.get_object(Bucket=name, Key="copy")
        assert got["Body"].read() == body
        assert got["ETag"].endswith('-3"')


def presigned() -> None:
    """URLs put, get, head and delete for who has no key; what was not signed so is refused."""
    with bucket(s3, "presigned") as name:
        for key in (key for key in KEYS if "/../" not in key):  # urllib3 goes up a folder at these
            at = {"Bucket": name, "Key": key}
            put = s3.generate_presigned_url("put_object", Params={**at, "ContentType": "text/x-test"})
            body = content(100_000, len(key))
            answer = http.request("PUT", put, body=body, headers={"Content-Type": "text/x-test"})
            assert (answer.status, answer.headers.get("ETag")) == (200, f'"{hashlib.md5(body).hexdigest()}"'), (
                answer.data
            )
            assert http.request("PUT", put, body=b"x", headers={"Content-Type": "text/other"}).status == 403
            shown = {"ResponseContentDisposition": 'attachment; filename="å.txt"', "ResponseContentType": "text/plain"}
            got = http.request("GET", s3.generate_presigned_url("get_object", Params={**at, **shown}))
            assert (got.status, got.data) == (200, body)
            assert got.headers["Content-Type"] == "text/plain"
        at = {"Bucket": name, "Key": "last"}
        s3.put_object(Body=b"0123456789", **at)
        get = s3.generate_presigned_url("get_object", Params=at)
        assert http.request("GET", get, headers={"Range": "bytes=1-3"}).data == b"123"
        assert http.request("GET", get.replace("last", "plain")).status == 403
        assert http.request("GET", get.replace("X-Amz-Expires=3600", "X-Amz-Expires=3601")).status == 403
        assert http.request("DELETE", s3.generate_presigned_url("delete_object", Params=at)).status == 204
        gone = http.request("GET", get)
        assert (gone.status, b"<Code>NoSuchKey</Code>" in gone.data) == (404, True)


def forms() -> None:
    """A form's file is stored under the key that the policy allows, within its size; others are refused."""
    with bucket(s3, "forms") as name:
        fields = {"acl": "private", "Content-Type": "text/x-test", "x-amz-meta-from": "å form"}
        conditions = [{key: value} for key, value in fields.items()] + [["content-length-range", 10, 7 * MIB]]
        form = s3.generate_presigned_post(name, "in/${filename}", Fields=fields, Conditions=conditions)
        body = content(6 * MIB, 6)
        answer = post(form, ("ключ.bin", body))
        assert answer.status == 204, answer.data
        got = s3.get_object(Bucket=name, Key="in/ключ.bin")
        assert (got["Body"].read(), got["ContentType"]) == (body, "text/x-test")
        for code, changed, file in (
            ("EntityTooSmall", {}, ("small", b"small")),
            ("EntityTooLarge", {}, ("large", content(7 * MIB + 1))),
            ("AccessDenied", {"Content-Type": "text/html"}, ("other", body)),
            ("AccessDenied", {"key": "out/${filename}"}, ("out", body)),
            ("SignatureDoesNotMatch", {"x-amz-signature": "0" * 64}, ("forged", body)),
        ):
            answer = post(form, file, **changed)
            assert answer.status in (400, 403), answer.status
            assert f"<Code>{code}</Code>".encode() in answer.data, answer.data
        assert keys(s3, name) == ["in/ключ.bin"]
        refused("404", s3.head_object, Bucket=name, Key="out/out")


def post(form: dict[str, Any], file: tuple[str, bytes], **changed: str) -> Any:
    """Send a form as a browser would, some fields changed."""
    return http.request("POST", form["url"], fields={**form["fields"], **changed, "file": file})


if __name__ == "__main__":
    run((files, streams, copies_in_parts, presigned, forms))
