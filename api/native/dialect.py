"""The native dialect's front: routing, authentication, the decision, the handler, errors as JSON."""

from collections.abc import Awaitable, Callable, Mapping

from api.access.credentials import Authenticator
from api.access.decisions import CLUSTER, Action, Context, require
from api.access.gate import Gate
from api.messages import Request, Response, parse_query, percent_decode
from api.names import decode_key
from api.native.errors import error_response
from api.native.exchange import Exchange
from api.native.fields import COPY_SOURCE, copied, idempotency_key
from api.native.routes import Target, match_path
from api.operations.calls import Call
from cluster.errors import Refused, TrilithError

type Handler = Callable[[Exchange], Awaitable[Response]]
type Table = Mapping[Target, Mapping[str, tuple[Action, Handler]]]
"""What can be done with what a path names: by method, what is decided on, and who does it."""

_OF_VERSION: dict[Action, Action] = {"GetObject": "GetObjectVersion", "DeleteObject": "DeleteObjectVersion"}
"""What it is if a version is named."""

_KEY_IN_QUERY: frozenset[Action] = frozenset({"PutObject", "ListMultipartUploadParts", "AbortMultipartUpload"})


class NativeDialect:
    """Answers requests of the native dialect; never raises one of the four kinds."""

    def __init__(self, authenticator: Authenticator, gate: Gate, table: Table) -> None:
        self._authenticator = authenticator
        self._gate = gate
        self._table = table

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
        query = parse_query(request.query)
        key = ""
        if route.target == "object":
            key = decode_key(percent_decode(route.key))
            if "version" in query:
                action = _OF_VERSION.get(action, action)
        elif action in _KEY_IN_QUERY:
            key = _key_in(query)
        call = Call(principal, request.deadline, request.request_id, idempotency_key(headers))
        await self._gate.require(action, bucket, key, call, context)
        if COPY_SOURCE in headers and action == "PutObject":
            source = copied(headers)
            reading: Action = "GetObject" if source.version is None else "GetObjectVersion"
            await self._gate.require(reading, source.bucket, source.key, call, context)
        upload, part = (percent_decode(raw).decode("latin-1") for raw in (route.upload, route.part))
        return await handler(Exchange(request, bucket, key, upload, part, query, call))


def _bucket_name(raw: bytes) -> str:
    try:
        return percent_decode(raw).decode()
    except UnicodeDecodeError:
        raise Refused("InvalidBucketName", "the bucket's name is not UTF-8") from None


def _key_in(query: Mapping[str, str]) -> str:
    if "key" not in query:
        raise Refused("InvalidArgument", "query parameter 'key' is missing: it names the object that the upload is for")
    return decode_key(query["key"].encode())


def _no_route(request: Request, methods: list[str]) -> Refused:
    shown = request.path[:200].decode("latin-1")
    if methods:
        return Refused(
            "MethodNotAllowed",
            f"{request.method} is not possible on {shown!r}; {', '.join(methods)} are",
            detail={"allow": ", ".join(methods)},
        )
    return Refused("NoSuchPath", f"there is nothing at {shown!r}; paths begin with /objects or /buckets")
