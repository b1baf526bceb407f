"""Each operation of the table is done when it is asked for; and errors and headers that many of them share.

The documented errors of objects and uploads are in test_object_errors, those of one bucket operation in test_buckets,
test_cors, test_listings and test_posts.
"""

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from api.digests import Digester
from api.s3.checksums import ALGORITHMS, HEADERS
from api.s3.errors import STATUS
from api.s3.table import BY_NAME, OPERATIONS, Operation
from metaraft.commands import CreateBucket
from metaraft.machine_buckets import BUCKETS_MAX
from metaraft.model import Copies
from tests.api.s3.asks import GOOD, WHOLE, Ask
from tests.api.s3.browser_forms import CONTENT_TYPE, body, signed
from tests.api.s3.composed import composed
from tests.api.s3.speaking import Speaking
from tests.api.s3.storing import completion, md5
from tests.api.whole import ACCESS

DOCUMENT = ("BadDigest", "MalformedXML", "MaxMessageLengthExceeded", "MissingRequestBodyError")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_each_operation_is_done_or_says_why_not(tmp_path: Path, operation: Operation) -> None:
    async with composed(tmp_path) as s3:
        answer = await s3.ask(GOOD[operation.name])
        if operation.support == "not implemented":
            assert (answer.status, answer.code) == (501, "NotImplemented")
        elif operation.none in operation.errors:
            assert (answer.status, answer.code) == (404, operation.none)
        else:
            assert answer.status in (200, 204), answer.body


def named(code: str) -> list[str]:
    return [operation.name for operation in OPERATIONS if code in operation.errors]


async def test_a_bucket_that_is_missing_is_missing_to_each_operation(tmp_path: Path) -> None:
    async with composed(tmp_path) as s3:
        for name in named("NoSuchBucket"):
            ask = GOOD[name]
            body_ = ask.body
            if name == "PostObject":
                body_ = body(signed("missing", {"key": "new"}), b"x").decode()
            target = ask.target.replace("/bucket", "/missing").replace("/spare", "/missing")
            answer = await s3.ask(replace(ask, target=target, body=body_))
            assert (answer.status, answer.code) == (404, "NoSuchBucket"), name
