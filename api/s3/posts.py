"""PostObject: uploads by HTML forms. The order of refusals is the dialect's, with the form in the place of the head.

Read the fields; who signed the policy (without one: nobody); does the policy allow this form, bucket and key; may its
signer write there; is what the fields ask for possible here. Only then the file is read, and stored only when all of
the form was there and its size is what the policy allows. Source: S3, 'Browser-based uploads using POST'.
"""

import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import quote, urlsplit, urlunsplit

import trio

from api.access.decisions import ANONYMOUS, Context, Principal
from api.access.gate import Gate
from api.conditions import NO_CONDITION
from api.messages import Request, RequestBody, Response
from api.names import decode_key
from api.operations.buckets import Buckets
from api.operations.calls import Call
from api.operations.objects import Objects
from api.operations.values import Description, Written
from api.s3 import checksums, xml
from api.s3.address import object_url
from api.s3.authentication import Keys, prove
from api.s3.fields import description
from api.s3.forms import Event, FieldRead, FileBegan, FileData, FileEnded, Form, boundary_of
from api.s3.objects import written_headers
from api.s3.owners import EXPECTED_OWNER, require_owner
from api.s3.paging import invalid_argument
from api.s3.post_policy import Policy, SizeRange, parse_policy
from api.s3.post_signature import parse_post, verify_post
from api.s3.refusals import refuse_header
from api.s3.tagging import OBJECT_TAGS_MAX, parse_tagging
from cluster.limits import Limits

_FILENAME = "${filename}"
_URL = re.compile(r"[!-~]+")


class FormPosts:
    """Stores the files of forms (`api.s3.dialect.Posts`)."""

    def __init__(
        self,
        keys: Keys,
        gate: Gate,
        buckets: Buckets,
        objects: Objects,
        limits: Limits,
        *,
        v2: bool,
        domains: tuple[str, ...],
        now: Callable[[], float] = time.time,
    ) -> None:
        """`v2`: old signatures are taken too. `domains`: those of virtual-host style."""
        self._keys = keys
        self._gate = gate
        self._buckets = buckets
        self._objects = objects
        self._limits = limits
        self._v2 = v2
        self._domains = domains
        self._now = now

    async def answer(self, request: Request, bucket: str) -> Response:
        """Store the file of a form. Raises the four kinds."""
        form = _Incoming(request.body, boundary_of(request.headers.get("content-type", "")))
        began = trio.current_time()
        fields, filename = await form.fields()
        # The deadline is for what is done here: the time in which the client sent its fields is not in it.
        request = replace(request, deadline=request.deadline + trio.current_time() - began)
        if "key" in fields:
            fields["key"] = fields["key"].replace(_FILENAME, filename)
        principal, policy = await self._sender(fields, request)
        if policy is not None:
            policy.check(fields, bucket=bucket, now=self._now())
        call = Call(principal, request.deadline, request.request_id)
        await self._gate.require("PutObject", bucket, fields.get("key", ""), call, Context(request.client))
        await require_owner(self._buckets, bucket, request.headers.get(EXPECTED_OWNER), call)
        key = _key(fields)
        written = await self._objects.put(
            bucket,
            key,
            self._described(fields),
            form.file(None if policy is None else policy.size_range),
            size=None,
            expected=checksums.expected_digests(fields, None, checksums.DEFAULT),
            condition=NO_CONDITION,
            call=call,
        )
        url = object_url(request.scheme, request.headers.get("host", ""), self._domains, bucket, key)
        return _stored(written, fields, url)

    async def _sender(self, fields: Mapping[str, str], request: Request) -> tuple[Principal, Policy | None]:
        claim = parse_post(fields, v2=self._v2)
        if claim is None:
            return ANONYMOUS, None
        known, _ = await prove(
            self._keys, claim.access_key, lambda secret: verify_post(claim, secret, self._now()), request
        )
        return known.principal, parse_policy(fields["policy"])

    def _described(self, fields: Mapping[str, str]) -> Description:
        """What the object carries besides its bytes, after the refusal of what is not possible."""
        for name, value in fields.items():
            refuse_header("x-amz-acl" if name == "acl" else name, value)
        if "x-amz-tagging" in fields:
            text = "A form has the tags of its object in the field 'tagging', as XML."
            raise invalid_argument("x-amz-tagging", fields["x-amz-tagging"], text)
        described, tags = description(fields, self._limits), fields.get("tagging")
        if tags is None:
            return described
        return replace(described, tags=parse_tagging(xml.parse(tags.encode(), "Tagging"), most=OBJECT_TAGS_MAX))


