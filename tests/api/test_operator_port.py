"""Health and errors as who watches a cluster sees them."""

import msgspec
import pytest
import trio

from cluster.limits import Limits
from tests.api.test_native import LARGE, SMALL, refused
from tests.api.test_users import operator
from tests.api.whole import whole


async def test_with_full_disks_health_is_503_and_a_write_507() -> None:
    limits = Limits(disk_reserve_bytes=1 << 60, free_bytes_min=0, free_percent_min=0, map_bytes=1 << 30)
    async with whole(limits=limits) as cluster:
        with trio.fail_after(30):
            while any(state.status is None for state in cluster.apps.nodes.status()):
                await trio.lowlevel.checkpoint()
        answer = await cluster.call("GET", "/minio/health/cluster", key=None)
        assert answer.status == 503
        assert answer.headers["x-unhealthy"] == "3 disks are up, of them 3 full; a write needs 2 (NoSpace)"
        refused(await cluster.call("PUT", "/objects/a", LARGE), 507, "NoSpace")
        await cluster.put("/objects/b", SMALL)  # it lies in the metadata


async def test_every_error_on_the_operators_port_is_in_the_log_under_its_id(capfd: pytest.CaptureFixture[str]) -> None:
    async with whole() as cluster:
        told = [
            await operator(cluster, "GET", "/status", key=None),
            await operator(cluster, "GET", "/nowhere", key=None),
            await operator(cluster, "GET", "/nowhere"),
            await operator(cluster, "GET", "/users/nobody"),
        ]
    assert [answer.status for answer in told] == [401, 401, 404, 405]
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith('{"request_id"')]
    logged = {line["request_id"]: line for line in map(msgspec.json.decode, lines)}
    for answer in told:
        line = logged[answer.json["request_id"]]
        assert (line["status"], line["code"]) == (answer.status, answer.json["code"])
