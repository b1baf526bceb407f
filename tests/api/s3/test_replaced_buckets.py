"""A bucket that changes hands while a request on it is under way: what was allowed is not done to the new one.

A request can take as long as its sender likes: it may be slow with its body, or copy a large object. So before each
message that it sends to the metadata the bucket is removed by its owner, and made again by somebody else.
"""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from metaraft.commands import (
    AbortUpload,
    Command,
    CreateBucket,
    CreateUpload,
    DeleteBucket,
    DeleteObject,
    PutObject,
)
from metaraft.model import Copies, Inline
from metaraft.queries import (
    BucketFound,
    GetBucket,
    GetBucketSetting,
    GetObject,
    ListUploads,
    ListVersions,
    Query,
)
from metaraft.results import (
    UploadDone,
)
from tests.api.operating import MachineMetadata
from tests.api.s3.speaking import ALICE, BOB
from tests.api.s3.storing import completion, md5, storing

HERS = b"what Alice has stored"
HIS = b"what Bob has stored, and nobody else may see or change"
TAGS = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
CORS = (
    "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>"
    "</CORSConfiguration>"
)
VERSIONING = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
PAYMENT = "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>"
DELETE = "<Delete><Object><Key>k</Key></Object></Delete>"
PLACES_MAX = 12
"""No request here sends so many messages."""


@dataclass(frozen=True)
class Asked:
    """A request of Alice's on her bucket; `{upload}` is her upload's id."""

    method: str
    target: str
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


ASKED = (
    Asked("HEAD", "/shared"),
    Asked("DELETE", "/shared"),
    Asked("GET", "/shared?versioning"),
    Asked("PUT", "/shared?versioning", VERSIONING),
    Asked("PUT", "/shared?tagging", TAGS),
    Asked("DELETE", "/shared?tagging"),
    Asked("PUT", "/shared?cors", CORS),
    Asked("PUT", "/shared?requestPayment", PAYMENT),
    Asked("GET", "/shared"),
    Asked("GET", "/shared?list-type=2&fetch-owner=true"),
    Asked("GET", "/shared?versions"),
    Asked("GET", "/shared?uploads"),
    Asked("POST", "/shared?delete", DELETE, {"content-md5": md5(DELETE.encode())}),
    Asked("PUT", "/shared/k", "new"),
    Asked("PUT", "/shared/k", "new", {"x-amz-expected-bucket-owner": ALICE.name}),
    Asked("PUT", "/shared/k", "new", {"if-match": "e" * 32}),
    Asked("PUT", "/shared/n", "new", {"if-none-match": "*"}),
    Asked("PUT", "/shared/k", "new", {"amz-sdk-invocation-id": "1"}),
    Asked("PUT", "/shared/k", "x" * 70_000),
    Asked("GET", "/shared/k"),
    Asked("HEAD", "/shared/k"),
    Asked("GET", "/shared/k?versionId=null"),
    Asked("GET", "/shared/k?attributes", "", {"x-amz-object-attributes": "ETag,ObjectSize"}),
    Asked("GET", "/shared/k?tagging"),
    Asked("PUT", "/shared/k?tagging", TAGS),
    Asked("DELETE", "/shared/k?tagging"),
    Asked("DELETE", "/shared/k"),
    Asked("DELETE", "/shared/k?versionId=null"),
    Asked("PUT", "/shared/c", "", {"x-amz-copy-source": "hers/k"}),
    Asked("PUT", "/shared/c", "", {"x-amz-copy-source": "shared/k"}),
    Asked("PUT", "/hers/c", "", {"x-amz-copy-source": "shared/k"}),
    Asked("PUT", "/hers/c", "", {"x-amz-copy-source": "shared/k", "x-amz-checksum-algorithm": "SHA256"}),
    Asked("PUT", "/hers/c", "", {"x-amz-copy-source": "shared/k?versionId=null"}),
    Asked("PUT", "/hers/c", "", {"x-amz-copy-source": "shared/k", "amz-sdk-invocation-id": "1"}),
    Asked("POST", "/shared/u?uploads"),
    Asked("PUT", "/shared/k?partNumber=1&uploadId={upload}", "new"),
    Asked("PUT", "/shared/k?partNumber=1&uploadId={upload}", "", {"x-amz-copy-source": "hers/k"}),
    Asked("GET", "/shared/k?uploadId={upload}"),
    Asked("POST", "/shared/k?uploadId={upload}", completion((1, "d" * 32))),
    Asked("DELETE", "/shared/k?uploadId={upload}"),
)


class Changing:
    """A bucket of Alice's that becomes one of Bob's, and one that stays hers."""

    def __init__(self, meta: MachineMetadata) -> None:
        self._state = meta.state
        for bucket in ("shared", "hers"):
            self._make(bucket, ALICE.name, HERS)
        found = self._state.do(CreateUpload("shared", "k", b"12345678", "text/plain", owner=ALICE.name))
        assert isinstance(found, UploadDone)
        self.upload = found.upload.upload_id
        self.expected: list[object] = []

    def _make(self, name: str, owner: str, data: bytes) -> None:
        self._state.do(CreateBucket(name, owner, Copies(3)))
        found = self._state.ask(GetBucket(name))
        assert isinstance(found, BucketFound)
        bucket_id = found.bucket.bucket_id
        self._state.do(PutObject(name, bucket_id, "k", len(data), "e" * 32, "text/plain", Inline(data), owner=owner))

    def change(self) -> None:
        """Alice removes her bucket with all that is in it; Bob makes his."""
        self._state.do(AbortUpload("shared", "k", self.upload))
        for key in ("k", "n", "c"):
            self._state.do(DeleteObject("shared", key))
        self._state.do(DeleteBucket("shared"))
        self._make("shared", BOB.name, HIS)
        self.expected = self.all_of_shared()

    def all_of_shared(self) -> list[object]:
        """All that there is of the bucket."""
        queries: tuple[Query, ...] = (
            GetBucket("shared"),
            *(GetBucketSetting("shared", name) for name in ("tagging", "cors", "request-payment")),
            GetObject("shared", "k"),
            ListVersions("shared"),
            ListUploads("shared"),
        )
        return [self._state.ask(query) for query in queries]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: f"{asked.method} {asked.target} {sorted(asked.headers)}")
async def test_what_was_allowed_on_a_bucket_is_not_done_to_the_next_of_its_name(tmp_path: Path, asked: Asked) -> None:
    for place in range(1, PLACES_MAX):
        folder = tmp_path / str(place)
        folder.mkdir()
        async with storing(folder) as s3:
            changing = Changing(s3.do.meta)
            messages = 0

            async def count(_message: Command | Query, at: int = place, changing: Changing = changing) -> None:
                nonlocal messages
                messages += 1
                if messages == at + 1:  # the first is the question who owns the bucket
                    changing.change()
                await trio.lowlevel.checkpoint()

            s3.do.meta.before = count
            target = asked.target.format(upload=changing.upload.hex())
            answer = await s3.call(asked.method, target, asked.body, asked.headers, by=ALICE)
            s3.do.meta.before = None
            if messages <= place:  # it was over before
                return
            assert changing.all_of_shared() == changing.expected, (place, answer)
            assert HIS not in answer.body
            assert BOB.name.encode() not in answer.body
            if asked.target.startswith("/hers"):
                assert (await s3.call("GET", "/hers/c", by=ALICE)).body != HIS
            elif answer.status < 300:  # all of it was done before, or nothing was there to be done
                assert asked.method in ("PUT", "DELETE", "POST"), (place, answer)
    raise AssertionError("it sent more messages than are counted here")
