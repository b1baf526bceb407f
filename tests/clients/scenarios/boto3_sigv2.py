"""boto3 that signs by version 2, as it still does by default for URLs and forms in the oldest regions."""

import urllib3

from tests.clients.scenarios.aws import bucket, client, keys, refused
from tests.clients.scenarios.steps import KEYS, MIB, content, run

s3 = client(signature_version="s3")
default = client()
http = urllib3.PoolManager()


def objects() -> None:
    """Objects under any key, sub-resources, parts, many removed at once: the signature covers what it should."""
    with bucket(s3, "signed") as name:
        for number, key in enumerate(KEYS):
            s3.put_object(
                Bucket=name, Key=key, Body=content(1000, number), Metadata={"B": "2", "a": "1"}, Tagging="t=1"
            )
            shown = s3.get_object(Bucket=name, Key=key, ResponseContentType="text/x-a+b; c=d e")
            assert (shown["Body"].read(), shown["ContentType"]) == (content(1000, number), "text/x-a+b; c=d e")
            assert s3.get_object_tagging(Bucket=name, Key=key)["TagSet"] == [{"Key": "t", "Value": "1"}]
        assert keys(s3, name, Prefix="a", PaginationConfig={"PageSize": 1}) == ["a b+c&d=e?f#g%20", "a/b/c"]
        at = {"Bucket": name, "Key": KEYS[3]}
        upload = s3.create_multipart_upload(**at)["UploadId"]
        etag = s3.upload_part(UploadId=upload, PartNumber=1, Body=content(6 * MIB), **at)["ETag"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
        s3.complete_multipart_upload(UploadId=upload, MultipartUpload=parts, **at)
        assert s3.get_object(**at)["Body"].read() == content(6 * MIB)


def links_and_forms() -> None:
    """What the current boto3 makes when nothing is set."""
    with bucket(default, "links") as name:
        at = {"Bucket": name, "Key": "å + key"}
        put, get = (default.generate_presigned_url(call, Params=at) for call in ("put_object", "get_object"))
        assert "Signature=" in put, put
        assert "X-Amz-Signature=" not in put, put
        assert http.request("PUT", put, body=b"linked").status == 200
        assert http.request("GET", get).data == b"linked"
        assert http.request("GET", get.replace("Signature=", "Signature=A")).status == 403
        form = default.generate_presigned_post(name, "in/${filename}")
        assert "signature" in form["fields"], form
        answer = http.request("POST", form["url"], fields={**form["fields"], "file": ("f", b"formed")})
        assert answer.status == 204, answer.data
        assert default.get_object(Bucket=name, Key="in/f")["Body"].read() == b"formed"
        refused("NoSuchKey", default.get_object, Bucket=name, Key="in/none")


if __name__ == "__main__":
    run((objects, links_and_forms))
