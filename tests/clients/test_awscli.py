"""The AWS CLI, version 1 of today and version 2 as old as in Debian 12: `aws s3` and `aws s3api`."""

import base64
import hashlib
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import debian, environment
from tests.clients.files import TREE, files_of, plant
from tests.clients.programs import Programs
from tests.clients.scenarios.steps import MIB, content, new_name

pytestmark = pytest.mark.clients

ALGORITHMS = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")


class Aws:
    """`aws` of one environment."""

    def __init__(self, programs: Programs, program: Path) -> None:
        self._programs = programs
        self._line = (program, "--endpoint-url", programs.store.access.endpoint)
        self.folder = programs.folder

    def s3(self, *arguments: str | Path, refused: str = "", given: bytes = b"") -> str:
        """A command on files; what it printed."""
        return self._programs(*self._line, "s3", *arguments, refused=refused, given=given)

    def api(self, *arguments: str | Path, refused: str = "", **parameters: object) -> dict[str, Any]:
        """One call, named as S3 names it; parameters that are not text go as JSON."""
        named = [
            part
            for name, value in parameters.items()
            for part in (f"--{name.replace('_', '-')}", value if isinstance(value, str) else json.dumps(value))
        ]
        said = self._programs(*self._line, "s3api", *arguments, *named, "--output", "json", refused=refused)
        answer: dict[str, Any] = json.loads(said) if said.strip() and not refused else {}
        return answer

    def configure(self, name: str, value: str) -> None:
        """Set a value of the profile."""
        self._programs(self._line[0], "configure", "set", name, value)

    def bucket(self, purpose: str) -> str:
        """A new bucket."""
        name = new_name(purpose)
        self.s3("mb", f"s3://{name}")
        return name


@pytest.fixture
def aws(programs: Programs) -> Aws:
    """The current one."""
    return Aws(programs, environment("aws").with_name("aws"))


@pytest.fixture
def old_aws(programs: Programs) -> Aws:
    """Debian's."""
    return Aws(programs, debian("awscli", "/usr/bin/aws"))


def check_s3(aws: Aws) -> None:
    """Files and folders go up, are listed, go round, come down the same, and are removed."""
    name, source, target = aws.bucket("files"), plant(aws.folder / "source"), aws.folder / "target"
    assert name in aws.s3("ls")
    assert aws.s3("sync", source, f"s3://{name}/in").count("upload: ") == len(TREE)
    assert aws.s3("sync", source, f"s3://{name}/in") == ""
    listed = aws.s3("ls", f"s3://{name}/in/", "--recursive", "--summarize")
    assert f"Total Objects: {len(TREE)}" in listed
    assert all(f"{size} in/{key}\n" in listed for key, size in TREE.items()), listed
    assert "PRE folder/" in aws.s3("ls", f"s3://{name}/in/")
    aws.s3("sync", f"s3://{name}/in", f"s3://{name}/copied")
    aws.s3("mv", f"s3://{name}/copied/empty", f"s3://{name}/copied/moved")
    aws.s3("sync", f"s3://{name}/copied", target)
    (target / "moved").rename(target / "empty")
    assert files_of(target) == files_of(source)
    aws.s3("rm", f"s3://{name}/in/a.txt")
    aws.s3("sync", f"s3://{name}/in", target, "--delete")
    assert sorted(files_of(target)) == sorted(set(TREE) - {"a.txt"})
    aws.s3("cp", f"s3://{name}/in/none", target, refused="404")
    aws.s3("rb", f"s3://{name}", refused="BucketNotEmpty")
    aws.s3("rm", f"s3://{name}/copied", "--recursive", "--exclude", "folder/*")
    assert "Total Objects: 2" in aws.s3("ls", f"s3://{name}/copied/", "--recursive", "--summarize")
    aws.s3("rb", f"s3://{name}", "--force")


