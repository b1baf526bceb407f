"""Users and keys on the operator's port, as JSON, for the root key alone:

    GET /users?after=&limit=      pages by name, with access keys
    POST /users                   {name, access_key?, secret_key?, id?, display_name?, email?}: 201
    DELETE /users/{name}          204, and its keys; what it owns stays
    POST /users/{name}/keys       {access_key?, secret_key?}: 201
    DELETE /keys/{access_key}     204

What is not given is made. A secret is answered once, where it was made here, and never again.
"""

from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

import msgspec

from api.access.credentials import Authenticator
from api.access.decisions import CLUSTER, Context, require
from api.messages import Request, Response, parse_query, percent_decode
from api.native.bodies import read_whole
from api.native.errors import error_response
from api.native.fields import idempotency_key, known_parameters, page_limit
from api.operations.calls import Call
from api.operations.users import NewUser, Users
from api.times import iso_time
from cluster.errors import UNDECODABLE, Refused, TrilithError
from cluster.limits import LIST_LIMIT_MAX, Limits

PREFIXES = (b"/users", b"/keys")
"""What paths of this module begin with."""

type Target = Literal["users", "user", "keys", "key"]
type Handler = Callable[[Request, str, Call], Awaitable[Response]]

_HEADERS = (("content-type", "application/json"), ("cache-control", "no-store"))
_encode = msgspec.json.Encoder().encode


class KeyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a new key's POST."""

    access_key: str | None = None
    secret_key: str | None = None

    def __repr__(self) -> str:
        return f"KeyBody({self.access_key!r}, [hidden])"


class UserBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a new user's POST."""

    name: str
    access_key: str | None = None
    secret_key: str | None = None
    id: str | None = None
    display_name: str | None = None
    email: str | None = None

    def __repr__(self) -> str:
        return f"UserBody({self.name!r}, {self.access_key!r}, [hidden])"


class UserEntry(msgspec.Struct):
    """A user in a listing."""

    name: str
    id: str
    display_name: str
    email: str
    created: str
    access_keys: tuple[str, ...]


class UserPage(msgspec.Struct):
    """One page of users; `next` is the `after` of the next page, None at the end."""

    users: list[UserEntry]
    next: str | None


class Route(NamedTuple):
    """What a path names; `name` is still encoded."""

    target: Target
    name: bytes = b""


def match_path(path: bytes) -> Route | None:
    """The route of a raw path, or None."""
    match path.split(b"/")[1:]:
        case [b"users"]:
            return Route("users")
        case [b"users", name]:
            return Route("user", name)
        case [b"users", name, b"keys"]:
            return Route("keys", name)
        case [b"keys", access_key]:
            return Route("key", access_key)
        case _:
            return None


class UserHandlers:
    """Answers requests on users; never raises one of the four kinds."""

    def __init__(self, authenticator: Authenticator, users: Users, limits: Limits) -> None:
        self._authenticator = authenticator
        self._users = users
        self._limits = limits
        self._table: dict[Target, dict[str, Handler]] = {
            "users": {"GET": self._list, "POST": self._add},
            "user": {"DELETE": self._remove},
            "keys": {"POST": self._add_key},
            "key": {"DELETE": self._remove_key},
        }

    async def answer(self, request: Request) -> Response:
        """The answer to a request; an error of the four kinds becomes its JSON."""
        try:
            return await self._answer(request)
        except TrilithError as error:
            return error_response(error, request.request_id)

    async def _answer(self, request: Request) -> Response:
        headers = request.headers
        principal = await self._authenticator.authenticate(
            headers.get("authorization"), deadline=request.deadline, trace_id=request.request_id
        )
        require(principal, "ManageUsers", CLUSTER, Context(request.client))
        route = match_path(request.path)
        shown = request.path[:200].decode("latin-1")
        if route is None:
            raise Refused("NoSuchPath", f"there is nothing at {shown!r}")
        methods = self._table[route.target]
        if request.method not in methods:
            allowed = ", ".join(methods)
            raise Refused(
                "MethodNotAllowed",
                f"{request.method} is not possible on {shown!r}; {allowed} is",
                detail={"allow": allowed},
            )
        call = Call(principal, request.deadline, request.request_id, idempotency_key(headers))
        name = percent_decode(route.name).decode("utf-8", "replace")  # names are ASCII: what is not is not there
        return await methods[request.method](request, name, call)

    async def _list(self, request: Request, name: str, call: Call) -> Response:
        del name
        query = parse_query(request.query)
        known_parameters(query, "limit", "after")
        found = await self._users.list(query.get("after", ""), page_limit(query, LIST_LIMIT_MAX), call)
        entries = [
            UserEntry(
                user.name, user.canonical_id, user.display_name, user.email, iso_time(user.created_ms), access_keys
            )
            for user, access_keys in found.users
        ]
        return _json(200, UserPage(entries, entries[-1].name if found.more and entries else None))

    async def _add(self, request: Request, name: str, call: Call) -> Response:
        del name
        body = await self._body(request, UserBody)
        new = NewUser(body.name, body.access_key, body.secret_key, body.id, body.display_name, body.email)
        user, key = await self._users.add(new, call)
        made = {
            "name": user.name,
            "id": user.canonical_id,
            "display_name": user.display_name,
            "email": user.email,
            "access_key": key.access_key,
        }
        return _json(201, made if body.secret_key is not None else made | {"secret_key": key.secret_key})

    async def _add_key(self, request: Request, name: str, call: Call) -> Response:
        body = await self._body(request, KeyBody)
        key = await self._users.add_key(name, body.access_key, body.secret_key, call)
        made = {"user": name, "access_key": key.access_key}
        return _json(201, made if body.secret_key is not None else made | {"secret_key": key.secret_key})

    async def _remove(self, request: Request, name: str, call: Call) -> Response:
        known_parameters(parse_query(request.query))
        await self._users.remove(name, call)
        return Response(204)

    async def _remove_key(self, request: Request, name: str, call: Call) -> Response:
        known_parameters(parse_query(request.query))
        await self._users.remove_key(name, call)
        return Response(204)

    async def _body[T: msgspec.Struct](self, request: Request, shape: type[T]) -> T:
        known_parameters(parse_query(request.query))
        raw = await read_whole(request, self._limits.json_body_bytes_max)
        try:
            return msgspec.json.decode(raw or b"{}", type=shape)
        except UNDECODABLE as error:
            known = ", ".join(shape.__struct_fields__)
            raise Refused(
                "MalformedJSON", f"the body is not the JSON that is wanted ({error}); known: {known}"
            ) from None


def _json(status: int, value: object) -> Response:
    body = _encode(value)
    return Response(status, _HEADERS, body, length=len(body))
