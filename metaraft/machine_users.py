"""Commands on users and their access keys. Pure: see `metaraft.machine`.

Rules: names, canonical ids, email addresses and access keys are each unique in the cluster; a user that is removed
gives back all of them but its canonical id, because buckets and versions go on naming it as their owner. What a name
or a key must look like beyond its length is checked before the log.
"""

from typing import NamedTuple

import msgspec

from metaraft.commands import (
    AddAccessKey,
    AddUser,
    RemoveAccessKey,
    RemoveUser,
)
from metaraft.conditions import refused
from metaraft.machine_books import OWNER_BYTES_MAX, Books, encode
from metaraft.model import AccessKey, User
from metaraft.results import (
    Done,
    Failed,
    Result,
)
from metaraft.rows import access_key_key, successor, user_email_key, user_id_key, user_key, user_keys_key

USERS_MAX = 10_000
"""Users of a cluster (chosen). Fixed here, because apply may know no setting."""

USER_KEYS_MAX = 100
"""Access keys of one user (chosen): a listing of users names them all."""

USER_NAME_BYTES_MAX = 64
"""IAM's CreateUser: UserName has 1 to 64 characters."""

ACCESS_KEY_BYTES_MAX = 128
"""IAM's AccessKey: AccessKeyId has 16 to 128 characters."""

DISPLAY_NAME_BYTES_MAX = 256
EMAIL_BYTES_MAX = 254
"""RFC 5321, 4.5.3.1.3: a path of 256 octets with its brackets."""

SEALED_SECRET_BYTES_MAX = 1024
"""Far above a sealed secret key of 128 characters (chosen)."""

_decode_user = msgspec.msgpack.Decoder(User).decode
_decode_key = msgspec.msgpack.Decoder(AccessKey).decode


class _Field(NamedTuple):
    what: str
    value: str
    bytes_min: int
    bytes_max: int


def _invalid(*fields: _Field) -> str | None:
    for field in fields:
        size = len(field.value.encode())
        if not field.bytes_min <= size <= field.bytes_max or "\x00" in field.value:
            return f"{field.what} has {field.bytes_min} to {field.bytes_max} bytes without NUL, this one {size}"
    return None


def _invalid_user(user: User) -> str | None:
    return _invalid(
        _Field("a user's name", user.name, 1, USER_NAME_BYTES_MAX),
        _Field("a canonical id", user.canonical_id, 1, OWNER_BYTES_MAX),
        _Field("a display name", user.display_name, 0, DISPLAY_NAME_BYTES_MAX),
        _Field("an email address", user.email, 0, EMAIL_BYTES_MAX),
    )


def _invalid_key(key: AccessKey) -> str | None:
    if not 0 < len(key.sealed_secret) <= SEALED_SECRET_BYTES_MAX:
        return f"a sealed secret has 1 to {SEALED_SECRET_BYTES_MAX} bytes, this one {len(key.sealed_secret)}"
    return _invalid(_Field("an access key", key.access_key, 1, ACCESS_KEY_BYTES_MAX))


def add_user(books: Books, space: int, command: AddUser) -> Result:
    """Make a user with a first key."""
    user = command.user
    reason = _invalid_user(user) or _invalid_key(command.key)
    if reason is None and command.key.user != user.name:
        reason = f"the key is of the user {command.key.user!r}, not {user.name!r}"
    if reason is not None:
        return refused("BadUser", reason)
    failed = _taken(books, user) or _taken_key(books, command.key)
    if failed is not None:
        return failed
    state = books.state
    if state.users >= USERS_MAX:
        return refused("TooManyUsers", f"there are {state.users} users; at most {USERS_MAX} are possible")
    rows = books.rows
    rows.insert(user_key(user.name), encode(msgspec.structs.replace(user, created_ms=state.state_time_ms)))
    rows.insert(user_id_key(user.canonical_id), encode(user.name))
    if user.email:
        rows.insert(user_email_key(user.email), encode(user.name))
    state.users += 1
    _put_key(books, command.key)
    return Done(books.revise(space))


def _taken(books: Books, user: User) -> Failed | None:
    rows = books.rows
    if rows.get(user_key(user.name)) is not None:
        return refused("UserExists", f"there is a user {user.name!r} already")
    if rows.get(user_id_key(user.canonical_id)) is not None:
        return refused("UserExists", f"the canonical id {user.canonical_id!r} is or was another user's")
    if user.email and rows.get(user_email_key(user.email)) is not None:
        return refused("UserExists", f"the email address {user.email!r} is another user's")
    return None


def _taken_key(books: Books, key: AccessKey) -> Failed | None:
    if books.rows.get(access_key_key(key.access_key)) is not None:
        return refused("KeyExists", f"there is an access key {key.access_key!r} already")
    return None


def _put_key(books: Books, key: AccessKey) -> None:
    made = msgspec.structs.replace(key, created_ms=books.state.state_time_ms)
    books.rows.insert(access_key_key(key.access_key), encode(made))
    books.rows.insert(user_keys_key(key.user) + key.access_key.encode(), b"")


def remove_user(books: Books, space: int, command: RemoveUser) -> Result:
    """Remove a user and its keys; its canonical id stays taken."""
    user = _user(books, command.name)
    if user is None:
        return _no_such_user(command.name)
    rows = books.rows
    begin = user_keys_key(user.name)
    for row_key in _key_rows(books, user.name):
        rows.delete(row_key)
        rows.delete(access_key_key(row_key[len(begin) :].decode()))
    if user.email:
        rows.delete(user_email_key(user.email))
    rows.put(user_id_key(user.canonical_id), encode(""))
    rows.delete(user_key(user.name))
    books.state.users -= 1
    return Done(books.revise(space))


def add_access_key(books: Books, space: int, command: AddAccessKey) -> Result:
    """Give a user one more key."""
    key = command.key
    reason = _invalid_key(key)
    if reason is not None:
        return refused("BadUser", reason)
    if _user(books, key.user) is None:
        return _no_such_user(key.user)
    failed = _taken_key(books, key)
    if failed is not None:
        return failed
    count = len(_key_rows(books, key.user))
    if count >= USER_KEYS_MAX:
        message = f"the user {key.user!r} has {count} keys; at most {USER_KEYS_MAX} are possible"
        return refused("TooManyKeys", message)
    _put_key(books, key)
    return Done(books.revise(space))


def remove_access_key(books: Books, space: int, command: RemoveAccessKey) -> Result:
    """Take a key away; a user may be without any."""
    name = command.access_key
    row = None
    if _invalid(_Field("an access key", name, 1, ACCESS_KEY_BYTES_MAX)) is None:
        row = books.rows.get(access_key_key(name))
    if row is None:
        return refused("NoSuchAccessKey", f"there is no access key {name!r}")
    books.rows.delete(user_keys_key(_decode_key(row).user) + name.encode())
    books.rows.delete(access_key_key(name))
    return Done(books.revise(space))


def _user(books: Books, name: str) -> User | None:
    if _invalid(_Field("a user's name", name, 1, USER_NAME_BYTES_MAX)) is not None:
        return None
    row = books.rows.get(user_key(name))
    return None if row is None else _decode_user(row)


def _no_such_user(name: str) -> Failed:
    return refused("NoSuchUser", f"there is no user {name!r}")


def _key_rows(books: Books, name: str) -> list[bytes]:
    begin = user_keys_key(name)
    return [key for key, _ in books.rows.scan(begin, successor(begin))]
