"""Buckets of the S3 dialect: list, make, find, remove, and what is set on them but CORS.

Source: S3 API reference, the page of each operation. There is one region, the configured one; in `us-east-1` S3 lets an
owner make a bucket again, elsewhere that is a conflict.
"""

from api.messages import Response
from api.operations.buckets import Buckets
from api.operations.calls import Call
from api.s3 import acl, xml
from api.s3.answers import answer, done, gone
from api.s3.dialect import Handler
from api.s3.documents import read_body, read_document
from api.s3.exchange import Exchange
from api.s3.owners import owner
from api.s3.paging import invalid_argument, plain_text
from api.s3.refusals import not_implemented
from api.s3.settings import Setting
from api.s3.tagging import BUCKET_TAGS_MAX, parse_tagging, tagging
from api.s3.tokens import seal, unseal
from api.times import iso_time
from cluster.errors import Refused, Unavailable
from cluster.limits import LIST_LIMIT_MAX
from metaraft.model import Bucket

BUCKETS_LISTED_MAX = 10_000
"""Buckets in one answer (S3: ListBuckets, max-buckets)."""

US_EAST_1 = "us-east-1"


_TAGS: Setting[dict[str, str]] = Setting("tagging", dict[str, str])
_PAYER: Setting[str] = Setting("request-payment", str)


