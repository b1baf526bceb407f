"""The keys that are known: the root's, from its file, and users', from the replicated metadata.

A positive answer of the metadata is kept for `KEPT_S`, counted from before it was asked: so a key that was removed
may work for that much longer, and a request costs no read of its own. Nothing else is kept: a key works as soon as
it was made. Secrets are in no repr, no log and no error.
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from api.access.decisions import Principal
from api.operations.metadata import Metadata
from cluster.errors import Corrupt, Refused
from cluster.identity import Credentials
from cluster.log import get_logger
from cluster.sealing import Sealer
from metaraft.queries import AccessKeyFound, GetAccessKey

KEPT_S = 5.0
"""How long a removed key may go on working (chosen)."""

KEPT_MAX = 1024
"""Keys that are kept; the one that was asked for first goes first (chosen)."""

ACCESS_KEY = re.compile(r"[A-Za-z0-9_]{3,128}")
"""What a user's access key may be. IAM's AccessKeyId has 16 to 128 of these; other stores give shorter ones."""

_log = get_logger("access")


@dataclass(frozen=True, slots=True)
class KnownKey:
    """Whose key it is, and its secret."""

    principal: Principal
    secret: str = field(repr=False)


class Keyring:
    """Finds keys by their names, and proves them."""

    def __init__(self, meta: Metadata, sealer: Sealer, root: Credentials, clock: Callable[[], float]) -> None:
        self._meta = meta
        self._sealer = sealer
        self._clock = clock
        self._root_access_key = root.access_key
        self._root = KnownKey(Principal(root.access_key, "root", "root"), root.secret_key)
        self._nobody = secrets.token_urlsafe(30)
        self._kept: dict[str, tuple[float, KnownKey]] = {}
        self._forgotten = 0

    async def find(self, access_key: str, *, deadline: float, trace_id: str = "") -> KnownKey | None:
        """The key of that name, or None. Raises Unavailable, Corrupt (BadSeal)."""
        return self._at_hand(access_key) or await self._ask(access_key, deadline, trace_id)

    async def match(
        self, access_key: str, matches: Callable[[str], bool], *, deadline: float, trace_id: str = ""
    ) -> KnownKey | None:
        """The key of that name if its secret `matches`, else None, whatever the reason.

        Each None costs one question to the metadata and one comparison at least, so neither the answer nor its time
        tells an unknown key from a wrong secret; and a key that was made anew with another secret works at once.
        `matches` compares in constant time; it may be called twice. Raises Unavailable, Corrupt (BadSeal).
        """
        at_hand = self._at_hand(access_key)
        if at_hand is not None and matches(at_hand.secret):
            return at_hand
        asked = await self._ask(access_key, deadline, trace_id)
        return asked if matches(self._nobody if asked is None else asked.secret) else None

    def forget(self) -> None:
        """Drop what is kept: a key was removed, and shall not work here from now on."""
        self._kept.clear()
        self._forgotten += 1  # an answer that is on its way may be older

    def _at_hand(self, access_key: str) -> KnownKey | None:
        if access_key == self._root_access_key:
            return self._root
        kept = self._kept.get(access_key)
        return kept[1] if kept is not None and self._clock() < kept[0] else None

    async def _ask(self, access_key: str, deadline: float, trace_id: str) -> KnownKey | None:
        if not ACCESS_KEY.fullmatch(access_key):
            return None
        until, forgotten = self._clock() + KEPT_S, self._forgotten
        try:
            found = await self._meta.read(GetAccessKey(access_key), deadline=deadline, trace_id=trace_id)
        except Refused as error:
            if error.code != "NoSuchAccessKey":
                raise
            self._kept.pop(access_key, None)
            return None
        assert isinstance(found, AccessKeyFound)
        try:
            secret = self._sealer.unseal(found.key.sealed_secret, access_key)
        except Corrupt as error:
            _log.error("a key cannot be used", access_key=access_key, code=error.code, reason=error.message)
            raise
        user = found.user
        known = KnownKey(Principal(user.canonical_id, "user", user.display_name or user.name), secret)
        if forgotten == self._forgotten:
            self._keep(access_key, until, known)
        return known

    def _keep(self, access_key: str, until: float, known: KnownKey) -> None:
        self._kept.pop(access_key, None)
        if len(self._kept) >= KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[access_key] = (until, known)
