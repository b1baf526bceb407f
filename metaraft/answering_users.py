"""What is read of users and their access keys. Pure reads."""

import msgspec

from cluster.limits import LIST_LIMIT_MAX
from metaraft.conditions import refused
from metaraft.model import AccessKey, User
from metaraft.queries import (
    AccessKeyFound,
    Answer,
    GetAccessKey,
    GetUser,
    ListUsers,
    UserFound,
    UsersFound,
)
from metaraft.results import (
    Failed,
)
from metaraft.rows import Kind, Reader, access_key_key, prefix, successor, user_id_key, user_key, user_keys_key

_NAME_CHARACTERS_MAX = 255
"""Far above what a name, an id or a key may have, far below what a row's key may."""

_decode_user = msgspec.msgpack.Decoder(User).decode
_decode_key = msgspec.msgpack.Decoder(AccessKey).decode
_decode_name = msgspec.msgpack.Decoder(str).decode


def get_access_key(rows: Reader, _space: int, query: GetAccessKey, _rows_max: int) -> Answer:
    """A key and its user."""
    name = query.access_key
    row = rows.get(access_key_key(name)) if 0 < len(name) <= _NAME_CHARACTERS_MAX else None
    if row is None:
        return refused("NoSuchAccessKey", f"there is no access key {name!r}")
    key = _decode_key(row)
    user = rows.get(user_key(key.user))
    assert user is not None, "a key's user is there"
    return AccessKeyFound(key, _decode_user(user))


def get_user(rows: Reader, _space: int, query: GetUser, _rows_max: int) -> Answer:
    """A user by canonical id."""
    canonical_id = query.canonical_id
    row = rows.get(user_id_key(canonical_id)) if 0 < len(canonical_id) <= _NAME_CHARACTERS_MAX else None
    name = "" if row is None else _decode_name(row)
    user = rows.get(user_key(name)) if name else None
    if user is None:
        return _no_user(canonical_id)
    return UserFound(_decode_user(user))


def _no_user(canonical_id: str) -> Failed:
    return refused("NoSuchUser", f"there is no user with the canonical id {canonical_id!r}")


def list_users(rows: Reader, _space: int, query: ListUsers, rows_max: int) -> Answer:
    """Users by name; their keys count as rows looked at, but a page has always one user."""
    limit = min(max(query.limit, 1), LIST_LIMIT_MAX)
    begin = prefix(Kind.USER)
    after = query.after.partition("\x00")[0][:_NAME_CHARACTERS_MAX]
    start = user_key(after) + b"\x00" if after else begin
    users: list[tuple[User, tuple[str, ...]]] = []
    looked = 0
    for _, value in rows.scan(start, successor(begin)):
        if len(users) == limit or looked >= rows_max:
            return UsersFound(tuple(users), more=True)
        user = _decode_user(value)
        keys = _keys_of(rows, user.name)
        users.append((user, keys))
        looked += 1 + len(keys)
    return UsersFound(tuple(users), more=False)


def _keys_of(rows: Reader, name: str) -> tuple[str, ...]:
    begin = user_keys_key(name)
    return tuple(key[len(begin) :].decode() for key, _ in rows.scan(begin, successor(begin)))