class BucketHandlers:
    """Requests on buckets. `region` is where all of them are."""

    def __init__(self, buckets: Buckets, region: str) -> None:
        self._buckets = buckets
        self._region = region

    def table(self) -> dict[str, Handler]:
        """Handlers by operation."""
        return {
            "ListBuckets": self.list,
            "CreateBucket": self.create,
            "HeadBucket": self.head,
            "DeleteBucket": self.delete,
            "GetBucketLocation": self.location,
            "GetBucketVersioning": self.versioning,
            "PutBucketVersioning": self.set_versioning,
            "GetBucketTagging": self.tags,
            "PutBucketTagging": self.set_tags,
            "DeleteBucketTagging": self.delete_tags,
            "GetBucketRequestPayment": self.payment,
            "PutBucketRequestPayment": self.set_payment,
            "GetBucketAcl": self.acl,
            "PutBucketAcl": self.set_acl,
            "GetBucketOwnershipControls": self.ownership,
        }

    async def list(self, exchange: Exchange) -> Response:
        """The buckets of who asks; root's are all."""
        query, call = exchange.query, exchange.call
        prefix = plain_text(query, "prefix")
        limit = _buckets_limit(query.get("max-buckets"))
        token = query.get("continuation-token", "")
        after: str | None = unseal(token) if token else ""
        found: list[Bucket] = []
        if query.get("bucket-region", self._region) != self._region:
            after = None
        of = None if call.principal.kind == "root" else call.principal.name
        while after is not None and len(found) < limit:
            page = await self._buckets.list(
                after, min(LIST_LIMIT_MAX, limit - len(found)), call, prefix=prefix, owner=of
            )
            found += page.buckets
            after = page.next_after if page.more else None
        shown = [
            f"<Bucket><Name>{bucket.name}</Name><CreationDate>{iso_time(bucket.created_ms)}</CreationDate>"
            f"<BucketRegion>{self._region}</BucketRegion></Bucket>"
            for bucket in found
        ]
        inner = [
            owner(call.principal.name, call.principal),
            xml.group("Buckets", *shown),
            xml.optional("ContinuationToken", None if after is None else seal(after)),
            xml.optional("Prefix", query.get("prefix")),
        ]
        return answer(xml.document("ListAllMyBucketsResult", inner))

    async def create(self, exchange: Exchange) -> Response:
        """Make a bucket. Raises Refused (BucketAlreadyExists, BucketAlreadyOwnedByYou, ...)."""
        body = await read_body(exchange)
        if body:
            self._check(xml.parse(body, "CreateBucketConfiguration"))
        try:
            await self._buckets.create(exchange.bucket, exchange.call)
        except Refused as error:
            if error.code != "BucketAlreadyExists":
                raise
            await self._check_again(exchange.bucket, exchange.call)
        return done(("location", f"/{exchange.bucket}"))

    def _check(self, configuration: xml.Node) -> None:
        xml.known(configuration, "LocationConstraint", "Location", "Bucket", "Tags")
        if xml.maybe_one(configuration, "Location") or xml.maybe_one(configuration, "Bucket"):
            raise not_implemented("a directory bucket")
        tags = xml.maybe_one(configuration, "Tags")
        if tags is not None and tags.children:
            raise not_implemented("tags with CreateBucket (PutBucketTagging sets them)")
        constraint = xml.maybe_one(configuration, "LocationConstraint")
        if constraint is None or constraint.text in ("", self._region):
            return
        where = constraint.text[:80]
        if self._region == US_EAST_1:
            message = f"The specified location-constraint is not valid: {where!r}; all buckets are in {self._region}"
            raise Refused("InvalidLocationConstraint", message, detail={"LocationConstraint": where})
        raise Refused(
            "IllegalLocationConstraintException",
            f"The {where} location constraint is incompatible for the region specific endpoint this request was sent"
            f" to: all buckets are in {self._region}",
        )

    async def _check_again(self, name: str, call: Call) -> None:
        """The bucket is there already: whose is it?"""
        try:
            there = (await self._buckets.find(name, call)).bucket
        except Refused as error:
            raise Unavailable("BucketReplaced", f"The bucket {name!r} was removed meanwhile; try again") from error
        detail = {"bucket": name}
        if there.owner != call.principal.name:
            message = "The requested bucket name is not available: somebody else has it. Select another name."
            raise Refused("BucketAlreadyExists", message, detail=detail)
        if self._region != US_EAST_1:
            message = "Your previous request to create the named bucket succeeded and you already own it."
            raise Refused("BucketAlreadyOwnedByYou", message, detail=detail)

    async def head(self, exchange: Exchange) -> Response:
        """Whether it is there, and where."""
        await self._buckets.find(exchange.bucket, exchange.call)
        return done(("x-amz-bucket-region", self._region), ("x-amz-access-point-alias", "false"))

    async def delete(self, exchange: Exchange) -> Response:
        """Remove an empty bucket."""
        await self._buckets.delete(exchange.bucket, exchange.call)
        return gone()

    async def location(self, exchange: Exchange) -> Response:
        """The region; that of `us-east-1` is shown as nothing."""
        await self._buckets.find(exchange.bucket, exchange.call)
        shown = "" if self._region == US_EAST_1 else xml.escape(self._region)
        return answer(xml.document("LocationConstraint", [shown]))

    # ---- versioning

    async def versioning(self, exchange: Exchange) -> Response:
        """Enabled, Suspended, or (never enabled) neither."""
        state = (await self._buckets.find(exchange.bucket, exchange.call)).bucket.versioning
        status = None if state == "off" else state.capitalize()
        return answer(xml.document("VersioningConfiguration", [xml.optional("Status", status)]))

    async def set_versioning(self, exchange: Exchange) -> Response:
        """Enable or suspend. Raises Refused (IllegalVersioningConfigurationException; InvalidRequest: MFA delete)."""
        asked = await read_document(exchange, "VersioningConfiguration")
        xml.known(asked, "Status", "MfaDelete")
        mfa, status = xml.maybe_one(asked, "MfaDelete"), xml.maybe_one(asked, "Status")
        if mfa is not None and mfa.text != "Disabled":
            if mfa.text != "Enabled":
                raise xml.malformed(f"MfaDelete is Enabled or Disabled, not {mfa.text[:40]!r}")
            raise Refused("InvalidRequest", "MFA delete is not supported; MfaDelete can only be Disabled")
        if status is None:
            message = "The Versioning element must be specified: Status is Enabled or Suspended"
            raise Refused("IllegalVersioningConfigurationException", message)
        if status.text == "Enabled":
            await self._buckets.set_versioning(exchange.bucket, "enabled", exchange.call)
        elif status.text == "Suspended":
            await self._buckets.set_versioning(exchange.bucket, "suspended", exchange.call)
        else:
            raise xml.malformed(f"Status is Enabled or Suspended, not {status.text[:40]!r}")
        return done()

    # ---- tags

    async def tags(self, exchange: Exchange) -> Response:
        """The bucket's tags. Raises Refused (NoSuchTagSet)."""
        found = await _TAGS.get(self._buckets, exchange.bucket, exchange.call)
        if not found:
            raise Refused("NoSuchTagSet", "The TagSet does not exist", detail={"bucket": exchange.bucket})
        return answer(tagging(found))

    async def set_tags(self, exchange: Exchange) -> Response:
        """Replace them. Raises Refused (InvalidTag)."""
        tags = parse_tagging(await read_document(exchange, "Tagging"), most=BUCKET_TAGS_MAX)
        await _TAGS.put(self._buckets, exchange.bucket, tags, exchange.call)
        return gone()

    async def delete_tags(self, exchange: Exchange) -> Response:
        """Remove them."""
        await _TAGS.put(self._buckets, exchange.bucket, None, exchange.call)
        return gone()

    # ---- who pays

    async def payment(self, exchange: Exchange) -> Response:
        """Who pays for requests."""
        payer = await _PAYER.get(self._buckets, exchange.bucket, exchange.call)
        return answer(xml.document("RequestPaymentConfiguration", [xml.element("Payer", payer or "BucketOwner")]))

    async def set_payment(self, exchange: Exchange) -> Response:
        """Say who pays. It is kept and told; nobody is charged here, and only owners have access."""
        asked = await read_document(exchange, "RequestPaymentConfiguration")
        xml.known(asked, "Payer")
        payer = xml.required(asked, "Payer").text
        if payer not in ("BucketOwner", "Requester"):
            raise xml.malformed(f"Payer is BucketOwner or Requester, not {payer[:40]!r}")
        await _PAYER.put(self._buckets, exchange.bucket, payer, exchange.call)
        return done()

    # ---- ownership

    async def acl(self, exchange: Exchange) -> Response:
        """The one access control list there is."""
        bucket = (await self._buckets.find(exchange.bucket, exchange.call)).bucket
        return answer(acl.private_policy(bucket.owner, exchange.call.principal))

    async def set_acl(self, exchange: Exchange) -> Response:
        """Accept the list that holds anyway, by name (other names were refused before) or as a document."""
        body = await read_body(exchange)
        bucket = (await self._buckets.find(exchange.bucket, exchange.call)).bucket
        if "x-amz-acl" in exchange.headers:
            if body:
                raise Refused("UnexpectedContent", "This request does not support content: x-amz-acl says it all")
        elif body:
            acl.require_private(body, bucket.owner)
        else:
            message = "Your request was missing a required header: x-amz-acl, or an AccessControlPolicy as the body"
            raise Refused("MissingSecurityHeader", message)
        return done()

    async def ownership(self, exchange: Exchange) -> Response:
        """The bucket's owner owns all that is in it."""
        await self._buckets.find(exchange.bucket, exchange.call)
        rule = xml.group("Rule", xml.element("ObjectOwnership", "BucketOwnerEnforced"))
        return answer(xml.document("OwnershipControls", [rule]))


def _buckets_limit(text: str | None) -> int:
    if text is None:
        return BUCKETS_LISTED_MAX
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= BUCKETS_LISTED_MAX):
        message = f"Argument max-buckets must be an integer between 1 and {BUCKETS_LISTED_MAX}"
        raise invalid_argument("max-buckets", text, message)
    return int(text)
