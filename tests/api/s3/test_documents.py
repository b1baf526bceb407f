"""Bodies with documents: what they may cost."""

import pytest

from api.s3.documents import Held
from cluster.errors import Unavailable
from cluster.limits import MIB
from tests.api.s3.attacking import HERS, code, stage
from tests.api.s3.storing import md5


def test_documents_that_are_being_read_are_bounded_together_and_counted_as_they_come() -> None:
    held = Held(100)
    with held.body() as slow, held.body() as other:
        slow.add(b"x" * 10)
        other.add(b"x" * 90)
        with pytest.raises(Unavailable) as caught:
            slow.add(b"x")
        assert (caught.value.code, caught.value.limit) == ("SlowDown", {"documents_bytes_max": 100})
    with held.body() as body:
        body.add(b"x" * 100)
        assert len(body.data) == 100


READERS = (
    ("PUT", "/new"),
    ("PUT", "/anns?versioning"),
    ("PUT", "/anns?tagging"),
    ("PUT", "/anns?cors"),
    ("PUT", "/anns?requestPayment"),
    ("PUT", "/anns?acl"),
    ("PUT", "/anns/k?tagging"),
    ("PUT", "/anns/k?acl"),
    ("POST", "/anns?delete"),
    ("POST", "/anns/k?uploadId={upload}"),
)

COSTLY = (
    b"<!DOCTYPE a [<!ENTITY b '" + b"b" * 1000 + b"'><!ENTITY c '&b;&b;&b;'>]><Tagging>&c;</Tagging>",
    b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><Tagging/>',
    b"<a>" * 10_000,
    b"<Tagging " + b" ".join(b'a%d=""' % number for number in range(20_000)) + b"/>",
    b"x" * (9 * MIB),
)


async def test_documents_that_cost_much_are_refused() -> None:
    async with stage() as on:
        upload = await on.begin(on.ann, "/anns/k")
        for method, target in READERS:
            for body in COSTLY:
                answer = await on.ann(method, target.format(upload=upload), body, {"content-md5": md5(body)})
                assert answer.status == 400, (target, body[:40])
                known = ("MalformedXML", "MalformedACLError", "MaxMessageLengthExceeded")
                assert code(answer) in known, (target, body[:40])
        assert (await on.ann("GET", "/anns/k")).body == HERS
