"""Users over a whole cluster: how they are made and removed, what they may reach, and that no secret gets out."""

import base64
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from api.access.decisions import Principal
from api.digests import ExpectedDigests
from api.operations.calls import Call
from api.operations.values import Description
from cluster.errors import Corrupt, Unavailable
from cluster.limits import Limits
from cluster.sealing import Sealer
from metaraft.commands import (
    Condition,
)
from metaraft.queries import AccessKeyFound, GetAccessKey
from tests.api.whole import ACCESS, CLUSTER_KEY, KEY, SECRET, Answer, Whole, whole

SMALL = b"hello"
ANN_SECRET, BOB_SECRET = "anns-secret-key-0001", "bobs-secret-key-0002"
ANN = {"authorization": f"Bearer ANNKEY:{ANN_SECRET}"}
BOB = {"authorization": f"Bearer BOBKEY:{BOB_SECRET}"}
EVERYBODY: tuple[dict[str, str] | None, ...] = (KEY, ANN, BOB, None)


async def operator(
    cluster: Whole, method: str, path: str, body: Any = None, *, key: dict[str, str] | None = KEY, **headers: str
) -> Answer:
    """A request on the operator's port; a body that is no bytes is sent as JSON."""
    raw = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await cluster.call(method, path, raw, named, key=key, app=cluster.apps.operator)


async def add(cluster: Whole, name: str, **given: str) -> dict[str, Any]:
    """Make a user; the answer."""
    answer = await operator(cluster, "POST", "/users", {"name": name, **given})
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json
    return made


async def add_ann_and_bob(cluster: Whole) -> None:
    await add(cluster, "ann", access_key="ANNKEY", secret_key=ANN_SECRET, id="ann-id", display_name="Ann")
    await add(cluster, "bob", access_key="BOBKEY", secret_key=BOB_SECRET, id="bob-id")


async def users(cluster: Whole) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await operator(cluster, "GET", "/users")).json["users"]
    return listed


