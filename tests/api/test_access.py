"""Who a request is from, and who may do what."""

import base64
from collections.abc import Callable
from typing import get_args

import pytest
import trio
import trio.testing

from api.access.credentials import Authenticator
from api.access.decisions import (
    ALL_ACTIONS,
    ANONYMOUS,
    CLUSTER,
    CLUSTER_ACTIONS,
    OPERATOR_ACTIONS,
    OWNER_ACTIONS,
    Action,
    Context,
    Principal,
    Resource,
    decide,
    require,
)
from api.access.gate import Gate
from api.access.keys import KEPT_MAX, KEPT_S, Keyring, KnownKey
from api.operations.buckets import Buckets
from api.operations.calls import Call
from api.operations.users import NewUser, Users
from cluster.errors import Corrupt, Refused, Unavailable
from cluster.identity import Credentials
from cluster.sealing import Sealer
from metaraft.commands import (
    AddUser,
    CreateBucket,
    DeleteBucket,
    RemoveAccessKey,
)
from metaraft.model import AccessKey, Copies, User
from metaraft.queries import GetAccessKey
from tests.api.local_metadata import LocalMetadata

ROOT_KEY = Credentials("ROOTKEY", "s:e cret")
ROOT = Principal("ROOTKEY", "root", "root")
ANN = Principal("ann-id", "user", "Ann")
SECRET = "anns-secret-key"
SEALER = Sealer(bytes(32))
HERE = Context("127.0.0.1")


class Door:
    """A keyring over metadata in memory, with the user `ann`, and what stands on it."""

    def __init__(self) -> None:
        self.meta = LocalMetadata()
        self.keyring = Keyring(self.meta, SEALER, ROOT_KEY, trio.current_time)
        self.authenticator = Authenticator(self.keyring)
        self.users = Users(self.meta, self.keyring, SEALER, ROOT_KEY.access_key)
        self.add("ann", "ANNKEY", SECRET, display_name="Ann")

    def add(self, name: str, access_key: str, secret: str, *, sealer: Sealer = SEALER, display_name: str = "") -> None:
        """Make a user, whose canonical id is its name and `-id`."""
        key = AccessKey(access_key, name, sealer.seal(secret, access_key))
        self.meta.machine.do(AddUser(User(name, f"{name}-id", display_name, ""), key))

    async def authenticate(self, header: str | None) -> Principal:
        """The principal of a header."""
        return await self.authenticator.authenticate(header, deadline=trio.current_time() + 5, trace_id="t")

    async def find(self, access_key: str) -> KnownKey | None:
        """The key of that name."""
        return await self.keyring.find(access_key, deadline=trio.current_time() + 5)

    async def match(self, access_key: str, matches: Callable[[str], bool]) -> KnownKey | None:
        """The key of that name if its secret matches."""
        return await self.keyring.match(access_key, matches, deadline=trio.current_time() + 5)


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


def call_of(principal: Principal) -> Call:
    return Call(principal, trio.current_time() + 5, "t")


# ---- authentication


@pytest.mark.parametrize(
    ("pair", "principal"), [("ROOTKEY:s:e cret", ROOT), (f"ANNKEY:{SECRET}", ANN)], ids=["root", "user"]
)
async def test_a_key_is_known_in_both_forms(pair: str, principal: Principal) -> None:
    door = Door()
    for header in (f"Bearer {pair}", f"bearer   {pair} ", basic(pair), basic(pair).replace("Basic", "BASIC")):
        assert await door.authenticate(header) == principal
    assert await door.authenticate(None) == ANONYMOUS


WRONG = [
    "",
    "Bearer",
    "Bearer ROOTKEY",
    "Bearer ROOTKEY:",
    "Bearer rootkey:s:e cret",
    f"Bearer ROOTKEY:{SECRET}",
    "Bearer ANNKEY:s:e cret",
    "Bearer ANNKEY:",
    "Bearer ANNKEY:anns-secret-kez",
    f"Bearer annkey:{SECRET}",
    f"Bearer :{SECRET}",
    f"Bearer {SECRET}",
    f"Bearer ANNKEY :{SECRET}",
    "Bearer " + "A" * 200 + ":x",
    "Bearer é:é",
    "Basic %",
    "Basic /w==",
    "Digest x",
    "é",
]


