"""What belongs to a version besides its bytes, and can be changed: tags. And its access control list, which cannot."""

from api.messages import Response
from api.operations.objects import Objects
from api.operations.versions import shown_version
from api.s3.acl import private_policy, require_private
from api.s3.answers import answer, done, gone
from api.s3.documents import read_body, read_document
from api.s3.exchange import Exchange
from api.s3.fields import version_of
from api.s3.lookups import find, in_words
from api.s3.objects import version_headers
from api.s3.tagging import OBJECT_TAGS_MAX, parse_tagging, tagging
from cluster.errors import Refused
from cluster.limits import KIB

TAGGING_BYTES_MAX = 64 * KIB
"""Ten tags of 128 and 256 characters have 40 KiB if each is a reference (chosen)."""

ACL_BYTES_MAX = 128 * KIB
"""S3 has at most 100 grants."""


class ObjectSettingHandlers:
    """Requests on a version's tags and access control list."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def get_tagging(self, exchange: Exchange) -> Response:
        """GetObjectTagging."""
        found = await find(self._objects, exchange)
        headers = version_headers(shown_version(found.bucket, found.version))
        return answer(tagging(found.version.tags), *headers)

    async def put_tagging(self, exchange: Exchange) -> Response:
        """PutObjectTagging."""
        document = await read_document(exchange, "Tagging", most=TAGGING_BYTES_MAX)
        version_id = await self._set_tags(exchange, parse_tagging(document, most=OBJECT_TAGS_MAX))
        return done(*version_headers(version_id))

    async def delete_tagging(self, exchange: Exchange) -> Response:
        """DeleteObjectTagging."""
        return gone(*version_headers(await self._set_tags(exchange, {})))

    async def _set_tags(self, exchange: Exchange, tags: dict[str, str]) -> str | None:
        version = version_of(exchange.query)
        try:
            return await self._objects.set_tags(exchange.bucket, exchange.key, tags, exchange.call, version=version)
        except Refused as error:
            raise in_words(error, exchange.key) from None

    async def get_acl(self, exchange: Exchange) -> Response:
        """GetObjectAcl: the bucket's owner owns its objects."""
        found = await find(self._objects, exchange)
        return answer(private_policy(found.bucket.owner, exchange.call.principal))

    async def put_acl(self, exchange: Exchange) -> Response:
        """PutObjectAcl: what holds anyway may be said (another canned ACL was refused before)."""
        body = await read_body(exchange, most=ACL_BYTES_MAX)
        found = await find(self._objects, exchange)
        if body:
            require_private(body, found.bucket.owner)
        elif "x-amz-acl" not in exchange.headers:
            raise Refused(
                "MissingSecurityHeader",
                "Your request was missing a required header",
                detail={"MissingHeaderName": "x-amz-acl"},
            )
        return done()
