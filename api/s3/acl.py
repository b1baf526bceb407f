"""Access control lists, of which there is one: the owner has full control, and nobody else has any. Pure.

Source: S3, 'Access control list (ACL) overview' and 'Controlling ownership of objects and disabling ACLs' (bucket owner
enforced). It can be read, and written as it is; any other is refused.
"""

from api.access.decisions import Principal
from api.s3 import xml
from api.s3.owners import owner
from api.s3.refusals import no_acl
from cluster.errors import Refused

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_PERMISSIONS = frozenset({"FULL_CONTROL", "WRITE", "WRITE_ACP", "READ", "READ_ACP"})
_GRANTEES = frozenset({"CanonicalUser", "AmazonCustomerByEmail", "Group"})


def private_policy(owner_id: str, asking: Principal) -> bytes:
    """The `AccessControlPolicy` document of what `owner_id` owns."""
    inner = owner(owner_id, asking).removeprefix("<Owner>").removesuffix("</Owner>")
    grantee = f'<Grantee xmlns:xsi="{_XSI}" xsi:type="CanonicalUser">{inner}</Grantee>'
    grant = xml.group("Grant", grantee, xml.element("Permission", "FULL_CONTROL"))
    return xml.document("AccessControlPolicy", [owner(owner_id, asking), xml.group("AccessControlList", grant)])


def require_private(body: bytes, owner_id: str) -> None:
    """Raises Refused: MalformedACLError for what is no policy, AccessControlListNotSupported for any but the one."""
    try:
        grants = _grants(xml.parse(body, "AccessControlPolicy"), owner_id)
    except Refused as error:
        if error.code != "MalformedXML":
            raise
        raise Refused("MalformedACLError", error.message) from None
    if grants != [("CanonicalUser", owner_id, "FULL_CONTROL")]:
        raise no_acl(", ".join(f"{permission} for {who}" for _, who, permission in grants) or "no grant at all")


def _grants(policy: xml.Node, owner_id: str) -> list[tuple[str, str, str]]:
    """Type and name of each grantee, and what it gets."""
    xml.known(policy, "Owner", "AccessControlList")
    named = xml.required(xml.required(policy, "Owner"), "ID").text
    if named != owner_id:
        raise no_acl(f"the owner {named}")
    listed = xml.required(policy, "AccessControlList")
    xml.known(listed, "Grant")
    return [_grant(grant) for grant in listed.children]


def _grant(grant: xml.Node) -> tuple[str, str, str]:
    xml.known(grant, "Grantee", "Permission")
    grantee, permission = xml.required(grant, "Grantee"), xml.required(grant, "Permission").text
    kind = grantee.attributes.get("type", "")
    if kind not in _GRANTEES:
        raise xml.malformed(f"a Grantee's type is one of {', '.join(sorted(_GRANTEES))}, not {kind[:40]!r}")
    if permission not in _PERMISSIONS:
        raise xml.malformed(f"a Permission is one of {', '.join(sorted(_PERMISSIONS))}, not {permission[:40]!r}")
    name = {"CanonicalUser": "ID", "AmazonCustomerByEmail": "EmailAddress", "Group": "URI"}[kind]
    return kind, xml.required(grantee, name).text, permission