@pytest.mark.parametrize("header", WRONG)
async def test_a_wrong_key_is_refused_and_never_anonymous(header: str) -> None:
    with pytest.raises(Refused) as refused:
        await Door().authenticate(header)
    assert refused.value.code == "InvalidCredentials"
    assert "s:e" not in refused.value.message
    assert "secret-k" not in refused.value.message


async def test_an_unknown_key_and_a_wrong_secret_are_told_alike_at_equal_cost() -> None:
    door = Door()
    await door.authenticate(f"Bearer ANNKEY:{SECRET}")  # kept from here on
    messages = set()
    for header in ("Bearer ROOTKEY:wrong", "Bearer ANNKEY:wrong", "Bearer NOBODY:wrong", basic("ANNKEY:wrong")):
        door.meta.reads.clear()
        with pytest.raises(Refused) as refused:
            await door.authenticate(header)
        messages.add((refused.value.code, refused.value.message))
        assert len(door.meta.reads) == 1
    assert len(messages) == 1


async def test_without_a_quorum_root_is_known_and_nobody_is_told_to_be_wrong() -> None:
    door = Door()
    door.meta.gone = True
    assert await door.authenticate("Bearer ROOTKEY:s:e cret") == ROOT
    for header in (f"Bearer ANNKEY:{SECRET}", "Bearer NOBODY:x", "Bearer ROOTKEY:wrong"):
        with pytest.raises(Unavailable):
            await door.authenticate(header)


# ---- the keyring


async def test_roots_key_costs_no_question_and_a_users_one_in_a_while(autojump_clock: trio.testing.MockClock) -> None:
    door = Door()
    for _ in range(3):
        assert await door.find("ROOTKEY") == KnownKey(ROOT, "s:e cret")
    assert door.meta.reads == []
    for _ in range(3):
        assert await door.find("ANNKEY") == KnownKey(ANN, SECRET)
    assert door.meta.reads == [GetAccessKey("ANNKEY")]
    await trio.sleep(KEPT_S)
    assert await door.find("ANNKEY") == KnownKey(ANN, SECRET)
    assert len(door.meta.reads) == 2


async def test_a_removed_key_works_for_a_while_at_most(autojump_clock: trio.testing.MockClock) -> None:
    door = Door()
    door.meta.answering = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door.find, "ANNKEY")
        await trio.testing.wait_all_tasks_blocked()
        door.meta.machine.do(RemoveAccessKey("ANNKEY"))  # by another process, after the answer was read
        await trio.sleep(KEPT_S - 1)
        door.meta.answering.set()
    assert await door.find("ANNKEY") is not None
    await trio.sleep(1)
    assert await door.find("ANNKEY") is None


async def test_a_key_removed_through_this_process_is_gone_at_once() -> None:
    door = Door()
    door.meta.answering = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door.find, "ANNKEY")  # an answer that is on its way meanwhile
        await trio.testing.wait_all_tasks_blocked()
        await door.users.remove_key("ANNKEY", call_of(ROOT))
        door.meta.answering.set()
    assert await door.find("ANNKEY") is None
    door.add("bob", "BOBKEY", "bobs-secret-key")
    assert await door.find("BOBKEY") is not None
    await door.users.remove("bob", call_of(ROOT))
    assert await door.find("BOBKEY") is None


async def test_a_key_works_as_soon_as_it_is_made_also_anew_with_another_secret() -> None:
    door = Door()
    assert await door.find("BOBKEY") is None
    door.add("bob", "BOBKEY", "first-secret")
    assert await door.match("BOBKEY", "first-secret".__eq__) is not None
    door.meta.machine.do(RemoveAccessKey("BOBKEY"))
    door.add("bea", "BOBKEY", "second-secret")
    known = await door.match("BOBKEY", "second-secret".__eq__)
    assert known == KnownKey(Principal("bea-id", "user", "bea"), "second-secret")
    assert await door.match("BOBKEY", "first-secret".__eq__) is None


async def test_nobodys_secret_is_compared_and_never_right() -> None:
    door = Door()
    compared: list[str] = []

    def always(secret: str) -> bool:
        compared.append(secret)
        return True

    assert await door.match("NOBODY", always) is None
    assert len(compared) == 1
    assert len(compared[0]) == 40


