"""A client of a whole cluster that signs by the book, without the product's code, and sends what it likes besides."""

import hashlib
import hmac
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote

from api.s3 import xml
from tests.api.test_users import ANN_SECRET, BOB_SECRET, add_ann_and_bob
from tests.api.whole import Answer, Whole, whole

HOST = "test"
UNSIGNED = "UNSIGNED-PAYLOAD"
CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
CHUNKS_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
HERS, HIS = b"what Ann has stored", b"what Bob has stored, and nobody else may see"
EMPTY = hashlib.sha256().hexdigest()

type Change = Callable[[list[bytes]], list[bytes]]
"""What is sent in place of the pieces of a framed body."""


def code(answer: Answer) -> str:
    """The error's code, '' of a success."""
    if answer.status < 400:
        return ""
    return xml.parse(answer.body, "Error").value("Code") or "" if answer.body else answer.headers["x-error-code"]


@dataclass(frozen=True)
class Signed:
    """The headers of a signed request, and what signs its chunks."""

    headers: dict[str, str]
    key: bytes
    timestamp: str
    scope: str
    seed: str

    def chunk(self, previous: str, data: bytes) -> str:
        """The signature of one chunk."""
        digest = hashlib.sha256(data).hexdigest()
        return self._sign(f"AWS4-HMAC-SHA256-PAYLOAD\n{self.timestamp}\n{self.scope}\n{previous}\n{EMPTY}\n{digest}")

    def trailer(self, previous: str, lines: str) -> str:
        """The signature of trailers (`name:value` and a line feed, each)."""
        digest = hashlib.sha256(lines.encode()).hexdigest()
        return self._sign(f"AWS4-HMAC-SHA256-TRAILER\n{self.timestamp}\n{self.scope}\n{previous}\n{digest}")

    def _sign(self, text: str) -> str:
        return hmac.digest(self.key, text.encode(), "sha256").hex()


