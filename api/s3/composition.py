"""The S3 dialect put together over the operations."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from blake3 import blake3

from api.access.gate import Gate
from api.access.keys import Keyring
from api.operations.composition import Operations
from api.s3.authentication import SignatureAuthentication
from api.s3.buckets import BucketHandlers
from api.s3.configurations import ConfigurationHandlers
from api.s3.cors_handlers import CorsHandlers
from api.s3.dialect import Parts, S3Dialect
from api.s3.listings import ListingHandlers
from api.s3.object_handlers import object_handlers
from api.s3.posts import FormPosts
from api.s3.waiting import LongAnswers
from cluster.config import Config

_HOST_ID_CONTEXT = "trilith 2026 s3 host id v1"


@dataclass(frozen=True, slots=True)
class S3:
    """The dialect, and what must run for it."""

    dialect: S3Dialect
    answers: LongAnswers


def compose_s3(
    config: Config,
    name: str,
    operations: Operations,
    keyring: Keyring,
    gate: Gate,
    now: Callable[[], float] = time.time,
) -> S3:
    """The dialect of the API process of that name. `now`: the wall clock, which signatures are bound to."""
    host_id = blake3(f"{config.cluster_id}/{name}".encode(), derive_key_context=_HOST_ID_CONTEXT).hexdigest()
    answers = LongAnswers(host_id)
    return S3(S3Dialect(s3_parts(config, host_id, operations, keyring, gate, answers, now)), answers)


def s3_parts(
    config: Config,
    host_id: str,
    operations: Operations,
    keyring: Keyring,
    gate: Gate,
    answers: LongAnswers,
    now: Callable[[], float] = time.time,
) -> Parts:
    """What the dialect is made of. `answers` must run."""
    buckets, section = operations.buckets, config.s3
    cors = CorsHandlers(buckets)
    handlers = {
        **BucketHandlers(buckets, section.region).table(),
        **ListingHandlers(buckets, operations.listing, operations.uploads).table(),
        **ConfigurationHandlers(buckets).table(),
        **cors.table(),
        **object_handlers(operations, gate, config.limits, answers, section.domains),
    }
    posts = FormPosts(
        keyring, gate, buckets, operations.objects, config.limits, v2=section.sigv2, domains=section.domains, now=now
    )
    return Parts(
        authentication=SignatureAuthentication(keyring, v2=section.sigv2, now=now),
        gate=gate,
        buckets=buckets,
        cors=cors,
        posts=posts,
        handlers=handlers,
        domains=section.domains,
        host_id=host_id,
    )
