"""Calls on buckets, through the whole dialect but its signatures."""

from collections.abc import Mapping

import pytest

from api.access.decisions import ANONYMOUS
from api.s3.buckets import BUCKETS_LISTED_MAX
from cluster.errors import Refused
from metaraft.commands import (
    Command,
    CreateBucket,
    DeleteBucket,
)
from metaraft.machine_buckets import BUCKETS_MAX
from metaraft.model import Copies
from metaraft.results import (
    Result,
)
from tests.api.local_metadata import LocalMetadata
from tests.api.s3.speaking import ALICE, BOB, ROOT, Speaking
from tests.metaraft.metadata import START_MS, envelope, key_of, put

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def located(place: str) -> str:
    return (
        f"<CreateBucketConfiguration {NAMESPACE}><LocationConstraint>{place}</LocationConstraint>"
        "</CreateBucketConfiguration>"
    )


# ---- list


async def test_root_sees_all_buckets_and_a_user_only_its_own() -> None:
    s3 = Speaking()
    s3.bucket("root-1")
    s3.bucket("alice-1", ALICE)
    s3.bucket("bob-1", BOB)
    seen = await s3.call("GET", "/")
    assert seen.tree.name == "ListAllMyBucketsResult"
    buckets = seen.tree.find("Buckets")
    assert buckets is not None
    assert [node.value("Name") for node in buckets.children] == ["alice-1", "bob-1", "root-1"]
    assert buckets.children[0].value("CreationDate") == "2023-11-14T22:13:20.000Z"
    owner = seen.tree.find("Owner")
    assert owner is not None
    assert (owner.value("ID"), owner.value("DisplayName")) == (ROOT.name, "root")
    assert b"alice-1" in (await s3.call("GET", "/", by=ALICE)).body
    assert b"bob-1" not in (await s3.call("GET", "/", by=ALICE)).body


async def test_buckets_are_listed_page_by_page_to_the_last_one() -> None:
    s3 = Speaking()
    names = [f"bucket-{number}" for number in range(5)]
    for name in names:
        s3.bucket(name, ALICE)
        s3.bucket(f"{name}-bob", BOB)
    found: list[str] = []
    token = ""
    for _ in range(10):
        page = await s3.call("GET", f"/?max-buckets=2&continuation-token={token}", by=ALICE)
        buckets = page.tree.find("Buckets")
        assert buckets is not None
        found += [node.value("Name") or "" for node in buckets.children]
        token = page.tree.value("ContinuationToken") or ""
        if not token:
            break
    assert found == names


async def test_buckets_are_listed_by_prefix_and_region() -> None:
    s3 = Speaking()
    for name in ("aa-1", "ab-1", "ab-2"):
        s3.bucket(name)
    page = await s3.call("GET", "/?prefix=ab")
    assert page.tree.value("Prefix") == "ab"
    assert page.body.count(b"<Name>") == 2
    assert b"<Name>" not in (await s3.call("GET", "/?bucket-region=eu-west-1")).body
    assert (await s3.call("GET", "/?bucket-region=us-east-1")).body.count(b"<Name>") == 3


@pytest.mark.parametrize(
    "query",
    ["max-buckets=0", "max-buckets=-1", "max-buckets=", "max-buckets=x", f"max-buckets={BUCKETS_LISTED_MAX + 1}",
     "continuation-token=nonsense", "prefix=%00"],
)  # fmt: skip
async def test_parameters_that_are_none_are_invalid(query: str) -> None:
    assert (await Speaking().call("GET", f"/?{query}")).code == "InvalidArgument"


# ---- create, head, delete


async def test_a_bucket_is_made_found_and_removed() -> None:
    s3 = Speaking()
    made = await s3.call("PUT", "/new-bucket", by=ALICE)
    assert (made.status, made.headers["location"], made.body) == (200, "/new-bucket", b"")
    there = await s3.call("HEAD", "/new-bucket", by=ALICE)
    assert (there.status, there.body) == (200, b"")
    assert there.headers["x-amz-bucket-region"] == "us-east-1"
    assert there.headers["x-amz-access-point-alias"] == "false"
    assert (await s3.call("DELETE", "/new-bucket", by=ALICE)).status == 204
    assert (await s3.call("HEAD", "/new-bucket", by=ALICE)).status == 404
    assert (await s3.call("DELETE", "/new-bucket", by=ALICE)).code == "NoSuchBucket"


async def test_in_us_east_1_an_owner_makes_a_bucket_again_and_elsewhere_not() -> None:
    for region, status in (("us-east-1", 200), ("eu-west-1", 409)):
        s3 = Speaking(region)
        await s3.call("PUT", "/taken", by=ALICE)
        again = await s3.call("PUT", "/taken", by=ALICE)
        assert again.status == status
        assert again.code == ("" if status == 200 else "BucketAlreadyOwnedByYou")
        other = await s3.call("PUT", "/taken", by=BOB)
        assert (other.status, other.code) == (409, "BucketAlreadyExists")
        assert (await s3.call("PUT", "/taken")).code == "BucketAlreadyExists"