class Client:
    """One key's client. Targets are sent as they are."""

    def __init__(self, cluster: Whole, access: str, secret: str) -> None:
        self.cluster = cluster
        self._access = access
        self._secret = secret

    async def __call__(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        host: str = HOST,
        added: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request with all its headers signed, but for those that are `added` afterwards."""
        signed = self.sign(method, target, hashlib.sha256(body).hexdigest(), headers or {}, host)
        return await self.cluster.call(method, target, body, {**signed.headers, **(added or {})}, key=None)

    async def chunks(
        self,
        target: str,
        chunks: Iterable[bytes],
        *,
        size: int,
        change: Change | None = None,
        trailer: tuple[str, str] | None = None,
    ) -> Answer:
        """A PUT in signed chunks, which `change` may spoil. With a trailer: its name and value, signed."""
        headers = {"x-amz-decoded-content-length": str(size), "content-encoding": "aws-chunked"}
        if trailer is not None:
            headers["x-amz-trailer"] = trailer[0]
        signed = self.sign("PUT", target, CHUNKS if trailer is None else CHUNKS_TRAILER, headers, HOST)
        previous, framed = signed.seed, []
        for chunk in (*chunks, b""):
            previous = signed.chunk(previous, chunk)
            framed.append(
                b"%x;chunk-signature=%s\r\n%s" % (len(chunk), previous.encode(), chunk + b"\r\n" * bool(chunk))
            )
        if trailer is not None:
            lines = f"{trailer[0]}:{trailer[1]}\n"
            framed.append(f"{lines[:-1]}\r\nx-amz-trailer-signature:{signed.trailer(previous, lines)}\r\n".encode())
        framed.append(b"\r\n")
        body = b"".join(framed if change is None else change(framed))
        return await self.cluster.call("PUT", target, body, signed.headers, key=None)

    def sign(self, method: str, target: str, payload: str, headers: Mapping[str, str], host: str) -> Signed:
        """The signature in the header (Version 4)."""
        timestamp, scope, key = self._day()
        sent = {"host": host, "x-amz-date": timestamp, "x-amz-content-sha256": payload}
        sent |= {name.lower(): value for name, value in headers.items()}
        names = ";".join(sorted(sent))
        path, _, query = target.partition("?")
        items = sorted(item if "=" in item else f"{item}=" for item in query.split("&") if item)
        lines = "".join(f"{name}:{sent[name].strip()}\n" for name in sorted(sent))
        canonical = f"{method}\n{path}\n{'&'.join(items)}\n{lines}\n{names}\n{payload}"
        seed = self._signature(key, timestamp, scope, canonical)
        sent["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._access}/{scope}, SignedHeaders={names}, Signature={seed}"
        )
        return Signed(sent, key, timestamp, scope, seed)

    def presign(self, method: str, path: str, parameters: Mapping[str, str] | None = None, expires_s: int = 300) -> str:
        """The target with the signature in the query, over the host alone."""
        timestamp, scope, key = self._day()
        given = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self._access}/{scope}",
            "X-Amz-Date": timestamp,
            "X-Amz-Expires": str(expires_s),
            "X-Amz-SignedHeaders": "host",
            **(parameters or {}),
        }
        query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(given.items()))
        canonical = f"{method}\n{path}\n{query}\nhost:{HOST}\n\nhost\n{UNSIGNED}"
        return f"{path}?{query}&X-Amz-Signature={self._signature(key, timestamp, scope, canonical)}"

    def _day(self) -> tuple[str, str, bytes]:
        timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = f"{timestamp[:8]}/us-east-1/s3/aws4_request"
        key = f"AWS4{self._secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return timestamp, scope, key

    @staticmethod
    def _signature(key: bytes, timestamp: str, scope: str, canonical: str) -> str:
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        return hmac.digest(key, f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{digest}".encode(), "sha256").hex()


@dataclass
class Stage:
    """Ann and Bob, each with a bucket and a key `k` in it."""

    cluster: Whole
    ann: Client
    bob: Client

    async def anonymous(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """A request that nobody has signed."""
        return await self.cluster.call(method, target, body, dict(headers or {}), key=None)

    async def begin(self, client: Client, target: str) -> str:
        """Begin an upload; its id."""
        answer = await client("POST", f"{target}?uploads")
        return xml.parse(answer.body, "InitiateMultipartUploadResult").value("UploadId") or ""

    async def check(self) -> None:
        """What is Bob's is as it was, and nothing was added."""
        assert (await self.bob("GET", "/bobs/k")).body == HIS
        listed = xml.parse((await self.bob("GET", "/bobs")).body, "ListBucketResult")
        assert [node.value("Key") for node in listed.all("Contents")] == ["k"]


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    async with whole() as cluster:
        await add_ann_and_bob(cluster)
        found = Stage(cluster, Client(cluster, "ANNKEY", ANN_SECRET), Client(cluster, "BOBKEY", BOB_SECRET))
        for client, bucket, data in ((found.ann, "anns", HERS), (found.bob, "bobs", HIS)):
            assert (await client("PUT", f"/{bucket}")).status == 200
            assert (await client("PUT", f"/{bucket}/k", data)).status == 200
        yield found


def _reversed(framed: list[bytes]) -> list[bytes]:
    return [framed[1], framed[0], *framed[2:]]


def _forged(framed: list[bytes]) -> list[bytes]:
    return [re.sub(rb"chunk-signature=\w{8}", b"chunk-signature=00000000", framed[0]), *framed[1:]]


def _changed(framed: list[bytes]) -> list[bytes]:
    return [framed[0], framed[1].replace(b"\x05", b"\x06"), *framed[2:]]


def _last_forged(framed: list[bytes]) -> list[bytes]:
    return [*framed[:2], b"0;chunk-signature=" + b"0" * 64 + b"\r\n", *framed[3:]]


SPOILED: dict[str, Change] = {
    "reordered": _reversed,
    "forged": _forged,
    "changed": _changed,
    "last forged": _last_forged,
    "left out": lambda framed: framed[1:],
    "no end": lambda framed: framed[:2],
    "twice": lambda framed: [framed[0], *framed],
    "unsigned": lambda framed: [re.sub(rb";chunk-signature=\w+", b"", each) for each in framed],
    "longer than it says": lambda framed: [framed[0][:-2] + b"more\r\n", *framed[1:]],
    "more behind the end": lambda framed: [*framed, b"5;chunk-signature=0\r\nhello\r\n"],
}
"""Ways in which a body in two signed chunks is not as it was signed: each is given the pieces of it."""
