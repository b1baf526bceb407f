"""Calls on a bucket's CORS configuration, and what it adds to other answers: preflights and headers.

Source: S3 API reference, PutBucketCors and 'OPTIONS object'. A preflight is anonymous, so it tells nothing of buckets:
one that is missing is answered like one without a configuration.
"""

from api.messages import Request, Response
from api.operations.buckets import Buckets
from api.operations.calls import Call
from api.s3.answers import answer, done, gone
from api.s3.cors import (
    CONFIGURATION_BYTES_MAX,
    METHODS,
    VARY,
    Asking,
    CorsRule,
    CorsRules,
    allowed,
    configuration,
    parse_configuration,
    requested_headers,
)
from api.s3.dialect import Handler
from api.s3.documents import read_document
from api.s3.exchange import Exchange
from api.s3.settings import Setting
from cluster.errors import Refused

_RULES: Setting[CorsRules] = Setting("cors", tuple[CorsRule, ...])

_METHOD = "access-control-request-method"
_HEADERS = "access-control-request-headers"

_NOT_ALLOWED = (
    "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method /"
    " Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec."
)


class CorsHandlers:
    """Handlers of three operations, and the dialect's `Cors`."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets

    def table(self) -> dict[str, Handler]:
        """Handlers by operation."""
        return {"GetBucketCors": self.get, "PutBucketCors": self.put, "DeleteBucketCors": self.delete}

    async def get(self, exchange: Exchange) -> Response:
        """The configuration. Raises Refused (NoSuchCORSConfiguration)."""
        rules = await _RULES.get(self._buckets, exchange.bucket, exchange.call)
        if rules is None:
            message = "The CORS configuration does not exist"
            raise Refused("NoSuchCORSConfiguration", message, detail={"bucket": exchange.bucket})
        return answer(configuration(rules))

    async def put(self, exchange: Exchange) -> Response:
        """Replace it. Raises Refused (MalformedXML, InvalidRequest)."""
        document = await read_document(exchange, "CORSConfiguration", most=CONFIGURATION_BYTES_MAX)
        await _RULES.put(self._buckets, exchange.bucket, parse_configuration(document), exchange.call)
        return done()

    async def delete(self, exchange: Exchange) -> Response:
        """Remove it."""
        await _RULES.put(self._buckets, exchange.bucket, None, exchange.call)
        return gone()

    # ---- the dialect's `Cors`

    async def preflight(self, request: Request, bucket: str, call: Call) -> Response:
        """The answer to an OPTIONS request. Raises Refused (BadRequest, AccessForbidden)."""
        origin, method = request.headers.get("origin"), request.headers.get(_METHOD)
        if not origin:
            raise Refused("BadRequest", "Insufficient information. Origin request header needed.")
        if method not in METHODS:
            shown = "null" if method is None else method[:40]
            raise Refused("BadRequest", f"Invalid Access-Control-Request-Method: {shown}")
        rules = await self._rules(bucket, call)
        detail = {"Method": method}
        if not rules:
            message = "CORSResponse: CORS is not enabled for this bucket."
            raise Refused("AccessForbidden", message, detail=detail)
        headers = allowed(rules, Asking(origin, method, requested_headers(request.headers.get(_HEADERS))))
        if headers is None:
            raise Refused("AccessForbidden", _NOT_ALLOWED, detail=detail)
        return done(*headers)

    async def headers(self, request: Request, bucket: str, call: Call) -> tuple[tuple[str, str], ...]:
        """What goes with the answer to a request with an Origin. Where there are rules, caches are told that the answer
        depends on it, whether or not they allow this one."""
        rules = await self._rules(bucket, call)
        if not rules:
            return ()
        method = request.headers.get(_METHOD, request.method)  # S3 goes by it here too; no browser sends it
        return allowed(rules, Asking(request.headers["origin"], method)) or (VARY,)

    async def _rules(self, bucket: str, call: Call) -> CorsRules | None:
        if not bucket:
            return None
        try:
            return await _RULES.get(self._buckets, bucket, call)
        except Refused as error:
            if error.code != "NoSuchBucket":
                raise
            return None