class _Incoming:
    """A form on its way in: its fields first, then its file as a body."""

    def __init__(self, body: RequestBody, boundary: bytes) -> None:
        self._pieces = aiter(body)
        self._form = Form(boundary)
        self._events: deque[Event] = deque()
        self._range: SizeRange | None = None
        self._size = 0

    async def fields(self) -> tuple[dict[str, str], str]:
        """All fields before the file, and its name. Raises Refused."""
        fields: dict[str, str] = {}
        while True:
            event = await self._next()
            if isinstance(event, FileBegan):
                return fields, event.filename
            assert isinstance(event, FieldRead), "a form without a file is refused"
            if event.name in fields:
                raise invalid_argument(event.name, event.value, "A field of this name is given more than once.")
            fields[event.name] = event.value

    def file(self, size_range: SizeRange | None) -> RequestBody:
        """The file's bytes, once; they end when all of the form was read. Raises Refused."""
        self._range = size_range
        return self

    def __aiter__(self) -> "_Incoming":
        return self

    async def __anext__(self) -> bytes:
        match await self._next():
            case FileData(data):
                self._size += len(data)
                if self._range is not None and self._size > self._range.most:
                    self._range.check(self._size)
                return data
            case FileEnded() if self._range is not None:
                self._range.check(self._size)
        async for piece in self._pieces:
            self._form.feed(piece)
        self._form.end()
        raise StopAsyncIteration

    async def _next(self) -> Event:
        while not self._events:
            try:
                piece = await anext(self._pieces)
            except StopAsyncIteration:
                self._form.end()
                raise
            self._events.extend(self._form.feed(piece))
        return self._events.popleft()


def _key(fields: Mapping[str, str]) -> str:
    """The key that the form names. Raises Refused (InvalidArgument, KeyTooLong, InvalidKey)."""
    key = fields.get("key")
    if key is None:
        text = (
            "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields."
        )
        raise invalid_argument("key", "", text)
    if not key:
        raise invalid_argument("key", "", "User key must have a length greater than 0.")
    return decode_key(key.encode())


def _stored(written: Written, fields: Mapping[str, str], url: str) -> Response:
    headers = written_headers(written) + checksums.headers_of(written.checksums)
    redirect = _redirect(fields, written)
    if redirect is not None:
        return Response(303, (("location", redirect), *headers))
    headers.insert(0, ("location", url))
    match fields.get("success_action_status"):
        case "200":
            return Response(200, tuple(headers))
        case "201":
            facts = [("Location", url), ("Bucket", written.bucket), ("Key", written.key), ("ETag", f'"{written.etag}"')]
            body = xml.document("PostResponse", [xml.element(*fact) for fact in facts], namespace=False)
            return Response(201, (("content-type", "application/xml"), *headers), body)
        case _:
            return Response(204, tuple(headers))


def _redirect(fields: Mapping[str, str], written: Written) -> str | None:
    """Where the browser is sent; None where the form has no URL, or none that is one (S3: as if it was not there)."""
    target = fields.get("success_action_redirect", fields.get("redirect", ""))
    if not _URL.fullmatch(target):
        return None
    try:
        parts = urlsplit(target)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    if not usable:
        return None
    facts = {"bucket": written.bucket, "key": written.key, "etag": f'"{written.etag}"'}
    told = "&".join(f"{name}={quote(value, safe='')}" for name, value in facts.items())
    return urlunsplit(parts._replace(query=f"{parts.query}&{told}" if parts.query else told))