def written(folder: Path) -> bytes:
    """All that lies in files below a folder."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


# ---- making and removing


async def test_what_is_not_given_is_made_and_a_given_secret_is_never_told_again() -> None:
    async with whole() as cluster:
        made = await add(cluster, "ann")
        assert set(made) == {"name", "id", "display_name", "email", "access_key", "secret_key"}
        assert (made["display_name"], made["email"]) == ("ann", "")
        assert len(bytes.fromhex(made["id"])) == 32
        key = {"authorization": f"Bearer {made['access_key']}:{made['secret_key']}"}
        assert (await cluster.call("GET", "/buckets", key=key)).json["buckets"] == []
        given = {
            "access_key": "BOBKEY",
            "secret_key": BOB_SECRET,
            "id": "79a59df900b949e55d96",
            "display_name": "Bob ü",
            "email": "bob@example.com",
        }
        told = await add(cluster, "bob", **given)
        assert told == {"name": "bob", **{name: value for name, value in given.items() if name != "secret_key"}}
        assert (await cluster.call("GET", "/buckets", key=BOB)).status == 200
        listed = await users(cluster)
        assert [user["name"] for user in listed] == ["ann", "bob"]
        assert listed[1]["access_keys"] == ["BOBKEY"]
        assert listed[1]["created"] > "2020"
        assert {name: listed[1][name] for name in told if name != "access_key"} == {
            name: value for name, value in told.items() if name != "access_key"
        }


async def test_two_users_made_at_random_share_nothing() -> None:
    async with whole() as cluster:
        made = [await add(cluster, name) for name in ("ann", "bob")]
        for name in ("id", "access_key", "secret_key"):
            assert made[0][name] != made[1][name]
        assert SECRET not in str(made)


async def test_a_user_may_have_several_keys_and_each_can_be_taken_away() -> None:
    async with whole() as cluster:
        await add_ann_and_bob(cluster)
        made = (await operator(cluster, "POST", "/users/ann/keys")).json
        assert set(made) == {"user", "access_key", "secret_key"}
        second = {"authorization": f"Bearer {made['access_key']}:{made['secret_key']}"}
        await cluster.call("PUT", "/buckets/anns", key=ANN)
        assert (await cluster.call("GET", "/buckets/anns", key=second)).status == 200
        told = await operator(
            cluster, "POST", "/users/ann/keys", {"access_key": "ANNKEY2", "secret_key": "anns-third-secret"}
        )
        assert told.json == {"user": "ann", "access_key": "ANNKEY2"}
        assert set((await users(cluster))[0]["access_keys"]) == {"ANNKEY", "ANNKEY2", made["access_key"]}
        assert (await operator(cluster, "DELETE", "/keys/ANNKEY")).status == 204
        assert (await cluster.call("GET", "/buckets/anns", key=ANN)).status == 401
        assert (await cluster.call("GET", "/buckets/anns", key=second)).status == 200
        assert (await operator(cluster, "DELETE", "/keys/ANNKEY")).status == 404


async def test_a_removed_users_keys_are_gone_and_its_buckets_stay_with_root() -> None:
    async with whole() as cluster:
        await add_ann_and_bob(cluster)
        await cluster.call("PUT", "/buckets/anns", key=ANN)
        assert (await operator(cluster, "DELETE", "/users/ann")).status == 204
        assert (await cluster.call("GET", "/buckets/anns", key=ANN)).status == 401
        assert (await cluster.get("/buckets/anns")).json["owner"] == "ann-id"
        assert (await operator(cluster, "DELETE", "/users/ann")).status == 404
        again = await operator(cluster, "POST", "/users", {"name": "eve", "id": "ann-id"})
        assert (again.status, again.json["code"]) == (409, "UserExists")  # nobody inherits by a name


async def test_users_are_listed_page_by_page() -> None:
    async with whole() as cluster:
        names = [f"user{number}" for number in range(5)]
        for name in names:
            await add(cluster, name)
        found, after = [], ""
        while True:
            page = (await operator(cluster, "GET", f"/users?limit=2{after}")).json
            found += [user["name"] for user in page["users"]]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        assert found == names


async def test_a_repeated_request_has_one_effect_and_what_was_made_at_random_is_never_told_wrongly() -> None:
    async with whole() as cluster:
        given = {"name": "ann", "access_key": "ANNKEY", "secret_key": ANN_SECRET, "id": "ann-id"}
        for _ in range(2):
            assert (await operator(cluster, "POST", "/users", given, idempotency_key="k1")).status == 201
        changed = await operator(
            cluster, "POST", "/users", given | {"secret_key": "another-secret"}, idempotency_key="k1"
        )
        assert changed.status == 409  # the same idempotency key does not make it the same request
        assert (await operator(cluster, "POST", "/users", {"name": "bob"}, idempotency_key="k2")).status == 201
        again = await operator(cluster, "POST", "/users", {"name": "bob"}, idempotency_key="k2")
        assert (again.status, again.json["code"]) == (409, "UserExists")
        for _ in range(2):
            assert (await operator(cluster, "DELETE", "/users/bob", idempotency_key="k3")).status == 204


GOOD = {"name": "new", "access_key": "NEWKEY", "secret_key": "the-new-secret-key", "id": "new-id"}
BAD_USERS: list[tuple[Any, int, str]] = [
    (GOOD | {"name": "ann"}, 409, "UserExists"),
    (GOOD | {"id": "ann-id"}, 409, "UserExists"),
    (GOOD | {"email": "ann@example.com"}, 409, "UserExists"),
    (GOOD | {"access_key": "ANNKEY"}, 409, "KeyExists"),
    (GOOD | {"access_key": ACCESS}, 409, "KeyExists"),
    (GOOD | {"id": ACCESS}, 409, "UserExists"),
    *((GOOD | {"name": name}, 400, "InvalidArgument") for name in ("", "a b", "a/b", "ü", "a" * 65, "a\n", "\0")),
    *(
        (GOOD | {"access_key": key}, 400, "InvalidArgument")
        for key in ("", "ab", "a-b", "a b c", "a" * 129, "äöü", "abc\n")
    ),
    *(
        (GOOD | {"secret_key": key}, 400, "InvalidArgument")
        for key in ("", "hidden7", "h" * 129, "hidden ü hidden", "hidden one", "hidden12\n")
    ),
    *((GOOD | {"id": name}, 400, "InvalidArgument") for name in ("", "a b", "a/b", "a" * 129, "ü", "a\0")),
    *((GOOD | {"display_name": name}, 400, "InvalidArgument") for name in ("", "a" * 65, "a\nb", "\0", "\x7f")),
    *((GOOD | {"email": name}, 400, "InvalidArgument") for name in ("a", "a@", "@a", "a@b@c", "a b@c", "a@b" * 100)),
    (GOOD | {"secret": "hidden-secret"}, 400, "MalformedJSON"),
    (GOOD | {"name": None}, 400, "MalformedJSON"),
    (GOOD | {"secret_key": 12345678}, 400, "MalformedJSON"),
    ({"access_key": "NEWKEY"}, 400, "MalformedJSON"),
    (b"", 400, "MalformedJSON"),
    (b"[]", 400, "MalformedJSON"),
    (b'{"name": "new', 400, "MalformedJSON"),
    (b'{"name": "\\ud800"}', 400, "MalformedJSON"),
    (b"\xff", 400, "MalformedJSON"),
    (b"[" * 5_000, 400, "MalformedJSON"),
    (b" " * 70_000, 413, "EntityTooLarge"),
]
BAD_PATHS = [
    ("GET", "/users?limit=0", 400, "InvalidArgument"),
    ("GET", "/users?limit=1001", 400, "InvalidArgument"),
    ("GET", "/users?after=a%20b", 400, "InvalidArgument"),
    ("GET", "/users?after=" + "a" * 5_000, 400, "InvalidArgument"),
    ("GET", "/users?after=%ff", 400, "InvalidArgument"),
    ("GET", "/users?marker=a", 400, "InvalidArgument"),
    ("POST", "/users?name=new", 400, "InvalidArgument"),
    ("DELETE", "/users/nobody", 404, "NoSuchUser"),
    ("DELETE", "/users/", 404, "NoSuchUser"),
    ("DELETE", "/users/%ff", 404, "NoSuchUser"),
    ("DELETE", "/users/a%00b", 404, "NoSuchUser"),
    ("DELETE", "/users/..", 404, "NoSuchUser"),
    ("DELETE", "/users/" + "a" * 5_000, 404, "NoSuchUser"),
    ("POST", "/users/nobody/keys", 404, "NoSuchUser"),
    ("POST", "/users/%2e%2e%2fann/keys", 404, "NoSuchUser"),
    ("DELETE", "/keys/NOBODY", 404, "NoSuchAccessKey"),
    ("DELETE", "/keys/" + ACCESS, 404, "NoSuchAccessKey"),
    ("DELETE", "/keys/" + "a" * 5_000, 404, "NoSuchAccessKey"),
    ("DELETE", "/keys/", 404, "NoSuchAccessKey"),
    ("PUT", "/users", 405, "MethodNotAllowed"),
    ("GET", "/users/ann", 405, "MethodNotAllowed"),
    ("GET", "/users/ann/keys", 405, "MethodNotAllowed"),
    ("GET", "/keys/ANNKEY", 405, "MethodNotAllowed"),
    ("GET", "/users/ann/keys/x", 404, "NoSuchPath"),
    ("GET", "/keys", 404, "NoSuchPath"),
    ("GET", "/usersx", 404, "NoSuchPath"),
    ("GET", "//users", 404, "NoSuchPath"),
]


async def test_bad_input_gets_the_right_4xx_and_no_secret_in_its_text() -> None:
    async with whole() as cluster:
        await add(cluster, "ann", access_key="ANNKEY", secret_key=ANN_SECRET, id="ann-id", email="ann@example.com")
        for body, status, code in BAD_USERS:
            answer = await operator(cluster, "POST", "/users", body)
            assert (answer.status, answer.json["code"]) == (status, code), (body, answer.body)
            assert b"hidden" not in answer.body
            assert b"the-new-secret-key" not in answer.body
        for method, path, status, code in BAD_PATHS:
            answer = await operator(cluster, method, path)
            assert (answer.status, answer.json["code"]) == (status, code), (method, path[:80], answer.body)
        for body in ({"access_key": "ANNKEY"}, {"access_key": ACCESS}, {"secret_key": "short"}, {"name": "x"}):
            assert (await operator(cluster, "POST", "/users/ann/keys", body)).status in (400, 409)
        assert [user["name"] for user in await users(cluster)] == ["ann"]
        assert (await users(cluster))[0]["access_keys"] == ["ANNKEY"]


async def test_requests_over_the_cap_are_refused_on_the_operators_port_too() -> None:
    limits = Limits(
        disk_reserve_bytes=0, free_bytes_min=0, free_percent_min=0, map_bytes=1 << 28, requests_in_flight_max=0
    )
    async with whole(limits=limits) as cluster:
        answer = await operator(cluster, "GET", "/users")
        assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "SlowDown", "1")


# ---- what users may reach


async def test_a_user_has_its_own_buckets_and_no_others() -> None:
    async with whole() as cluster:
        await add_ann_and_bob(cluster)
        await cluster.put("/objects/roots", SMALL)
        assert (await cluster.call("PUT", "/buckets/anns", key=ANN)).json["owner"] == "ann-id"
        assert (await cluster.call("PUT", "/buckets/anns/objects/k", SMALL, key=ANN)).status == 201
        for method, path in [
            ("GET", "/buckets/anns"),
            ("GET", "/buckets/anns/objects"),
            ("GET", "/buckets/anns/objects/k"),
            ("HEAD", "/buckets/anns/objects/k"),
        ]:
            for key, status in ((ANN, 200), (KEY, 200), (BOB, 403), (None, 401)):
                assert (await cluster.call(method, path, key=key)).status == status
        for method, path in [
            ("PUT", "/buckets/anns/objects/k"),
            ("DELETE", "/buckets/anns/objects/k"),
            ("DELETE", "/buckets/anns"),
            ("PUT", "/objects/roots"),
            ("GET", "/objects/roots"),
            ("GET", "/objects"),
            ("DELETE", "/objects/roots"),
        ]:
            denied = await cluster.call(method, path, key=BOB)
            assert (denied.status, denied.json["code"]) == (403, "AccessDenied")
        assert (await cluster.get("/buckets/anns/objects/k")).body == SMALL
        assert (await cluster.get("/objects/roots")).body == SMALL
        for method, path in [("GET", "/buckets/none"), ("PUT", "/buckets/none/objects/k"), ("GET", "/buckets/..")]:
            missing = await cluster.call(method, path, key=BOB)
            assert (missing.status, missing.json["code"]) == (404, "NoSuchBucket")
        assert (await cluster.call("PUT", "/buckets/anns", key=BOB)).status == 409
        assert (await cluster.call("DELETE", "/buckets/anns/objects/k", key=ANN)).status == 204
        assert (await cluster.call("DELETE", "/buckets/anns", key=ANN)).status == 204
        assert (await cluster.call("GET", "/buckets/default/nowhere", key=BOB)).status == 404


async def test_a_copy_needs_the_right_to_read_its_source() -> None:
    async with whole() as cluster:
        await add_ann_and_bob(cluster)
        await cluster.put("/objects/secret", b"roots own")
        await cluster.call("PUT", "/buckets/bobs", key=BOB)
        for source, status in (
            ("default/secret", 403),
            ("/default/secret", 403),
            ("bobs/../default/secret", 404),
            ("none/secret", 404),
            ("default%2Fsecret", 400),
        ):
            copied = await cluster.call("PUT", "/buckets/bobs/objects/k", b"", {"x-copy-source": source}, key=BOB)
            assert copied.status == status, (source, copied.body)
        assert (await cluster.get("/buckets/bobs/objects")).json["objects"] == []
        copied = await cluster.call("PUT", "/buckets/bobs/objects/k", b"", {"x-copy-source": "default/secret"})
        assert copied.status == 201
        assert (await cluster.call("GET", "/buckets/bobs/objects/k", key=BOB)).body == b"roots own"


async def test_a_user_is_shown_its_own_buckets_page_by_page_and_no_others_name() -> None:
    async with whole() as cluster:
        await add_ann_and_bob(cluster)
        for number in range(4):
            await cluster.call("PUT", f"/buckets/anns-{number}", key=ANN)
            await cluster.call("PUT", f"/buckets/bobs-{number}", key=BOB)
            await cluster.call("PUT", f"/buckets/anns-{number}-by-bob", key=BOB)
        found, cursor = [], ""
        while True:
            page = (await cluster.call("GET", f"/buckets?limit=1{cursor}", key=ANN)).json
            found += [bucket["name"] for bucket in page["buckets"]]
            if page["cursor"] is None:
                break
            raw = page["cursor"] + "=" * (-len(page["cursor"]) % 4)
            assert b"bob" not in base64.urlsafe_b64decode(raw)
            cursor = f"&cursor={page['cursor']}"
        assert found == [f"anns-{number}" for number in range(4)]
        assert len((await cluster.get("/buckets")).json["buckets"]) == 13
        first = (await cluster.call("GET", "/buckets?limit=1", key=ANN)).json["cursor"]
        assert (await cluster.call("GET", f"/buckets?cursor={first}", key=BOB)).status == 400


async def test_an_upload_under_way_does_not_end_in_a_bucket_that_has_become_anothers() -> None:
    async with whole() as cluster:
        await add_ann_and_bob(cluster)
        await cluster.call("PUT", "/buckets/handed", key=ANN)

        async def body() -> AsyncIterator[bytes]:
            yield SMALL
            assert (await cluster.call("DELETE", "/buckets/handed", key=ANN)).status == 204
            assert (await cluster.call("PUT", "/buckets/handed", key=BOB)).status == 201
            assert (await cluster.call("GET", "/buckets/handed", key=BOB)).status == 200  # and its row is kept
            yield SMALL

        call = Call(Principal("ann-id", "user"), trio.current_time() + 5, next(cluster.apps.ids))
        with pytest.raises(Unavailable) as raised:
            await cluster.apps.operations.objects.put(
                "handed",
                "k",
                Description("text/plain", {}, {}),
                body(),
                size=None,
                expected=ExpectedDigests(),
                condition=Condition(),
                call=call,
            )
        assert raised.value.code == "BucketReplaced"
        assert (await cluster.call("GET", "/buckets/handed/objects", key=BOB)).json["objects"] == []


async def test_an_idempotency_key_is_its_users_own() -> None:
    async with whole() as cluster:
        await add_ann_and_bob(cluster)
        again = {"idempotency-key": "k1"}
        assert (await cluster.call("PUT", "/buckets/shared", headers=again, key=ANN)).status == 201
        assert (await cluster.call("PUT", "/buckets/shared", headers=again, key=BOB)).status == 409


# ---- what an attacker gets (RELIABILITY, S1 to S30)

OPERATOR_ROUTES = [
    ("GET", "/status"),
    ("GET", "/users"),
    ("POST", "/users"),
    ("DELETE", "/users/ann"),
    ("POST", "/users/ann/keys"),
    ("DELETE", "/keys/ANNKEY"),
    ("PUT", "/users"),
    ("GET", "/users/nowhere/at/all"),
    ("GET", "/keys"),
]
OBJECT_ROUTES = [
    ("GET", "/objects"),
    ("GET", "/objects/k"),
    ("HEAD", "/objects/k"),
    ("PUT", "/objects/k"),
    ("DELETE", "/objects/k"),
    ("POST", "/objects/k"),
    ("GET", "/buckets"),
    ("GET", "/buckets/default"),
    ("PUT", "/buckets/new"),
    ("DELETE", "/buckets/default"),
    ("GET", "/buckets/default/objects"),
    ("GET", "/buckets/default/objects/k"),
    ("GET", "/buckets/default/nowhere"),
]
NO_ROUTES = [("GET", "/nowhere"), ("POST", "/status")]
HEALTH_ROUTES = [("GET", f"/minio/health/{name}") for name in ("live", "ready", "cluster")]


def routes(cluster: Whole) -> Iterator[tuple[Any, str, str]]:
    """Every route of both ports."""
    for method, path in OPERATOR_ROUTES + NO_ROUTES + HEALTH_ROUTES:
        yield cluster.apps.operator, method, path
    for method, path in OBJECT_ROUTES + HEALTH_ROUTES:
        yield cluster.apps.object, method, path


async def test_the_operators_routes_are_roots_alone() -> None:  # S16
    async with whole() as cluster:
        await add_ann_and_bob(cluster)
        for key, status in ((None, 401), (ANN, 403), (BOB, 403)):
            for method, path in OPERATOR_ROUTES:
                assert (await operator(cluster, method, path, key=key)).status == status, (method, path)
            for method, path in NO_ROUTES:
                assert (await operator(cluster, method, path, key=key)).status == (401 if key is None else 404)
        assert [user["access_keys"] for user in await users(cluster)] == [["ANNKEY"], ["BOBKEY"]]
        assert (await operator(cluster, "GET", "/status")).status == 200


async def test_without_a_key_no_route_tells_a_secret_or_does_anything() -> None:  # S6
    hidden = [SECRET, ACCESS, ANN_SECRET, "ANNKEY", CLUSTER_KEY.hex(), base64.b64encode(CLUSTER_KEY).decode()]
    hidden += [value for value in os.environ.values() if len(value) > 8]
    async with whole() as cluster:
        await add_ann_and_bob(cluster)
        for app, method, path in routes(cluster):
            answer = await cluster.call(method, path, b"{}", key=None, app=app)
            assert answer.status == (200 if "health" in path else 401), (method, path)
            text = answer.body.decode() + str(answer.headers)
            assert not [value for value in hidden if value in text]
            if "health" in path:
                assert answer.body == b""
        assert len(await users(cluster)) == 2
        assert (await cluster.get("/objects")).json["objects"] == []


async def test_a_right_access_key_with_a_wrong_secret_gets_nowhere() -> None:  # S7, S18
    pairs = [f"ANNKEY:{BOB_SECRET}", f"ANNKEY:{SECRET}", "ANNKEY:", f"{ACCESS}:{ANN_SECRET}", f"NOBODY:{ANN_SECRET}"]
    headers = [f"Bearer {pair}" for pair in pairs] + [f"Basic {base64.b64encode(p.encode()).decode()}" for p in pairs]
    async with whole() as cluster:
        await add_ann_and_bob(cluster)
        bodies = set()
        for app, method, path in routes(cluster):
            if "health" in path:
                continue
            for header in headers:
                answer = await cluster.call(method, path, b"{}", key={"authorization": header}, app=app)
                assert answer.status == 401, (method, path, header)
                bodies.add(answer.body.replace(answer.headers["x-request-id"].encode(), b""))
        assert len(bodies) == 1
        assert len(await users(cluster)) == 2


async def test_secrets_lie_sealed_in_the_metadata_and_nowhere_else() -> None:  # S1
    async with whole() as cluster:
        await add_ann_and_bob(cluster)
        found = await cluster.apps.meta.read(GetAccessKey("ANNKEY"), deadline=float("inf"))
        assert isinstance(found, AccessKeyFound)
        assert Sealer(CLUSTER_KEY).unseal(found.key.sealed_secret, "ANNKEY") == ANN_SECRET
        with pytest.raises(Corrupt):
            Sealer(os.urandom(32)).unseal(found.key.sealed_secret, "ANNKEY")
        data = written(Path(cluster.config.base))
        assert b"ANNKEY" in data
        assert ANN_SECRET.encode() not in data
        assert BOB_SECRET.encode() not in data


async def test_no_secret_reaches_the_log(capfd: pytest.CaptureFixture[str]) -> None:  # S27
    async with whole() as cluster:
        await add_ann_and_bob(cluster)
        made = await add(cluster, "eve")
        given = (await operator(cluster, "POST", "/users/eve/keys", {})).json["secret_key"]
        for key in (*EVERYBODY, {"authorization": f"Bearer ANNKEY:{BOB_SECRET}"}):
            for app, method, path in routes(cluster):
                if method != "DELETE":
                    await cluster.call(method, path, b"{}", key=key, app=app)
        for body, _, _ in BAD_USERS:
            await operator(cluster, "POST", "/users", body)
        await operator(cluster, "DELETE", "/users/ann")
    said = capfd.readouterr()
    text = said.out + said.err
    assert '"/users"' in text
    hidden = [SECRET, ANN_SECRET, BOB_SECRET, made["secret_key"], given, "hidden", "the-new-secret", CLUSTER_KEY.hex()]
    assert not [value for value in hidden if value in text]
