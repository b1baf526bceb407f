"""Both dialects on one port of a whole cluster: who is taken for what, and signatures of real keys."""

import hashlib

import pytest

from api.s3 import xml
from api.s3.table import OPERATIONS
from chaos.signing import Signer
from tests.api.test_users import ANN_SECRET, add_ann_and_bob
from tests.api.whole import ACCESS, KEY, SECRET, Answer, Whole, whole

BODY = b"some bytes"
WRONG = hashlib.sha256(b"other bytes").hexdigest()


def signature(
    method: str, target: str, body: bytes | None, access: str, secret: str, host: str = "test"
) -> dict[str, str]:
    """The headers that sign a request."""
    lines = Signer(access, secret, host).headers(method, target, body).splitlines()
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


async def signed(
    cluster: Whole,
    method: str,
    target: str,
    body: bytes = b"",
    *,
    access: str = ACCESS,
    secret: str = SECRET,
    host: str = "test",
) -> Answer:
    """A request signed by a key."""
    headers = {"host": host, **signature(method, target, body, access, secret, host)}
    return await cluster.call(method, target, body, headers, key=None)


def code(answer: Answer) -> str:
    """The code of an error in XML."""
    return xml.parse(answer.body, "Error").value("Code") or ""


async def test_both_dialects_see_one_store() -> None:
    async with whole() as cluster:
        assert (await signed(cluster, "PUT", "/default/by%20s3", BODY)).status == 200
        assert (await cluster.get("/objects/by%20s3")).body == BODY
        await cluster.put("/objects/natively", BODY)
        answer = await signed(cluster, "GET", "/default/natively")
        assert (answer.status, answer.body) == (200, BODY)
        assert answer.headers["etag"] == f'"{hashlib.md5(BODY).hexdigest()}"'
        assert len(answer.headers["x-amz-id-2"]) == 64
        assert answer.headers["x-amz-request-id"] == answer.headers["x-request-id"]


async def test_a_host_names_a_bucket_whatever_the_path_begins_with() -> None:
    async with whole() as cluster:
        host = "default.s3.localhost:9000"
        assert (await signed(cluster, "PUT", "/objects/x", BODY, host=host)).status == 200
        assert (await signed(cluster, "GET", "/default/objects/x")).body == BODY
        assert (await cluster.get("/objects/objects/x")).body == BODY
        assert (await signed(cluster, "GET", "/objects/x", host="s3.localhost")).status == 401  # native, and unsigned


@pytest.mark.parametrize(
    ("access", "secret", "expected"),
    [
        ("NOBODY", SECRET, "InvalidAccessKeyId"),
        (ACCESS, SECRET + "x", "SignatureDoesNotMatch"),
        ("ANNKEY", SECRET, "SignatureDoesNotMatch"),
        ("ANNKEY", ANN_SECRET, "AccessDenied"),
    ],
)
async def test_who_may_not_is_refused_on_every_operation(access: str, secret: str, expected: str) -> None:
    async with whole() as cluster:
        await add_ann_and_bob(cluster)
        await cluster.put("/objects/x", BODY)
        for operation in OPERATIONS:
            if operation.target == "service" or operation.name in ("CreateBucket", "PostObject"):
                continue
            path = "/default" if operation.target == "bucket" else "/default/x"
            query = "&".join(f"{name}=1" for name in sorted(operation.query))
            answer = await signed(cluster, operation.method, f"{path}?{query}", access=access, secret=secret)
            assert answer.status == 403, operation
            found = answer.headers["x-error-code"] if operation.method == "HEAD" else code(answer)
            assert found == expected, operation
        assert (await cluster.get("/objects/x")).body == BODY


async def test_anonymous_learn_nothing_of_what_exists() -> None:
    async with whole() as cluster:
        await cluster.put("/objects/x", BODY)
        answers = [
            await cluster.call("GET", target, None, headers, key=None)
            for target in ("/default/x", "/default/y", "/nowhere/x", "/default")
            for headers in ({}, {"if-match": "a"}, {"if-modified-since": "Thu, 01 Jan 1970 00:00:00 GMT"})
        ]
        assert {(answer.status, code(answer)) for answer in answers} == {(403, "AccessDenied")}


async def test_a_body_that_was_not_signed_is_not_stored() -> None:
    async with whole() as cluster:
        for target in ("/default/x", "/default?tagging="):
            headers = signature("PUT", target, b"other bytes", ACCESS, SECRET)
            answer = await cluster.call("PUT", target, BODY, headers, key=None)
            assert (answer.status, code(answer)) == (400, "XAmzContentSHA256Mismatch")
            headers["x-amz-content-sha256"] = hashlib.sha256(BODY).hexdigest()
            answer = await cluster.call("PUT", target, BODY, headers, key=None)
            assert (answer.status, code(answer)) == (403, "SignatureDoesNotMatch")
        assert (await signed(cluster, "GET", "/default/x")).status == 404


async def test_users_own_what_they_make() -> None:
    async with whole() as cluster:
        await add_ann_and_bob(cluster)
        for target, body in (("/anns", b""), ("/anns/x", BODY)):
            assert (await signed(cluster, "PUT", target, body, access="ANNKEY", secret=ANN_SECRET)).status == 200
        answer = await signed(cluster, "GET", "/", access="ANNKEY", secret=ANN_SECRET)
        listed = xml.parse(answer.body, "ListAllMyBucketsResult")
        owner, buckets = listed.find("Owner"), listed.find("Buckets")
        assert owner is not None
        assert buckets is not None
        assert (owner.value("ID"), owner.value("DisplayName")) == ("ann-id", "Ann")
        assert [bucket.value("Name") for bucket in buckets.all("Bucket")] == ["anns"]
        answer = await signed(cluster, "PUT", "/anns/stolen?", BODY, access="BOBKEY", secret="bobs-secret-key-0002")
        assert (answer.status, code(answer)) == (403, "AccessDenied")
        assert (await signed(cluster, "GET", "/anns/x")).body == BODY  # root may


async def test_errors_outside_of_a_dialect_are_in_its_words() -> None:
    async with whole() as cluster:
        bad = {"x-amz-date": "\xff"}
        for target, kind in (("/default/x", "application/xml"), ("/objects/x", "application/json")):
            answer = await cluster.call("GET", target, None, {"range": "a", "Range": "b", **bad}, key=KEY)
            assert answer.status >= 400
            assert answer.headers["content-type"] == kind
