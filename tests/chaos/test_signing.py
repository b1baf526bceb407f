"""The load's own signer is one that the product accepts."""

import pytest

from api.s3.signature import parse, verify
from chaos.signing import Signer
from cluster.errors import Refused
from tests.api.s3.messages import message

NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/default/a%20b", b"some bytes"),
        ("/default/%C3%BC", b""),
        ("/default?list-type=2&max-keys=1000&prefix=a%2F&start-after=", b""),
        ("/default/large", None),
    ],
)
def test_what_it_signs_is_accepted_with_that_secret_alone(target: str, body: bytes | None) -> None:
    lines = Signer("AK", "SECRET", "127.0.0.1:9000", now=lambda: NOW).headers("PUT", target, body)
    headers = dict(line.split(": ", 1) for line in lines.splitlines())
    request = message("PUT", target, {"host": "127.0.0.1:9000", **headers})
    claim = parse(request)
    assert claim is not None
    assert verify(claim, request, "SECRET", NOW).access_key == "AK"
    with pytest.raises(Refused) as raised:
        verify(claim, request, "SECRET2", NOW)
    assert raised.value.code == "SignatureDoesNotMatch"
