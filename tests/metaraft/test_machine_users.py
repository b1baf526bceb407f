"""Users and their keys: what is unique, what is freed, what is bounded, and how they are found."""

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from metaraft.commands import (
    AddAccessKey,
    AddUser,
    Command,
    RemoveAccessKey,
    RemoveUser,
)
from metaraft.machine_users import USER_KEYS_MAX, USERS_MAX
from metaraft.model import AccessKey, User
from metaraft.queries import (
    AccessKeyFound,
    GetAccessKey,
    GetUser,
    ListUsers,
    Query,
    UserFound,
    UsersFound,
)
from metaraft.results import (
    Done,
    Failed,
)
from metaraft.rows import Kind
from tests.metaraft.metadata import START_MS, Metadata, envelope


def user(name: str, *, canonical_id: str | None = None, email: str = "") -> User:
    return User(name, canonical_id or f"id-{name}", f"Display {name}", email)


def key(access_key: str, name: str) -> AccessKey:
    return AccessKey(access_key, name, b"sealed " + access_key.encode())


def add(name: str, access_key: str | None = None, *, canonical_id: str | None = None, email: str = "") -> AddUser:
    return AddUser(user(name, canonical_id=canonical_id, email=email), key(access_key or f"AK{name}", name))


def with_users(*names: str) -> Metadata:
    metadata = Metadata()
    for name in names:
        assert isinstance(metadata.do(add(name)), Done)
    return metadata


def listed(metadata: Metadata, query: ListUsers, rows_max: int = 10_000) -> tuple[list[tuple[str, list[str]]], bool]:
    found = metadata.ask(query, rows_max=rows_max)
    assert isinstance(found, UsersFound)
    return [(one.name, list(keys)) for one, keys in found.users], found.more


def code(metadata: Metadata, query: Query) -> str:
    answer = metadata.ask(query)
    assert isinstance(answer, Failed), answer
    return answer.code


def test_a_user_is_found_by_its_key_and_by_its_id() -> None:
    metadata = Metadata()
    assert metadata.do(add("ann", "AK1", email="ann@example.org")) == Done(1)
    expected = User("ann", "id-ann", "Display ann", "ann@example.org", START_MS)
    found = metadata.ask(GetAccessKey("AK1"))
    assert found == AccessKeyFound(AccessKey("AK1", "ann", b"sealed AK1", START_MS), expected)
    assert metadata.ask(GetUser("id-ann")) == UserFound(expected)


def test_times_are_the_state_machines() -> None:
    metadata = Metadata()
    command = add("ann", "AK1")
    command = AddUser(
        msgspec.structs.replace(command.user, created_ms=1), msgspec.structs.replace(command.key, created_ms=2)
    )
    metadata.do(command)
    found = metadata.ask(GetAccessKey("AK1"))
    assert isinstance(found, AccessKeyFound)
    assert (found.key.created_ms, found.user.created_ms) == (START_MS, START_MS)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (add("ann", "AK2", canonical_id="other"), "UserExists"),
        (add("bob", "AK2", canonical_id="id-ann"), "UserExists"),
        (add("bob", "AK2", email="ann@example.org"), "UserExists"),
        (add("bob", "AKann"), "KeyExists"),
        (AddUser(user("bob"), key("AK2", "ann")), "BadUser"),
        (AddAccessKey(key("AKann", "ann")), "KeyExists"),
        (AddAccessKey(key("AK2", "bob")), "NoSuchUser"),
        (AddAccessKey(key("AK2", "")), "NoSuchUser"),
        (AddAccessKey(key("AK2", "n" * 5000)), "NoSuchUser"),
        (AddAccessKey(AccessKey("AK2", "ann", b"")), "BadUser"),
        (AddAccessKey(AccessKey("AK2", "ann", b"s" * 1025)), "BadUser"),
        (AddAccessKey(key("", "ann")), "BadUser"),
        (AddAccessKey(key("k" * 129, "ann")), "BadUser"),
        (AddAccessKey(key("a\0b", "ann")), "BadUser"),
        (RemoveUser("bob"), "NoSuchUser"),
        (RemoveUser(""), "NoSuchUser"),
        (RemoveUser("a\0b"), "NoSuchUser"),
        (RemoveUser("n" * 5000), "NoSuchUser"),
        (RemoveAccessKey("AK2"), "NoSuchAccessKey"),
        (RemoveAccessKey(""), "NoSuchAccessKey"),
        (RemoveAccessKey("k" * 5000), "NoSuchAccessKey"),
        (add(""), "BadUser"),
        (add("n" * 65), "BadUser"),
        (add("é" * 33), "BadUser"),
        (add("a\0b"), "BadUser"),
        (add("bob", canonical_id="c" * 256), "BadUser"),
        (add("bob", canonical_id="c\0"), "BadUser"),
        (add("bob", email="e" * 255), "BadUser"),
        (add("bob", email="e\0"), "BadUser"),
        (AddUser(User("bob", "", "", ""), key("AK2", "bob")), "BadUser"),
        (AddUser(User("bob", "id-bob", "d" * 257, ""), key("AK2", "bob")), "BadUser"),
        (AddUser(user("bob"), AccessKey("AK2", "bob", b"")), "BadUser"),
    ],
)
def test_what_is_taken_missing_or_malformed_is_refused(command: Command, expected: str) -> None:
    metadata = Metadata()
    metadata.do(add("ann", email="ann@example.org"))
    assert metadata.code(command) == expected