async def test_few_keys_are_kept_and_the_oldest_goes_first() -> None:
    door = Door()
    for number in range(KEPT_MAX):
        door.add(f"user{number}", f"KEY{number}", "some-secret-key")
        await door.find(f"KEY{number}")
    await door.find("ANNKEY")
    door.meta.reads.clear()
    for access_key in ("KEY1", "ANNKEY", f"KEY{KEPT_MAX - 1}"):
        await door.find(access_key)
    assert door.meta.reads == []
    await door.find("KEY0")
    assert len(door.meta.reads) == 1


async def test_what_no_access_key_can_be_is_not_asked_for() -> None:
    door = Door()
    for access_key in ("", "ab", "a" * 129, "a b c", "a/b/c", "äöü", "abc\n"):
        assert await door.find(access_key) is None
    assert door.meta.reads == []


async def test_roots_key_is_roots_also_if_a_user_had_one_of_that_name() -> None:
    door = Door()
    door.add("eve", "ROOTKEY", "eves-secret-key")
    assert await door.authenticate("Bearer ROOTKEY:s:e cret") == ROOT
    assert await door.find("ROOTKEY") == KnownKey(ROOT, "s:e cret")


async def test_a_secret_sealed_under_another_cluster_key_is_said_and_never_taken_for_a_wrong_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    door = Door()
    door.add("bob", "BOBKEY", "bobs-secret-key", sealer=Sealer(bytes(31) + b"\1"))
    with pytest.raises(Corrupt, match="another cluster key"):
        await door.authenticate("Bearer BOBKEY:bobs-secret-key")
    said = capsys.readouterr().err
    assert "BOBKEY" in said
    assert "another cluster key" in said
    assert "bobs-secret" not in said
    assert await door.authenticate(f"Bearer ANNKEY:{SECRET}") == ANN


async def test_secrets_are_in_no_repr() -> None:
    door = Door()
    known = await door.find("ANNKEY")
    shown = [known, ROOT_KEY, door.keyring, door.authenticator, NewUser("ann", secret_key=SECRET)]
    assert not any(SECRET in repr(one) or "s:e" in repr(one) for one in shown)


# ---- decisions


def test_nothing_is_allowed_that_is_not_said() -> None:
    own, others, unknown = Resource("b", "k", "ann-id"), Resource("b", "k", "bob-id"), Resource("b", "k")
    for name in ALL_ACTIONS:
        action: Action = name  # type: ignore[assignment]
        assert decide(ROOT, action, CLUSTER, HERE)
        assert decide(ROOT, action, others, HERE)
        assert decide(ANONYMOUS, action, own, HERE) is (action == "GetHealth")
        everybody = action in CLUSTER_ACTIONS or action == "GetHealth"
        assert decide(ANN, action, own, HERE) is (everybody or action in OWNER_ACTIONS)
        for resource in (others, unknown, CLUSTER):
            assert decide(ANN, action, resource, HERE) is everybody
        # nobody owns what has no owner
        assert decide(Principal("", "user"), action, unknown, HERE) is everybody
    for principal in (ROOT, ANN, ANONYMOUS):
        assert not decide(principal, "Nonsense", own, HERE)  # type: ignore[arg-type]


def test_each_action_is_of_one_kind() -> None:
    kinds = get_args(Action.__value__)
    names = [name for kind in kinds for name in get_args(kind.__value__)]
    assert len(names) == len(set(names)) == len(ALL_ACTIONS)
    assert {"GetStatus", "ManageUsers"} == OPERATOR_ACTIONS


def test_who_is_refused_is_told_why() -> None:
    with pytest.raises(Refused, match="needs a key") as refused:
        require(ANONYMOUS, "GetObject", CLUSTER, HERE)
    assert refused.value.code == "Unauthorized"
    with pytest.raises(Refused, match="'Ann' may not do GetObject") as refused:
        require(ANN, "GetObject", Resource("b", "k", "bob-id"), HERE)
    assert refused.value.code == "AccessDenied"
    with pytest.raises(Refused, match="may not do"):
        require(ROOT, "Nonsense", CLUSTER, HERE)  # type: ignore[arg-type]