def check_streams_and_links(aws: Aws) -> None:
    """Standard input is stored in parts, a link lets who has no key read it, and headers are kept."""
    name, body = aws.bucket("streams"), content(21 * MIB, 21)
    at = f"s3://{name}/piped"
    aws.s3("cp", "-", at, "--content-type", "text/x-test", "--metadata", "from=cli", given=body)
    head = aws.api("head-object", bucket=name, key="piped")
    assert (head["ContentLength"], head["ContentType"], head["Metadata"]) == (len(body), "text/x-test", {"from": "cli"})
    assert head["ETag"].endswith('-3"')
    aws.configure("default.s3.signature_version", "s3v4")  # else links are signed by version 2 in some regions
    with urllib.request.urlopen(aws.s3("presign", at, "--expires-in", "600").strip(), timeout=60) as answer:
        assert answer.read() == body
    aws.s3("cp", at, aws.folder / "down")
    assert (aws.folder / "down").read_bytes() == body


def check_calls(aws: Aws) -> None:
    """Calls by their names: objects, versions, tags, CORS, an upload by hand; refusals name S3's code."""
    name, file = aws.bucket("calls"), aws.folder / "body"
    file.write_bytes(content(6 * MIB))
    at: dict[str, str] = {"bucket": name, "key": "ключ"}
    aws.api("put-bucket-versioning", bucket=name, versioning_configuration={"Status": "Enabled"})
    versions = [aws.api("put-object", body=str(file), **at)["VersionId"] for _ in range(2)]
    aws.api("wait", "object-exists", **at)
    part = aws.api("get-object", str(aws.folder / "part"), range="bytes=1-3", version_id=versions[0], **at)
    assert part["ContentRange"] == f"bytes 1-3/{6 * MIB}"
    assert (aws.folder / "part").read_bytes() == content(6 * MIB)[1:4]
    assert aws.api("delete-object", **at)["DeleteMarker"] is True
    aws.api("head-object", refused="404", **at)
    listed = aws.api("list-object-versions", bucket=name, max_items="10")
    assert [entry["VersionId"] for entry in listed["Versions"]] == versions[::-1]
    gone = [{"Key": "ключ", "VersionId": listed["DeleteMarkers"][0]["VersionId"]}]
    assert aws.api("delete-objects", bucket=name, delete={"Objects": gone})["Deleted"][0]["DeleteMarker"] is True
    aws.api("put-object-tagging", tagging={"TagSet": [{"Key": "t", "Value": "å"}]}, **at)
    assert aws.api("get-object-tagging", **at)["TagSet"] == [{"Key": "t", "Value": "å"}]
    copied = aws.api("copy-object", bucket=name, key="copy", copy_source=f"{name}/ключ")
    assert copied["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(content(6 * MIB)).hexdigest()}"'
    rule = {"AllowedOrigins": ["https://a.example"], "AllowedMethods": ["PUT"]}
    aws.api("put-bucket-cors", bucket=name, cors_configuration={"CORSRules": [rule]})
    assert aws.api("get-bucket-cors", bucket=name)["CORSRules"] == [rule]
    aws.api("get-bucket-policy", bucket=name, refused="NoSuchBucketPolicy")
    aws.api("create-bucket", bucket="no", refused="InvalidBucketName")
    aws.api("get-object", str(aws.folder / "none"), bucket=name, key="none", refused="NoSuchKey")
    check_upload_by_hand(aws, name)


def check_upload_by_hand(aws: Aws, name: str) -> None:
    """Parts of a file and of another object, one of them again, made into one object; another upload is ended."""
    at: dict[str, str] = {"bucket": name, "key": "by hand"}
    first, last, copied = aws.folder / "first", aws.folder / "last", f"{name}/copy"
    first.write_bytes(content(5 * MIB, 5))
    last.write_bytes(b"the end")
    upload = aws.api("create-multipart-upload", **at)["UploadId"]
    aws.api("upload-part", part_number="1", body=str(last), upload_id=upload, **at)
    aws.api("upload-part", part_number="1", body=str(first), upload_id=upload, **at)
    span = f"bytes=0-{5 * MIB - 1}"
    aws.api("upload-part-copy", part_number="2", copy_source=copied, copy_source_range=span, upload_id=upload, **at)
    aws.api("upload-part", part_number="3", body=str(last), upload_id=upload, **at)
    assert upload in [entry["UploadId"] for entry in aws.api("list-multipart-uploads", bucket=name)["Uploads"]]
    listed = aws.api("list-parts", upload_id=upload, **at)["Parts"]
    parts = [{"PartNumber": entry["PartNumber"], "ETag": entry["ETag"]} for entry in listed]
    swapped = {"Parts": parts[::-1]}
    aws.api("complete-multipart-upload", upload_id=upload, multipart_upload=swapped, refused="InvalidPartOrder", **at)
    aws.api("complete-multipart-upload", upload_id=upload, multipart_upload={"Parts": parts}, **at)
    aws.api("get-object", str(aws.folder / "whole"), **at)
    assert (aws.folder / "whole").read_bytes() == content(5 * MIB, 5) + content(6 * MIB)[: 5 * MIB] + b"the end"
    other = aws.api("create-multipart-upload", **at)["UploadId"]
    aws.api("abort-multipart-upload", upload_id=other, **at)
    aws.api("list-parts", upload_id=other, refused="NoSuchUpload", **at)


@pytest.mark.quick
def test_aws_s3_of_today_moves_files(aws: Aws) -> None:
    check_s3(aws)


def test_aws_s3_of_today_streams_and_makes_links(aws: Aws) -> None:
    check_streams_and_links(aws)


def test_aws_s3api_of_today_calls_by_name(aws: Aws) -> None:
    check_calls(aws)


def test_aws_s3_of_debian_moves_files_without_checksums(old_aws: Aws) -> None:
    check_s3(old_aws)
    check_streams_and_links(old_aws)


def test_aws_s3api_of_debian_calls_by_name(old_aws: Aws) -> None:
    check_calls(old_aws)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_aws_sends_and_checks_a_checksum_of_each_kind(aws: Aws, algorithm: str) -> None:
    name, small, large = aws.bucket("checksums"), aws.folder / "small", aws.folder / "large"
    small.write_bytes(content(1000))
    large.write_bytes(content(20 * MIB))
    field, enabled = f"Checksum{algorithm}", {"checksum_mode": "ENABLED"}
    put = aws.api("put-object", bucket=name, key="call", body=str(small), checksum_algorithm=algorithm)
    if algorithm == "SHA256":
        assert base64.b64decode(put[field]) == hashlib.sha256(content(1000)).digest()
    aws.api("get-object", str(aws.folder / "down"), bucket=name, key="call", **enabled)
    assert aws.api("head-object", bucket=name, key="call", **enabled)[field] == put[field]
    for file in (small, large):
        aws.s3("cp", file, f"s3://{name}/{file.name}", "--checksum-algorithm", algorithm)
        assert field in aws.api("head-object", bucket=name, key=file.name, **enabled)
        aws.s3("cp", f"s3://{name}/{file.name}", aws.folder / "down", "--checksum-mode", "ENABLED")
        assert (aws.folder / "down").read_bytes() == file.read_bytes()


def test_aws_s3api_writes_on_conditions_and_is_told_what_is_not_there(aws: Aws) -> None:
    name, file = aws.bucket("conditions"), aws.folder / "file"
    file.write_bytes(b"a,b\n")
    at: dict[str, str] = {"bucket": name, "key": "once"}
    etag = aws.api("put-object", body=str(file), if_none_match="*", **at)["ETag"]
    aws.api("put-object", body=str(file), if_none_match="*", refused="PreconditionFailed", **at)
    aws.api("put-object", body=str(file), if_match='"0"', refused="PreconditionFailed", **at)
    aws.api("put-object", body=str(file), if_match=etag, **at)
    aws.api("delete-object", if_match='"0"', refused="PreconditionFailed", **at)
    csv: Any = {"input_serialization": {"CSV": {}}, "output_serialization": {"CSV": {}}}
    query = {"expression": "select * from s3object", "expression_type": "SQL", **csv}
    aws.api("select-object-content", str(aws.folder / "selected"), refused="NotImplemented", **query, **at)
    aws.api("put-object", body=str(file), object_lock_mode="GOVERNANCE", refused="NotImplemented", **at)