class Racing(LocalMetadata):
    """Somebody removes a bucket as soon as it was told to be there."""

    async def commit(
        self,
        command: Command,
        *,
        deadline: float,
        key: bytes | None = None,
        trace_id: str = "",
        buckets: Mapping[str, int] | None = None,
    ) -> Result:
        try:
            return await super().commit(command, deadline=deadline, key=key, trace_id=trace_id, buckets=buckets)
        except Refused:
            self.machine.do(DeleteBucket("bucket"))
            raise


async def test_a_bucket_that_is_removed_while_it_is_made_may_be_tried_again() -> None:
    s3 = Speaking(meta=Racing())
    s3.bucket(owner=BOB)
    assert (await s3.call("PUT", "/bucket", by=ALICE)).status == 503
    assert (await s3.call("PUT", "/bucket", by=ALICE)).status == 200


@pytest.mark.parametrize(
    ("region", "place", "code"),
    [
        ("us-east-1", "", ""),
        ("us-east-1", "us-east-1", ""),
        ("us-east-1", "eu-west-1", "InvalidLocationConstraint"),
        ("eu-west-1", "eu-west-1", ""),
        ("eu-west-1", "us-west-2", "IllegalLocationConstraintException"),
    ],
)
async def test_a_bucket_is_made_in_the_one_region(region: str, place: str, code: str) -> None:
    s3 = Speaking(region)
    assert (await s3.call("PUT", "/bucket", located(place))).code == code
    assert (await s3.call("HEAD", "/bucket")).status == (404 if code else 200)


async def test_there_can_be_only_so_many_buckets() -> None:
    s3 = Speaking()
    for first in range(0, BUCKETS_MAX, 500):
        commands = [CreateBucket(f"bucket-{number}", ROOT.name, Copies(3)) for number in range(first, first + 500)]
        s3.meta.machine.enter(
            [envelope(command, key_of(1_000_000 + first + number), START_MS) for number, command in enumerate(commands)]
        )
    refused = await s3.call("PUT", "/one-more")
    assert (refused.status, refused.code) == (400, "TooManyBuckets")


async def test_the_region_is_told_and_that_of_us_east_1_is_empty() -> None:
    for region, told in (("us-east-1", ""), ("eu-west-1", "eu-west-1")):
        s3 = Speaking(region)
        s3.bucket()
        found = await s3.call("GET", "/bucket?location")
        assert (found.tree.name, found.tree.text) == ("LocationConstraint", told)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("<CreateBucketConfiguration/>", ""),
        ("<CreateBucketConfiguration><Tags/></CreateBucketConfiguration>", ""),
        ("not XML", "MalformedXML"),
        ("<Other/>", "MalformedXML"),
        ("<CreateBucketConfiguration><Other/></CreateBucketConfiguration>", "MalformedXML"),
        (located("a").replace("</Create", "<LocationConstraint/></Create"), "MalformedXML"),
        ("<CreateBucketConfiguration><Location/></CreateBucketConfiguration>", "NotImplemented"),
        ("<CreateBucketConfiguration><Bucket/></CreateBucketConfiguration>", "NotImplemented"),
        ("<CreateBucketConfiguration><Tags><Tag/></Tags></CreateBucketConfiguration>", "NotImplemented"),
    ],
)
async def test_the_configuration_of_a_new_bucket_is_read(body: str, code: str) -> None:
    assert (await Speaking().call("PUT", "/bucket", body)).code == code


@pytest.mark.parametrize("name", ["ab", "UPPER", "a..b", "1.2.3.4", "xn--a", "a" * 64, "a%00b", "objects"])
async def test_a_name_that_breaks_the_rules_is_invalid(name: str) -> None:
    assert (await Speaking().call("PUT", f"/{name}")).code == "InvalidBucketName"


async def test_a_new_bucket_cannot_ask_for_what_is_not_there() -> None:
    s3 = Speaking()
    assert (await s3.call("PUT", "/bucket", x_amz_bucket_object_lock_enabled="true")).code == "NotImplemented"
    assert (await s3.call("PUT", "/bucket", x_amz_acl="public-read")).code == "AccessControlListNotSupported"
    assert (await s3.call("PUT", "/bucket", x_amz_object_ownership="ObjectWriter")).code == "InvalidRequest"
    assert (await s3.call("HEAD", "/bucket")).status == 404
    assert (
        await s3.call("PUT", "/bucket", x_amz_bucket_object_lock_enabled="false", x_amz_acl="private")
    ).status == 200