def test_the_longest_names_are_kept() -> None:
    metadata = Metadata()
    command = AddUser(User("n" * 64, "c" * 255, "d" * 256, "e" * 254), AccessKey("k" * 128, "n" * 64, b"s" * 1024))
    assert metadata.do(command) == Done(1)
    assert isinstance(metadata.ask(GetAccessKey("k" * 128)), AccessKeyFound)


def test_two_users_may_have_no_email_address() -> None:
    assert listed(with_users("ann", "bob"), ListUsers()) == ([("ann", ["AKann"]), ("bob", ["AKbob"])], False)


def test_a_removed_user_frees_all_but_its_canonical_id() -> None:
    metadata = with_users("bob")
    before = len(metadata.rows)
    metadata.do(add("ann", "AK1", email="ann@example.org"))
    metadata.do(AddAccessKey(key("AK2", "ann")))
    assert metadata.do(RemoveUser("ann")) == Done(4)
    assert code(metadata, GetAccessKey("AK1")) == code(metadata, GetAccessKey("AK2")) == "NoSuchAccessKey"
    assert code(metadata, GetUser("id-ann")) == "NoSuchUser"
    assert listed(metadata, ListUsers()) == ([("bob", ["AKbob"])], False)
    kept_results = sum(row[0] == Kind.RESULTS for row, _ in metadata.rows.items()) - 1
    assert len(metadata.rows) - kept_results == before + 1
    assert metadata.code(add("ann", "AK1")) == "UserExists"
    assert metadata.code(add("carl", canonical_id="id-ann")) == "UserExists"
    again = add("ann", "AK1", canonical_id="another", email="ann@example.org")
    assert metadata.do(again) == Done(5)


def test_a_key_is_taken_away_and_its_user_stays() -> None:
    metadata = with_users("ann")
    metadata.do(AddAccessKey(key("AK2", "ann")))
    metadata.do(RemoveAccessKey("AKann"))
    assert listed(metadata, ListUsers()) == ([("ann", ["AK2"])], False)
    metadata.do(RemoveAccessKey("AK2"))
    assert listed(metadata, ListUsers()) == ([("ann", [])], False)
    assert isinstance(metadata.ask(GetUser("id-ann")), UserFound)
    metadata.do(AddAccessKey(key("AKann", "ann")))
    assert listed(metadata, ListUsers()) == ([("ann", ["AKann"])], False)


def test_keys_of_a_user_are_not_those_of_one_whose_name_begins_with_its() -> None:
    metadata = with_users("ann", "anna", "ann.")
    assert listed(metadata, ListUsers())[0] == [("ann", ["AKann"]), ("ann.", ["AKann."]), ("anna", ["AKanna"])]
    metadata.do(RemoveUser("ann"))
    assert listed(metadata, ListUsers())[0] == [("ann.", ["AKann."]), ("anna", ["AKanna"])]


def test_the_number_of_keys_of_a_user_is_bounded() -> None:
    metadata = with_users("ann", "bob")
    for number in range(USER_KEYS_MAX - 1):
        metadata.do(AddAccessKey(key(f"AK{number}", "ann")))
    assert metadata.code(AddAccessKey(key("more", "ann"))) == "TooManyKeys"
    assert isinstance(metadata.do(AddAccessKey(key("more", "bob"))), Done)
    metadata.do(RemoveAccessKey("AK1"))
    assert isinstance(metadata.do(AddAccessKey(key("AK1", "ann"))), Done)


