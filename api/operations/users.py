"""Users and their keys: add, list, remove.

What a name or key may look like is checked here, before the log; what is taken is decided in it. What is not given is
made. A removed key is gone from this process at once, and from others when what they keep of it is
`api.access.keys.KEPT_S` old.
"""

import re
import secrets
from dataclasses import dataclass, field

from api.access.keys import ACCESS_KEY, Keyring
from api.operations.calls import Call
from api.operations.metadata import Metadata
from cluster.errors import Refused
from cluster.identity import Credentials, random_credentials
from cluster.sealing import Sealer
from metaraft.commands import (
    AddAccessKey,
    AddUser,
    RemoveAccessKey,
    RemoveUser,
)
from metaraft.model import AccessKey, User
from metaraft.queries import ListUsers, UsersFound

DISPLAY_NAME_CHARS_MAX = 64
EMAIL_CHARS_MAX = 254
"""RFC 5321 4.5.3.1.3, without the angle brackets."""

_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}")
_SECRET_KEY = re.compile(r"[!-~]{8,128}")
_CANONICAL_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_EMAIL = re.compile(r"[!-?A-~]+@[!-?A-~]+")


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to be made. None: it is made here (the display name is then the name, and there is no email address)."""

    name: str
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    canonical_id: str | None = None
    display_name: str | None = None
    email: str | None = None


class Users:
    """Operations on users. A request that is repeated under its idempotency key has one effect if all it names is
    given; what is made here is another each time, and is then refused as taken."""

    def __init__(self, meta: Metadata, keyring: Keyring, sealer: Sealer, root_access_key: str) -> None:
        self._meta = meta
        self._keyring = keyring
        self._sealer = sealer
        self._root = root_access_key

    async def add(self, new: NewUser, call: Call) -> tuple[User, Credentials]:
        """Make a user with a first key. Raises Refused (InvalidArgument, UserExists, KeyExists, TooManyUsers)."""
        user = User(
            name=new.name,
            canonical_id=secrets.token_hex(32) if new.canonical_id is None else new.canonical_id,
            display_name=new.name if new.display_name is None else new.display_name,
            email=new.email or "",
        )
        reason = invalid_user(user)
        if reason is not None:
            raise Refused("InvalidArgument", reason)
        if user.canonical_id == self._root:
            raise Refused("UserExists", f"the canonical id {user.canonical_id!r} is another user's")
        key = self._key(new.access_key, new.secret_key)
        content = (user, key.access_key, self._sealer.mark(key.secret_key))
        await self._meta.commit(
            AddUser(user, self._sealed(key, new.name)),
            deadline=call.deadline,
            key=call.commit_key("AddUser", "", new.name, content),
            trace_id=call.trace_id,
        )
        return user, key

    async def add_key(self, name: str, access_key: str | None, secret_key: str | None, call: Call) -> Credentials:
        """Give a user one more key. Raises Refused (InvalidArgument, NoSuchUser, KeyExists, TooManyKeys)."""
        _known_name(name)
        key = self._key(access_key, secret_key)
        content = (key.access_key, self._sealer.mark(key.secret_key))
        await self._meta.commit(
            AddAccessKey(self._sealed(key, name)),
            deadline=call.deadline,
            key=call.commit_key("AddAccessKey", "", name, content),
            trace_id=call.trace_id,
        )
        return key

    async def remove(self, name: str, call: Call) -> None:
        """Remove a user with its keys; its buckets stay. Raises Refused (NoSuchUser)."""
        _known_name(name)
        await self._meta.commit(
            RemoveUser(name),
            deadline=call.deadline,
            key=call.commit_key("RemoveUser", "", name, None),
            trace_id=call.trace_id,
        )
        self._keyring.forget()

    async def remove_key(self, access_key: str, call: Call) -> None:
        """Take a key away. Raises Refused (NoSuchAccessKey)."""
        if not ACCESS_KEY.fullmatch(access_key):
            raise Refused("NoSuchAccessKey", f"there is no access key {access_key[:128]!r}")
        await self._meta.commit(
            RemoveAccessKey(access_key),
            deadline=call.deadline,
            key=call.commit_key("RemoveAccessKey", "", access_key, None),
            trace_id=call.trace_id,
        )
        self._keyring.forget()

    async def list(self, after: str, limit: int, call: Call) -> UsersFound:
        """Users behind `after` in order of their names, at most `limit`. Raises Refused (InvalidArgument)."""
        if after and not _NAME.fullmatch(after):
            raise Refused("InvalidArgument", f"after is {after[:80]!r}, which is no user's name")
        found = await self._meta.read(ListUsers(after, limit), deadline=call.deadline, trace_id=call.trace_id)
        assert isinstance(found, UsersFound)
        return found

    def _key(self, access_key: str | None, secret_key: str | None) -> Credentials:
        made = random_credentials()
        key = Credentials(
            made.access_key if access_key is None else access_key,
            made.secret_key if secret_key is None else secret_key,
        )
        reason = invalid_key(key)
        if reason is not None:
            raise Refused("InvalidArgument", reason)
        if key.access_key == self._root:
            raise Refused("KeyExists", f"there is an access key {key.access_key!r} already")
        return key

    def _sealed(self, key: Credentials, user: str) -> AccessKey:
        return AccessKey(key.access_key, user, self._sealer.seal(key.secret_key, key.access_key))


def invalid_user(user: User) -> str | None:
    """Why there can be no such user, or None."""
    if not _NAME.fullmatch(user.name):
        return f"user name {user.name[:80]!r} is not possible: 1 to 64 letters, digits and any of _+=,.@-"
    if not _CANONICAL_ID.fullmatch(user.canonical_id):
        return f"id {user.canonical_id[:140]!r} is not possible: 1 to 128 letters, digits and any of ._-"
    if not user.display_name.isprintable() or not 1 <= len(user.display_name) <= DISPLAY_NAME_CHARS_MAX:
        most = DISPLAY_NAME_CHARS_MAX
        return f"display name {user.display_name[:80]!r} is not possible: 1 to {most} printable characters"
    if user.email and not (len(user.email) <= EMAIL_CHARS_MAX and _EMAIL.fullmatch(user.email)):
        return f"email address {user.email[:80]!r} is none: NAME@HOST, at most {EMAIL_CHARS_MAX} printable characters"
    return None


def invalid_key(key: Credentials) -> str | None:
    """Why there can be no such key, or None. Never shows a part of the secret."""
    if not ACCESS_KEY.fullmatch(key.access_key):
        return f"access key {key.access_key[:140]!r} is not possible: 3 to 128 letters, digits and underscores"
    if not _SECRET_KEY.fullmatch(key.secret_key):
        return "the secret key is not possible: 8 to 128 printable ASCII characters without spaces"
    return None


def _known_name(name: str) -> None:
    """A name that no user can have is not looked up."""
    if not _NAME.fullmatch(name):
        raise Refused("NoSuchUser", f"there is no user {name[:80]!r}")