async def test_a_bucket_with_an_object_is_not_removed() -> None:
    s3 = Speaking()
    s3.bucket()
    s3.do(put("key", bucket="bucket"))
    refused = await s3.call("DELETE", "/bucket")
    assert (refused.status, refused.code) == (409, "BucketNotEmpty")


# ---- versioning


async def test_versioning_is_enabled_and_suspended_and_never_off_again() -> None:
    s3 = Speaking()
    s3.bucket()
    assert (await s3.call("GET", "/bucket?versioning")).tree.children == []
    for status in ("Enabled", "Suspended", "Enabled"):
        body = f"<VersioningConfiguration {NAMESPACE}><Status>{status}</Status></VersioningConfiguration>"
        assert (await s3.call("PUT", "/bucket?versioning", body)).status == 200
        assert (await s3.call("GET", "/bucket?versioning")).tree.value("Status") == status


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        ("", "IllegalVersioningConfigurationException"),
        ("<MfaDelete>Disabled</MfaDelete>", "IllegalVersioningConfigurationException"),
        ("<Status>Off</Status>", "MalformedXML"),
        ("<Status/>", "MalformedXML"),
        ("<Status>Enabled</Status><Status>Enabled</Status>", "MalformedXML"),
        ("<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>", "InvalidRequest"),
        ("<Status>Enabled</Status><MfaDelete>Perhaps</MfaDelete>", "MalformedXML"),
        ("<Status>Enabled</Status><MfaDelete>Disabled</MfaDelete>", ""),
        ("<Other/>", "MalformedXML"),
    ],
)
async def test_versioning_is_set_by_a_document_that_says_it(inner: str, code: str) -> None:
    s3 = Speaking()
    s3.bucket()
    body = f"<VersioningConfiguration>{inner}</VersioningConfiguration>"
    assert (await s3.call("PUT", "/bucket?versioning", body)).code == code


async def test_mfa_delete_is_refused_in_words() -> None:
    s3 = Speaking()
    s3.bucket()
    body = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    refused = await s3.call("PUT", "/bucket?versioning", body, x_amz_mfa="serial 123456")
    assert (refused.code, "MFA" in (refused.tree.value("Message") or "")) == ("InvalidRequest", True)


# ---- tags


async def test_tags_of_a_bucket_are_set_told_and_removed() -> None:
    s3 = Speaking()
    s3.bucket()
    assert (await s3.call("GET", "/bucket?tagging")).code == "NoSuchTagSet"
    body = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"
    assert (await s3.call("PUT", "/bucket?tagging", body)).status == 204
    told = await s3.call("GET", "/bucket?tagging")
    assert told.body.endswith(b"<TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>")
    assert (await s3.call("DELETE", "/bucket?tagging")).status == 204
    assert (await s3.call("GET", "/bucket?tagging")).code == "NoSuchTagSet"
    assert (await s3.call("DELETE", "/bucket?tagging")).status == 204


async def test_no_tags_are_no_tag_set() -> None:
    s3 = Speaking()
    s3.bucket()
    assert (await s3.call("PUT", "/bucket?tagging", "<Tagging><TagSet/></Tagging>")).status == 204
    assert (await s3.call("GET", "/bucket?tagging")).code == "NoSuchTagSet"


@pytest.mark.parametrize("key", ["", "x" * 129, "aws:a", "\u20ac"])
async def test_a_tag_of_a_bucket_that_breaks_the_rules_is_refused(key: str) -> None:
    s3 = Speaking()
    s3.bucket()
    body = f"<Tagging><TagSet><Tag><Key>{key}</Key><Value>1</Value></Tag></TagSet></Tagging>"
    assert (await s3.call("PUT", "/bucket?tagging", body)).code == "InvalidTag"
    assert (await s3.call("GET", "/bucket?tagging")).code == "NoSuchTagSet"


async def test_fifty_of_the_longest_tags_of_a_bucket_are_kept() -> None:
    s3 = Speaking()
    s3.bucket()
    tags = "".join(f"<Tag><Key>{number:02}{'ö' * 126}</Key><Value>{'ü' * 256}</Value></Tag>" for number in range(50))
    assert (await s3.call("PUT", "/bucket?tagging", f"<Tagging><TagSet>{tags}</TagSet></Tagging>")).status == 204
    assert tags.encode() in (await s3.call("GET", "/bucket?tagging")).body


async def test_a_body_that_is_not_what_its_digest_says_changes_nothing() -> None:
    s3 = Speaking()
    s3.bucket()
    body = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"
    refused = await s3.call("PUT", "/bucket?tagging", body, content_md5="1B2M2Y8AsgTpgAmY7PhCfg==")
    assert refused.code == "BadDigest"
    assert (await s3.call("GET", "/bucket?tagging")).code == "NoSuchTagSet"