# ---- the gate


class Gated:
    """A gate over metadata in memory, with a bucket of Ann's and one of root's."""

    def __init__(self) -> None:
        self.meta = LocalMetadata()
        for name, owner in (("anns", "ann-id"), ("roots", "ROOTKEY")):
            self.meta.machine.do(CreateBucket(name, owner, Copies(3)))
        self.buckets = Buckets(self.meta, Copies(3), trio.current_time)
        self.gate = Gate(self.buckets)

    async def ask(self, principal: Principal, action: Action, bucket: str = "", key: str = "") -> str:
        """The code of the refusal, or nothing."""
        try:
            await self.gate.require(action, bucket, key, call_of(principal), HERE)
        except Refused as refused:
            return refused.code
        return ""


async def test_a_user_passes_to_its_own_buckets_and_hears_of_missing_ones() -> None:
    gated = Gated()
    for action in ("GetObject", "PutObject", "DeleteBucket", "ListObjects"):
        assert await gated.ask(ANN, action, "anns", "k") == ""
        assert await gated.ask(ANN, action, "roots", "k") == "AccessDenied"
        assert await gated.ask(ANN, action, "missing", "k") == "NoSuchBucket"
        assert await gated.ask(ANN, action, "Not A Bucket", "k") == "NoSuchBucket"
        for bucket in ("anns", "roots", "missing"):
            assert await gated.ask(ANONYMOUS, action, bucket, "k") == "Unauthorized"
            assert await gated.ask(ROOT, action, bucket, "k") == ""
    assert await gated.ask(ANN, "CreateBucket", "roots") == ""
    assert await gated.ask(ANN, "ListBuckets") == ""
    assert await gated.ask(ANN, "ManageUsers") == "AccessDenied"


async def test_only_a_users_request_on_a_bucket_costs_a_question() -> None:
    gated = Gated()
    for principal in (ROOT, ANONYMOUS):
        await gated.ask(principal, "GetObject", "anns", "k")
    await gated.ask(ANN, "CreateBucket", "new")
    await gated.ask(ANN, "ListBuckets")
    assert gated.meta.reads == []
    await gated.ask(ANN, "GetObject", "anns", "k")
    assert len(gated.meta.reads) == 1


async def test_a_bucket_that_changed_hands_is_the_new_owners_at_once() -> None:
    gated = Gated()
    assert await gated.ask(ANN, "PutObject", "anns", "k") == ""
    assert (await gated.buckets.for_writing("anns", call_of(ANN))).owner == "ann-id"
    gated.meta.machine.do(DeleteBucket("anns"))
    gated.meta.machine.do(CreateBucket("anns", "bob-id", Copies(3)))
    assert await gated.ask(ANN, "PutObject", "anns", "k") == "AccessDenied"
    assert await gated.ask(Principal("bob-id", "user"), "PutObject", "anns", "k") == ""
    row = await gated.buckets.for_writing("anns", call_of(ANN))
    assert row.owner == "bob-id"  # what was decided on is what is written to


async def test_without_a_quorum_a_user_passes_nowhere() -> None:
    gated = Gated()
    gated.meta.gone = True
    with pytest.raises(Unavailable):
        await gated.ask(ANN, "GetObject", "anns", "k")


# ---- idempotency


def test_a_commit_key_is_scoped_to_all_that_makes_a_request_what_it_is() -> None:
    def key(principal: str = "A", idempotency: str = "k", **change: object) -> bytes | None:
        facts: dict[str, object] = {
            "operation": "Put",
            "bucket": "b",
            "key": "k",
            "content": (b"x", {"a": "b"}),
        }
        return Call(Principal(principal, "root"), 0, "", idempotency).commit_key(**{**facts, **change})  # type: ignore[arg-type]

    assert key() == key()
    assert len(key() or b"") == 16
    others = [
        key(principal="B"),
        key(idempotency="l"),
        *(key(**{name: "other"}) for name in ("operation", "bucket", "key", "content")),
        key(bucket="bk", key=""),
    ]
    assert len({key(), *others}) == len(others) + 1
    assert Call(ROOT, 0, "").commit_key("Put", "b", "k", None) is None
