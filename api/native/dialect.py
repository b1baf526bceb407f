"""The native dialect's front: routing on the raw path, authentication, the decision, the handler, errors as JSON.

Routes (a key is exactly the percent-decoded bytes behind `/objects/`):

    /objects                            list the bucket `default`
    /objects/{key}                      an object of it
    /buckets                            list buckets
    /buckets/{bucket}                   a bucket
    /buckets/{bucket}/objects           list it
    /buckets/{bucket}/objects/{key}     an object of it
"""

from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

from api.access.credentials import Authenticator
from api.access.decisions import CLUSTER, Action, Context, require
from api.access.gate import Gate
from api.messages import Request, Response, percent_decode
from api.names import decode_key
from api.native.buckets import BucketHandlers
from api.native.errors import error_response
from api.native.fields import copy_source, idempotency_key
from api.native.objects import COPY_SOURCE, ObjectHandlers
from api.operations.calls import Call
from cluster.errors import Refused, TrilithError
from metaraft.model import DEFAULT_BUCKET

type Target = Literal["buckets", "bucket", "listing", "object"]
type Handler = Callable[[Request, str, str, Call], Awaitable[Response]]

PREFIXES = (b"/objects", b"/buckets")
"""What paths of this dialect begin with."""


class Route(NamedTuple):
    """What a path names; `key` is still encoded."""

    target: Target
    bucket: bytes
    key: bytes


def match_path(path: bytes) -> Route | None:
    """The route of a raw path, or None."""
    if path.startswith(b"/objects/"):
        return Route("object", DEFAULT_BUCKET.encode(), path[9:])
    if path == b"/objects":
        return Route("listing", DEFAULT_BUCKET.encode(), b"")
    if path == b"/buckets":
        return Route("buckets", b"", b"")
    if not path.startswith(b"/buckets/"):
        return None
    bucket, slash, rest = path[9:].partition(b"/")
    if not slash:
        return Route("bucket", bucket, b"")
    if rest == b"objects":
        return Route("listing", bucket, b"")
    return Route("object", bucket, rest[8:]) if rest.startswith(b"objects/") else None


class NativeDialect:
    """Answers requests of the native dialect; never raises one of the four kinds."""

    def __init__(
        self, authenticator: Authenticator, gate: Gate, objects: ObjectHandlers, buckets: BucketHandlers
    ) -> None:
        self._authenticator = authenticator
        self._gate = gate
        self._table: dict[Target, dict[str, tuple[Action, Handler]]] = {
            "buckets": {"GET": ("ListBuckets", buckets.list_buckets)},
            "bucket": {
                "PUT": ("CreateBucket", buckets.put),
                "GET": ("GetBucket", buckets.get),
                "HEAD": ("GetBucket", buckets.get),
                "DELETE": ("DeleteBucket", buckets.delete),
            },
            "listing": {"GET": ("ListObjects", buckets.list_objects)},
            "object": {
                "PUT": ("PutObject", objects.put),
                "GET": ("GetObject", objects.get),
                "HEAD": ("GetObject", objects.get),
                "DELETE": ("DeleteObject", objects.delete),
            },
        }

    async def answer(self, request: Request) -> Response:
        """The answer to a request; an error of the four kinds becomes its JSON."""
        try:
            return await self._answer(request)
        except TrilithError as error:
            return error_response(error, request.request_id)

    def error(self, error: TrilithError, request_id: str, method: str, path: bytes) -> Response:
        """The answer that an error stands for."""
        del method, path
        return error_response(error, request_id)

    async def _answer(self, request: Request) -> Response:
        headers = request.headers
        principal = await self._authenticator.authenticate(
            headers.get("authorization"), deadline=request.deadline, trace_id=request.request_id
        )
        context = Context(request.client)
        route = match_path(request.path)
        methods = self._table[route.target] if route is not None else {}
        if route is None or request.method not in methods:
            require(principal, "ListBuckets", CLUSTER, context)  # who may not look learns nothing of the paths
            raise _no_route(request, sorted(methods))
        action, handler = methods[request.method]
        if principal.kind == "anonymous":  # refused before names are looked at
            require(principal, action, CLUSTER, context)
        bucket = _bucket_name(route.bucket)
        key = decode_key(percent_decode(route.key)) if route.target == "object" else ""
        call = Call(principal, request.deadline, request.request_id, idempotency_key(headers))
        await self._gate.require(action, bucket, key, call, context)
        if COPY_SOURCE in headers and action == "PutObject":
            await self._gate.require("GetObject", *copy_source(headers[COPY_SOURCE]), call, context)
        return await handler(request, bucket, key, call)


def _bucket_name(raw: bytes) -> str:
    try:
        return percent_decode(raw).decode()
    except UnicodeDecodeError:
        raise Refused("InvalidBucketName", "the bucket's name is not UTF-8") from None


def _no_route(request: Request, methods: list[str]) -> Refused:
    shown = request.path[:200].decode("latin-1")
    if methods:
        return Refused(
            "MethodNotAllowed",
            f"{request.method} is not possible on {shown!r}; {', '.join(methods)} are",
            detail={"allow": ", ".join(methods)},
        )
    return Refused("NoSuchPath", f"there is nothing at {shown!r}; paths begin with /objects or /buckets")