# ---- who pays


async def test_who_pays_is_kept_and_told() -> None:
    s3 = Speaking()
    s3.bucket()
    assert (await s3.call("GET", "/bucket?requestPayment")).tree.value("Payer") == "BucketOwner"
    for payer in ("Requester", "BucketOwner"):
        body = f"<RequestPaymentConfiguration><Payer>{payer}</Payer></RequestPaymentConfiguration>"
        assert (await s3.call("PUT", "/bucket?requestPayment", body)).status == 200
        assert (await s3.call("GET", "/bucket?requestPayment")).tree.value("Payer") == payer


@pytest.mark.parametrize("inner", ["", "<Payer/>", "<Payer>Nobody</Payer>", "<Payer>Requester</Payer><Other/>"])
async def test_who_pays_is_the_owner_or_the_requester(inner: str) -> None:
    s3 = Speaking()
    s3.bucket()
    body = f"<RequestPaymentConfiguration>{inner}</RequestPaymentConfiguration>"
    assert (await s3.call("PUT", "/bucket?requestPayment", body)).code == "MalformedXML"


# ---- ownership


async def test_the_owner_has_full_control_and_says_so_again() -> None:
    s3 = Speaking()
    s3.bucket(owner=ALICE)
    shown = await s3.call("GET", "/bucket?acl", by=ALICE)
    assert shown.body.count(f"<ID>{ALICE.name}</ID><DisplayName>Alice</DisplayName>".encode()) == 2
    assert b"DisplayName" not in (await s3.call("GET", "/bucket?acl")).body
    assert (await s3.call("PUT", "/bucket?acl", shown.body, by=ALICE)).status == 200
    assert (await s3.call("PUT", "/bucket?acl", by=ALICE, x_amz_acl="private")).status == 200


async def test_other_lists_are_refused() -> None:
    s3 = Speaking()
    s3.bucket()
    for acl in ("public-read", "public-read-write", "authenticated-read", "log-delivery-write", "", "nonsense"):
        refused = await s3.call("PUT", "/bucket?acl", x_amz_acl=acl)
        assert (refused.status, refused.code) == (400, "AccessControlListNotSupported")
    granted = await s3.call("PUT", "/bucket?acl", x_amz_grant_read="id=x")
    assert granted.code == "AccessControlListNotSupported"
    assert (await s3.call("PUT", "/bucket?acl")).code == "MissingSecurityHeader"
    assert (await s3.call("PUT", "/bucket?acl", "<x/>")).code == "MalformedACLError"
    both = await s3.call("PUT", "/bucket?acl", "<AccessControlPolicy/>", x_amz_acl="private")
    assert both.code == "UnexpectedContent"


async def test_the_owner_of_the_bucket_owns_what_is_in_it() -> None:
    s3 = Speaking()
    s3.bucket()
    shown = await s3.call("GET", "/bucket?ownershipControls")
    assert b"<Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>" in shown.body


async def test_a_request_for_the_bucket_of_somebody_else_is_denied() -> None:
    s3 = Speaking()
    s3.bucket(owner=ALICE)
    right = await s3.call("GET", "/bucket?versioning", x_amz_expected_bucket_owner=ALICE.name)
    assert right.status == 200
    for said in (BOB.name, "", "111122223333"):
        for by in (ALICE, ROOT):
            wrong = await s3.call("GET", "/bucket?versioning", by=by, x_amz_expected_bucket_owner=said)
            assert (wrong.status, wrong.code) == (403, "AccessDenied")
    missing = await s3.call("GET", "/other?versioning", x_amz_expected_bucket_owner=ALICE.name)
    assert missing.code == "NoSuchBucket"


async def test_others_are_denied_and_strangers_learn_nothing() -> None:
    s3 = Speaking()
    s3.bucket(owner=ALICE)
    for query in ("", "?versioning", "?tagging", "?acl", "?location", "?cors", "?policy", "?versions", "?uploads"):
        assert (await s3.call("GET", f"/bucket{query}", by=BOB)).code == "AccessDenied"
        there = await s3.call("GET", f"/bucket{query}", by=ANONYMOUS)
        missing = await s3.call("GET", f"/nobuck{query}", by=ANONYMOUS)
        assert (there.status, there.headers) == (403, missing.headers)
        assert there.body.replace(b"/bucket", b"/nobuck") == missing.body


async def test_a_post_that_is_no_form_is_told_so() -> None:
    s3 = Speaking()
    s3.bucket()
    refused = await s3.call("POST", "/bucket", "x", content_type="text/plain")
    assert (refused.status, refused.code) == (412, "PreconditionFailed")
    assert "multipart/form-data" in (refused.tree.value("Condition") or "")
