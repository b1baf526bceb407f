"""`trilith user`: what is sent, what is shown once, and that no secret is on a command line or in an error."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cluster.cli.main import main
from tests.cluster.http_script import Script, Step, answering, error, hanging_up, scripted

KEYS = {"AWS_ACCESS_KEY_ID": "ROOT", "AWS_SECRET_ACCESS_KEY": "root-secret", "TRILITH_DIR": "", "AWS_CA_BUNDLE": ""}
SECRET = "a-secret-of-the-user"


def trilith(script: Script, *arguments: str, given: str | None = None) -> Result:
    """Run a command of `user` against a script's server."""
    return CliRunner().invoke(main, ["user", *arguments, "--endpoint", script.endpoint], env=KEYS, input=given)


def told(**made: str) -> Step:
    """The answer to a POST."""
    return answering(201, json.dumps(made).encode())


def sent(script: Script) -> dict[str, Any]:
    """The JSON of the first request."""
    body: dict[str, Any] = json.loads(script.seen[0].body)
    return body


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """A file with a secret key, as an editor leaves it."""
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    return file


def test_what_is_not_given_is_made_here_and_its_secret_shown_once() -> None:
    made = []
    for _ in range(2):
        with scripted(told(name="ann", id="i", access_key="a")) as script:
            done = trilith(script, "add", "ann")
        assert done.exit_code == 0
        assert script.seen[0].target == "/users"
        assert script.seen[0].header("Authorization") == "Bearer ROOT:root-secret"
        body = sent(script)
        assert set(body) == {"name", "access_key", "secret_key", "id"}
        assert (len(body["access_key"]), len(body["secret_key"]), len(body["id"])) == (20, 40, 64)
        assert done.stdout.splitlines()[-1].split() == ["secret", "key", body["secret_key"]]
        made.append(body)
    assert not set(made[0].values()) & set(made[1].values()) - {"ann"}


def test_what_is_given_is_sent_and_its_secret_not_shown(secret_file: Path) -> None:
    given = ["--access-key", "AK", "--id", "the-id", "--display-name", "Ann ü", "--email", "a@b"]
    for source, standard_input in ((str(secret_file), None), ("-", SECRET), ("-", SECRET + "\nmore")):
        answer = told(name="ann", id="the-id", display_name="Ann ü", email="a@b", access_key="AK")
        with scripted(answer) as script:
            done = trilith(script, "add", "ann", *given, "--secret-key-file", source, "--json", given=standard_input)
        assert sent(script) == {
            "name": "ann",
            "access_key": "AK",
            "secret_key": SECRET,
            "id": "the-id",
            "display_name": "Ann ü",
            "email": "a@b",
        }
        assert "secret_key" not in json.loads(done.stdout)
        assert SECRET not in done.output


def test_a_request_that_is_repeated_says_the_same() -> None:
    busy = answering(503, error("NoQuorum"), headers="Retry-After: 0\r\n")
    with scripted(hanging_up, busy, told(name="ann", access_key="a")) as script:
        done = trilith(script, "add", "ann")
    assert done.exit_code == 0, done.output
    assert len({seen.body for seen in script.seen}) == 1
    assert len({seen.header("Idempotency-Key") for seen in script.seen}) == 1


@pytest.mark.parametrize("text", ["", "\n", SECRET * 9], ids=["empty", "a line without a word", "too long"])
def test_a_file_without_a_secret_is_refused_before_anything_is_sent(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret").write_text(text)
    with scripted(told()) as script:
        for source, given in ((str(tmp_path / "secret"), None), ("-", text)):
            done = trilith(script, "key", "add", "ann", "--secret-key-file", source, given=given)
            assert done.exit_code == 1
            assert "BadSecret" in done.stderr
            assert SECRET not in done.output
        missing = trilith(script, "add", "ann", "--secret-key-file", str(tmp_path / "none"))
        assert missing.exit_code == 3
        assert script.seen == []
        assert trilith(script, "key", "add", "ann").exit_code == 0  # the one that the script waits for


def test_keys_are_added_and_removed_by_name(secret_file: Path) -> None:
    with scripted(told(user="a/b", access_key="AK")) as script:
        done = trilith(script, "key", "add", "a/b", "--access-key", "AK", "--secret-key-file", str(secret_file))
    assert (done.exit_code, script.seen[0].target) == (0, "/users/a%2Fb/keys")
    assert sent(script) == {"access_key": "AK", "secret_key": SECRET}
    assert SECRET not in done.output
    for arguments, target in ((("rm", "a b"), "/users/a%20b"), (("key", "rm", "A/K"), "/keys/A%2FK")):
        with scripted(answering(204)) as script:
            assert trilith(script, *arguments).exit_code == 0
        assert script.seen[0].head.startswith(b"DELETE ")
        assert script.seen[0].target == target


def test_all_pages_are_listed() -> None:
    def page(name: str, after: str | None, *keys: str) -> Step:
        user = {"name": name, "id": "i", "display_name": name.title(), "email": "", "created": "", "access_keys": keys}
        return answering(200, json.dumps({"users": [user], "next": after}).encode())

    steps = (page("ann", "ann", "AK1", "AK2"), page("Bob", None))
    with scripted(*steps) as script:
        assert trilith(script, "ls").stdout == "ann (Ann)  AK1 AK2\nBob  no key\n"
    assert [seen.target for seen in script.seen] == ["/users", "/users?after=ann"]
    with scripted(*steps) as script:
        listed = json.loads(trilith(script, "ls", "--json").stdout)["users"]
    assert [user["access_keys"] for user in listed] == [["AK1", "AK2"], []]


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [(400, "InvalidArgument", 1), (409, "UserExists", 1), (404, "NoSuchUser", 3), (403, "AccessDenied", 4)],
)
def test_a_refusal_is_told_without_the_secret(secret_file: Path, status: int, code: str, exit_code: int) -> None:
    for as_json in ((), ("--json",)):
        with scripted(answering(status, error(code))) as script:
            done = trilith(script, "add", "ann", "--secret-key-file", str(secret_file), *as_json)
        assert done.exit_code == exit_code
        assert code in done.output
        assert SECRET not in done.output


def test_no_option_takes_a_secret_itself() -> None:
    for arguments in (["add", "ann"], ["key", "add", "ann"]):
        for option in ("--secret-key", "--secret"):
            # an abbreviation would be taken for --secret-key-file
            done = CliRunner().invoke(main, ["user", *arguments, option, SECRET], env=KEYS)
            assert done.exit_code == 2


def test_names_that_cannot_be_sent_are_refused() -> None:
    for arguments in (["rm", "\udcff"], ["add", "ann", "--display-name", "\udcff"], ["key", "rm", "\udcff"]):
        done = CliRunner().invoke(main, ["user", *arguments], env=KEYS)
        assert done.exit_code == 2
        assert "not UTF-8" in done.stderr


def test_each_command_explains_itself() -> None:
    for arguments in ([], ["add"], ["ls"], ["rm"], ["key"], ["key", "add"], ["key", "rm"]):
        done = CliRunner().invoke(main, ["user", *arguments, "--help"])
        assert done.exit_code == 0
        assert "Usage: main user" in done.stdout
