"""Conditional writes decide races: of 16 clients that write one key at once over S3 one wins, kill whom you will.

Clients do as SDKs do: what was not answered, or with 503, is sent again under the same `amz-sdk-invocation-id`. So
all learn their outcome at last, and one whose first attempt won is told so. The bucket keeps versions, which shows that
no write but the winner's has ever had an effect.
"""

import http.client
import os
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from api.s3 import xml
from chaos.roles import Roles
from chaos.signing import Signer
from tests.probe.conftest import Reply
from tests.probe.test_faults import leader_of

pytestmark = pytest.mark.probe

CLIENTS = 16
OUTCOME_S = 60.0
"""How long a client asks for its outcome: an election takes a few seconds at most."""

INTERRUPTED_S = 0.4
"""A race that takes longer had to wait for an election; others take a tenth of it."""

ENABLED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


@dataclass(frozen=True)
class Outcome:
    """What one client was told at last."""

    status: int
    etag: str


class Racers:
    """16 clients of one cluster."""

    def __init__(self, roles: Roles, seed: int) -> None:
        access = roles.access()
        self._roles = roles
        self._address = urlsplit(access.endpoint).netloc
        self._signer = Signer(access.access_key, access.secret_key, self._address)
        self._random = random.Random(seed)
        self._pool = ThreadPoolExecutor(CLIENTS + 1)
        self.races = 0
        self.kills = 0
        self.interrupted = 0

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def ask(self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Reply:
        """One signed request on a connection of its own."""
        lines = self._signer.headers(method, target, body).splitlines()
        signed = dict(line.split(": ", 1) for line in lines)
        connection = http.client.HTTPConnection(self._address, timeout=30)
        try:
            connection.request(method, target, body=body, headers=signed | (headers or {}))
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def until_told(self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Outcome:
        """The same request until it is answered with something else than 503."""
        deadline = time.monotonic() + OUTCOME_S
        named = {"amz-sdk-invocation-id": os.urandom(16).hex(), **(headers or {})}
        while True:
            try:
                reply = self.ask(method, target, body, named)
            except (OSError, http.client.HTTPException):
                reply = Reply(503, {}, b"no answer")
            if reply.status != 503:
                return Outcome(reply.status, reply.headers.get("etag", ""))
            assert time.monotonic() < deadline, reply
            time.sleep(0.05)

    def race(self, key: str, headers: dict[str, str], *, kill: bool) -> tuple[int, str]:
        """All clients at once, each with a body of its own (or an ETag would hold again when one has won with what was
        there before); the one that won, and the ETag of what it wrote."""
        self.races += 1
        bodies = [f"race {self.races} by {number}".encode() for number in range(CLIENTS)]
        start = threading.Barrier(CLIENTS + kill)

        def run(number: int) -> Outcome:
            start.wait()
            return self.until_told("PUT", f"/default/{key}", bodies[number], headers)

        began = time.monotonic()
        running = [self._pool.submit(run, number) for number in range(CLIENTS)]
        if kill:
            self._kill_leader(start)
        outcomes = [each.result() for each in running]
        self.interrupted += kill and time.monotonic() - began > INTERRUPTED_S
        won = [number for number, outcome in enumerate(outcomes) if outcome.status == 200]
        assert len(won) == 1, (key, headers, outcomes)
        assert {outcome.status for outcome in outcomes} <= {200, 412}, outcomes
        found = self.ask("GET", f"/default/{key}")
        assert (found.status, found.body) == (200, bodies[won[0]])
        assert found.headers["etag"] == outcomes[won[0]].etag
        return won[0], found.headers["etag"]

    def _kill_leader(self, start: threading.Barrier) -> None:
        leader = leader_of(self._roles)
        start.wait()
        time.sleep(self._random.uniform(0, 0.03))  # somewhere in the race
        self._roles.kill(leader)
        self.kills += 1
        self._roles.start(leader)

    def versions(self) -> dict[str, int]:
        """How many versions each key has."""
        counted: dict[str, int] = {}
        target = "/default?versions="
        while True:
            page = xml.parse(self.ask("GET", target).body, "ListVersionsResult")
            for node in page.all("Version"):
                key = node.value("Key") or ""
                counted[key] = counted.get(key, 0) + 1
            if page.value("IsTruncated") != "true":
                return counted
            marker, version = page.value("NextKeyMarker"), page.value("NextVersionIdMarker")
            target = f"/default?key-marker={marker}&version-id-marker={version}&versions="


@pytest.fixture
def racers(folder: Path) -> Iterator[Racers]:
    """A cluster whose bucket keeps versions."""
    with Roles(folder) as roles:
        found = Racers(roles, seed=1)
        assert found.until_told("PUT", "/default?versioning=", ENABLED).status == 200
        yield found
        found.close()


def run_rounds(racers: Racers, rounds: int, kill_every: int) -> None:
    """Rounds of both kinds: to make a key, and to replace what is there."""
    kept, expected = "", {}
    for number in range(rounds):
        kill = number % kill_every == kill_every - 1
        key = f"new-{number}"
        racers.race(key, {"If-None-Match": "*"}, kill=kill)
        expected[key] = 1
        kept = kept or racers.until_told("PUT", "/default/kept", b"first").etag
        _, kept = racers.race("kept", {"If-Match": kept}, kill=kill)
    expected["kept"] = rounds + 1
    assert racers.versions() == expected


def test_exactly_one_of_16_clients_wins_each_race_while_leaders_are_killed(racers: Racers) -> None:
    run_rounds(racers, 6, kill_every=3)
    assert racers.kills == 4
    assert racers.interrupted, "no kill has hit a race"


@pytest.mark.long
def test_exactly_one_of_16_clients_wins_each_of_many_races_while_leaders_are_killed(racers: Racers) -> None:
    run_rounds(racers, 100, kill_every=4)
    assert racers.kills == 50
    assert racers.interrupted > 10, "kills have hit no race"
