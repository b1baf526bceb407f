"""Buckets and listings over a whole cluster: what was set or stored holds for the next request, through a fault too."""

from api.access.decisions import ANONYMOUS, Principal
from tests.api.s3.filled import keys, prefixes, truncated
from tests.api.s3.speaking import ALICE, Dialect
from tests.api.whole import ACCESS, Whole, whole

ROOT = Principal(ACCESS, "root", "root")


def spoken(cluster: Whole) -> Dialect:
    on = cluster.apps.operations
    return Dialect(on.buckets, on.listing, on.uploads, "us-east-1")


async def test_a_bucket_lives_from_its_making_to_its_removal() -> None:
    async with whole() as cluster:
        s3 = spoken(cluster)
        assert (await s3.call("PUT", "/first", by=ALICE)).status == 200
        body = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        assert (await s3.call("PUT", "/first?versioning", body, by=ALICE)).status == 200
        assert (await s3.call("GET", "/first?versioning", by=ALICE)).tree.value("Status") == "Enabled"
        tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"
        assert (await s3.call("PUT", "/first?tagging", tags, by=ALICE)).status == 204
        assert b"<Key>a</Key>" in (await s3.call("GET", "/first?tagging", by=ALICE)).body
        await cluster.put("/buckets/first/objects/key", b"one")
        assert (await s3.call("DELETE", "/first", by=ALICE)).code == "BucketNotEmpty"
        versions = await s3.call("GET", "/first?versions", by=ALICE)
        assert versions.texts("Version") == ["key"]
        seen = await s3.call("GET", "/", by=ALICE)
        assert b"<Name>first</Name>" in seen.body
        assert b"<Name>default</Name>" not in seen.body


async def test_cors_rules_hold_from_the_next_request_on() -> None:
    rules = (
        "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>https://a.example</AllowedOrigin>"
        "</CORSRule></CORSConfiguration>"
    )
    asked = {"origin": "https://a.example", "access_control_request_method": "GET"}
    async with whole() as cluster:
        s3 = spoken(cluster)
        assert (await s3.call("OPTIONS", "/default/key", by=ANONYMOUS, **asked)).status == 403
        assert (await s3.call("PUT", "/default?cors", rules, by=ROOT)).status == 200
        assert (await s3.call("OPTIONS", "/default/key", by=ANONYMOUS, **asked)).status == 200
        assert (await s3.call("DELETE", "/default?cors", by=ROOT)).status == 204
        assert (await s3.call("OPTIONS", "/default/key", by=ANONYMOUS, **asked)).status == 403


async def test_listings_go_on_whichever_member_is_gone() -> None:
    async with whole(members=3) as cluster:
        s3 = spoken(cluster)
        for key in ("a", "b/1", "b/2", "c"):
            await cluster.put(f"/objects/{key}", key.encode())
        first = await s3.call("GET", "/default?list-type=2&delimiter=/&max-keys=2", by=ROOT)
        assert (keys(first), prefixes(first), truncated(first)) == (["a"], ["b/"], True)
        token = first.tree.value("NextContinuationToken")
        for member in ("meta-1", "meta-2", "meta-3"):
            await cluster.stop(member)
            second = await s3.call("GET", f"/default?list-type=2&delimiter=/&continuation-token={token}", by=ROOT)
            assert (keys(second), prefixes(second), truncated(second)) == (["c"], [], False)
            await cluster.start(member)
