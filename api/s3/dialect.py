"""The S3 dialect's front: address, operation, authentication, the decision, the handler, errors as XML.

The order of refusals: who is it (a wrong signature is refused before names are looked at); may they (a missing bucket
is told only to who is known); is the bucket whose they think it is; is it possible here (what is not implemented is
refused, never ignored); the handler.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from api.access.decisions import ANONYMOUS, Action, Context, Principal
from api.access.gate import Gate
from api.messages import Request, Response, parse_query
from api.names import decode_key
from api.operations.buckets import Buckets
from api.operations.calls import Call
from api.s3.address import Address, resolve
from api.s3.errors import error_response
from api.s3.exchange import Exchange, Payload
from api.s3.forms import is_form
from api.s3.owners import EXPECTED_OWNER, require_owner
from api.s3.refusals import refuse_unsupported
from api.s3.table import Operation, Target, methods, route
from cluster.errors import Refused, TrilithError

type Handler = Callable[[Exchange], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Authenticated:
    """Who sent a request, its body as the signature frames it, and the request with all its headers: a presigned URL
    may carry some of them as parameters."""

    principal: Principal
    payload: Payload
    request: Request


class Authentication(Protocol):
    """Finds out who signed a request."""

    async def authenticate(self, request: Request, bucket: str | None) -> Authenticated:
        """Raises Refused (S3's codes), Unavailable when the keys cannot be read."""


class Cors(Protocol):
    """What a bucket's CORS configuration adds."""

    async def preflight(self, request: Request, bucket: str, call: Call) -> Response:
        """The answer to an OPTIONS request. Raises Refused (AccessDenied, NoSuchBucket)."""

    async def headers(self, request: Request, bucket: str, call: Call) -> tuple[tuple[str, str], ...]:
        """What goes with the answer to a request with an Origin; nothing if no rule allows it."""


class Posts(Protocol):
    """Uploads by HTML forms, which are signed by a field of the form."""

    async def answer(self, request: Request, bucket: str) -> Response:
        """Store the file of a form."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the dialect is made of."""

    authentication: Authentication
    gate: Gate
    buckets: Buckets
    cors: Cors
    posts: Posts
    handlers: Mapping[str, Handler]
    domains: tuple[str, ...]
    host_id: str


class S3Dialect:
    """Answers requests of the S3 dialect; never raises one of the four kinds."""

    def __init__(self, parts: Parts) -> None:
        self._on = parts

    async def answer(self, request: Request) -> Response:
        """The answer to a request; an error of the four kinds becomes its XML."""
        try:
            response = await self._answer(request)
        except TrilithError as error:
            response = self.error(error, request.request_id, request.method, request.path)
        if "origin" in request.headers and request.method != "OPTIONS":
            response = await self._with_cors(request, response)
        return self._stamped(response, request.request_id)

    def error(self, error: TrilithError, request_id: str, method: str, path: bytes) -> Response:
        """The answer that an error stands for."""
        resource = path.decode("latin-1")
        return error_response(error, request_id, self._on.host_id, resource, head=method == "HEAD")

    async def _answer(self, request: Request) -> Response:
        address = self._address(request)
        bucket = None if address.bucket is None else _bucket_name(address.bucket)
        call = Call(ANONYMOUS, request.deadline, request.request_id)
        if request.method == "OPTIONS":
            return await self._on.cors.preflight(request, bucket or "", call)
        if (
            request.method == "POST"
            and bucket is not None
            and address.key is None
            and is_form(request.headers.get("content-type", ""))
        ):
            return await self._on.posts.answer(request, bucket)
        sender = await self._on.authentication.authenticate(request, bucket if address.virtual else None)
        request = sender.request
        query = parse_query(request.query)
        operation = _operation(_target(address), request, query)
        key = "" if address.key is None else decode_key(address.key)
        call = Call(sender.principal, request.deadline, request.request_id, _invocation_id(request))
        await self._on.gate.require(_action(operation, query), bucket or "", key, call, Context(request.client))
        if operation.target != "service" and operation.name != "CreateBucket":
            await require_owner(self._on.buckets, bucket or "", request.headers.get(EXPECTED_OWNER), call)
        refuse_unsupported(operation, request)
        handler = self._on.handlers[operation.name]
        return await handler(Exchange(request, operation, bucket or "", key, query, call, sender.payload))

    def _address(self, request: Request) -> Address:
        return resolve(request.headers.get("host", ""), request.path, self._on.domains)

    async def _with_cors(self, request: Request, response: Response) -> Response:
        bucket = self._address(request).bucket
        if bucket is None:
            return response
        call = Call(ANONYMOUS, request.deadline, request.request_id)
        try:
            added = await self._on.cors.headers(request, _bucket_name(bucket), call)
        except TrilithError:  # the answer itself stands; a browser without the headers does not show it
            return response
        return _with_headers(response, added)

    def _stamped(self, response: Response, request_id: str) -> Response:
        return _with_headers(response, (("x-amz-request-id", request_id), ("x-amz-id-2", self._on.host_id)))


def _with_headers(response: Response, added: tuple[tuple[str, str], ...]) -> Response:
    return Response(
        response.status, response.headers + added, response.body, response.stream, response.length, response.error_code
    )


def _bucket_name(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Refused("InvalidBucketName", "the bucket's name is not UTF-8") from None


def _target(address: Address) -> Target:
    if address.bucket is None:
        return "service"
    return "bucket" if address.key is None else "object"


def _operation(target: Target, request: Request, query: Mapping[str, str]) -> Operation:
    found = route(target, request.method, query, request.headers)
    if found is None:
        allowed = ", ".join(methods(target))
        message = f"{request.method} with these parameters is no operation on a {target}; the methods are {allowed}"
        raise Refused("MethodNotAllowed", message, detail={"allow": allowed})
    if found.name == "PostObject":  # a form would have gone another way
        condition = "Bucket POST must be of the enclosure-type multipart/form-data"
        message = f"At least one of the pre-conditions you specified did not hold: {condition}"
        raise Refused("PreconditionFailed", message, detail={"condition": condition})
    return found


_OF_VERSION: dict[Action, Action] = {
    "GetObject": "GetObjectVersion",
    "DeleteObject": "DeleteObjectVersion",
    "GetObjectAttributes": "GetObjectVersionAttributes",
    "GetObjectTagging": "GetObjectVersionTagging",
    "PutObjectTagging": "PutObjectVersionTagging",
    "DeleteObjectTagging": "DeleteObjectVersionTagging",
}


def _action(operation: Operation, query: Mapping[str, str]) -> Action:
    return _OF_VERSION.get(operation.action, operation.action) if "versionId" in query else operation.action


_INVOCATION_ID_CHARS_MAX = 255


def _invocation_id(request: Request) -> str | None:
    """The SDK's name for this call, the same in its retries: they find the result of the first."""
    value = request.headers.get("amz-sdk-invocation-id")
    return value if value and len(value) <= _INVOCATION_ID_CHARS_MAX else None
