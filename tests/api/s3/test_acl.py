"""The one access control list: it is shown, it is taken, and no other is."""

import pytest

from api.access.decisions import Principal
from api.s3.acl import private_policy, require_private
from cluster.errors import Refused

ALICE = Principal("a1", "user", "Alice & Co")
GROUP = "http://acs.amazonaws.com/groups/global/AllUsers"


def policy(*grants: str, owner: str = "<Owner><ID>a1</ID></Owner>") -> str:
    return f"<AccessControlPolicy>{owner}<AccessControlList>{''.join(grants)}</AccessControlList></AccessControlPolicy>"


def grant(kind: str, who: str, permission: str) -> str:
    instance = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    return f'<Grant><Grantee {instance} xsi:type="{kind}">{who}</Grantee><Permission>{permission}</Permission></Grant>'


OWN = grant("CanonicalUser", "<ID>a1</ID>", "FULL_CONTROL")


def code(document: str | bytes) -> str:
    with pytest.raises(Refused) as caught:
        require_private(document.encode() if isinstance(document, str) else document, "a1")
    return caught.value.code


def test_the_list_is_as_s3_writes_it() -> None:
    assert private_policy("a1", ALICE) == (
        b'<?xml version="1.0" encoding="UTF-8"?>\n'
        b'<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<Owner><ID>a1</ID><DisplayName>Alice &amp; Co</DisplayName></Owner><AccessControlList><Grant>"
        b'<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">'
        b"<ID>a1</ID><DisplayName>Alice &amp; Co</DisplayName></Grantee>"
        b"<Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>"
    )


def test_another_owners_name_is_not_told() -> None:
    assert b"Alice" not in private_policy("b2", ALICE)


def test_what_was_read_can_be_written() -> None:
    require_private(private_policy("a1", ALICE), "a1")
    require_private(policy(OWN).encode(), "a1")


@pytest.mark.parametrize(
    "document",
    [
        policy(),
        policy(OWN, OWN),
        policy(OWN, grant("Group", f"<URI>{GROUP}</URI>", "READ")),
        policy(grant("Group", f"<URI>{GROUP}</URI>", "FULL_CONTROL")),
        policy(grant("CanonicalUser", "<ID>b2</ID>", "FULL_CONTROL")),
        policy(grant("CanonicalUser", "<ID>a1</ID>", "READ")),
        policy(grant("AmazonCustomerByEmail", "<EmailAddress>a@b.example</EmailAddress>", "WRITE")),
        policy(OWN, owner="<Owner><ID>b2</ID></Owner>"),
    ],
)
def test_any_other_list_is_not_supported(document: str) -> None:
    assert code(document) == "AccessControlListNotSupported"


@pytest.mark.parametrize(
    "document",
    [
        "",
        "<AccessControlPolicy",
        "<Other/>",
        "<AccessControlPolicy/>",
        policy(OWN, owner=""),
        policy(OWN, owner="<Owner/>"),
        policy("<Right/>"),
        policy("<Grant/>"),
        policy("<Grant><Grantee><ID>a1</ID></Grantee><Permission>READ</Permission></Grant>"),
        policy(grant("Robot", "<ID>a1</ID>", "FULL_CONTROL")),
        policy(grant("CanonicalUser", "<ID>a1</ID>", "EVERYTHING")),
        policy(grant("CanonicalUser", "<URI>a1</URI>", "FULL_CONTROL")),
        policy(OWN) + "x",
    ],
)
def test_what_is_no_list_is_malformed(document: str) -> None:
    assert code(document) == "MalformedACLError"
