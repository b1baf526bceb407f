"""Configurations of buckets that cannot be made yet: of none of them there is one, and S3 has words for that."""

from api.messages import Response
from api.operations.buckets import Buckets
from api.s3 import xml
from api.s3.answers import answer, gone
from api.s3.dialect import Handler
from api.s3.exchange import Exchange
from api.s3.table import OPERATIONS
from cluster.errors import Refused


class ConfigurationHandlers:
    """Answers for every operation whose support is `none configured`."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets

    def table(self) -> dict[str, Handler]:
        """Handlers by operation."""
        return {operation.name: self.answer for operation in OPERATIONS if operation.support == "none configured"}

    async def answer(self, exchange: Exchange) -> Response:
        """There is none; to delete it is done. Raises Refused (NoSuchBucket, or the configuration's own code)."""
        await self._buckets.find(exchange.bucket, exchange.call)
        operation = exchange.operation
        if operation.method == "DELETE":
            return gone()
        if operation.none in operation.errors:
            what = operation.name.removeprefix("Get")
            detail = {"bucket": exchange.bucket}
            raise Refused(operation.none, f"The bucket {exchange.bucket!r} has no {what}", detail=detail)
        listed = [xml.flag("IsTruncated", value=False)] if operation.name.startswith("List") else []
        return answer(xml.document(operation.none, listed))