def test_the_number_of_users_is_bounded_also_after_a_restart() -> None:
    metadata = Metadata()
    commands = [add(f"u{number}") for number in range(USERS_MAX)]
    metadata.enter([envelope(command, metadata.next_key(), START_MS + 1000) for command in commands])
    metadata.restart()
    assert metadata.code(add("more")) == "TooManyUsers"
    metadata.do(RemoveUser("u7"))
    assert isinstance(metadata.do(add("more")), Done)
    assert metadata.code(add("another")) == "TooManyUsers"


@pytest.mark.parametrize("name", ["", "AKan", "AKannn", "k" * 5000, "AKann\0"])
def test_a_key_that_is_not_there_is_said(name: str) -> None:
    assert code(with_users("ann"), GetAccessKey(name)) == "NoSuchAccessKey"
    assert code(with_users("ann"), GetUser(name)) == "NoSuchUser"


def test_users_are_listed_by_name_in_pages_that_count_their_keys() -> None:
    metadata = with_users("c", "a", "b")
    metadata.do(AddAccessKey(key("more", "a")))
    assert listed(metadata, ListUsers(limit=2)) == ([("a", ["AKa", "more"]), ("b", ["AKb"])], True)
    assert listed(metadata, ListUsers(after="b", limit=2)) == ([("c", ["AKc"])], False)
    assert listed(metadata, ListUsers(), rows_max=1) == ([("a", ["AKa", "more"])], True)
    assert listed(metadata, ListUsers(), rows_max=4) == ([("a", ["AKa", "more"]), ("b", ["AKb"])], True)
    for after in ("c", "z", "n" * 5000):
        assert listed(metadata, ListUsers(after=after)) == ([], False)
    assert listed(metadata, ListUsers(after="a\0x")) == listed(metadata, ListUsers(after="a"))


NAMES = st.sampled_from(["a", "aa", "b"])
IDS = st.sampled_from(["1", "2", "3", "4"])
EMAILS = st.sampled_from(["", "", "x@", "y@"])
KEYS = st.sampled_from(["K", "L", "M"])


class World(RuleBasedStateMachine):
    """Machine and plain dictionaries side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.metadata = Metadata()
        self.users: dict[str, User] = {}
        self.keys: dict[str, str] = {}
        self.ids: set[str] = set()

    def succeeds(self, command: Command) -> bool:
        return isinstance(self.metadata.do(command), Done)

    @rule(name=NAMES, canonical_id=IDS, email=EMAILS, access_key=KEYS)
    def add_user(self, name: str, canonical_id: str, email: str, access_key: str) -> None:
        taken = name in self.users or canonical_id in self.ids or access_key in self.keys
        taken |= bool(email) and any(one.email == email for one in self.users.values())
        assert self.succeeds(add(name, access_key, canonical_id=canonical_id, email=email)) == (not taken)
        if not taken:
            self.users[name] = user(name, canonical_id=canonical_id, email=email)
            self.ids.add(canonical_id)
            self.keys[access_key] = name

    @rule(name=NAMES)
    def remove_user(self, name: str) -> None:
        assert self.succeeds(RemoveUser(name)) == (name in self.users)
        self.users.pop(name, None)
        self.keys = {one: owner for one, owner in self.keys.items() if owner != name}

    @rule(name=NAMES, access_key=KEYS)
    def add_key(self, name: str, access_key: str) -> None:
        possible = name in self.users and access_key not in self.keys
        assert self.succeeds(AddAccessKey(key(access_key, name))) == possible
        if possible:
            self.keys[access_key] = name

    @rule(access_key=KEYS)
    def remove_key(self, access_key: str) -> None:
        assert self.succeeds(RemoveAccessKey(access_key)) == (access_key in self.keys)
        self.keys.pop(access_key, None)

    @rule()
    def restart(self) -> None:
        self.metadata.restart()

    @invariant()
    def every_way_to_a_user_leads_to_it(self) -> None:
        expected = [
            (name, sorted(one for one, owner in self.keys.items() if owner == name)) for name in sorted(self.users)
        ]
        assert listed(self.metadata, ListUsers()) == (expected, False)
        for access_key, name in self.keys.items():
            found = self.metadata.ask(GetAccessKey(access_key))
            assert isinstance(found, AccessKeyFound)
            assert (found.key.user, found.user.canonical_id) == (name, self.users[name].canonical_id)
        living = {one.canonical_id: one.name for one in self.users.values()}
        for canonical_id in self.ids:
            answer = self.metadata.ask(GetUser(canonical_id))
            assert (answer.user.name if isinstance(answer, UserFound) else None) == living.get(canonical_id)


World.TestCase.settings = settings(max_examples=50, stateful_step_count=30)
TestWorld = World.TestCase
