"""Who a node is, how its peers know, the root key, and the key under which users' secrets are sealed.

The cluster has a CA of its own. Each node has a certificate with its name as the only DNS name; on TCP both ends show
theirs (TLS 1.3), and a peer's name is what its certificate says, never what it says itself. Python 3.13 checks
strictly (RFC 5280): key identifiers and usages are there. Files of keys are 0600 and written whole or not at all.
"""

import os
import secrets
import ssl
from collections.abc import Buffer
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster.config import Config, TcpAddress, address
from cluster.errors import Refused

_VALID = timedelta(days=20 * 365)
"""Chosen: nodes are made to run for years, and there is no renewal yet."""

CLUSTER_KEY_BYTES = 32

OPERATOR_NAME = "operator"
"""What a command calls itself where names are not certified."""

_ACCESS_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Cluster, own name, and the TLS contexts for TCP (None: this node speaks over Unix sockets only)."""

    cluster_id: str
    name: str
    server_context: ssl.SSLContext | None = None
    client_context: ssl.SSLContext | None = None


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key: the root's, or one that is being made."""

    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return f"Credentials({self.access_key!r}, [hidden])"


def load_identity(config: Config, name: str) -> NodeIdentity:
    """The identity of one of the configuration's nodes; TLS files are read if any node is reached by TCP.

    Raises Refused (BadKeys) with the file that is missing or wrong.
    """
    if not speaks_tcp(config):
        return NodeIdentity(config.cluster_id, name)
    return tls_identity(config.path(config.identity.tls), config.cluster_id, name)


def operator_identity(config: Config) -> NodeIdentity:
    """Who a command is that a person runs on one of the cluster's hosts: over TCP, the first node whose keys are there,
    members before all others, for some commands are theirs alone, and chunk daemons last: most are not theirs.

    Raises Refused (BadKeys).
    """
    if not speaks_tcp(config):
        return NodeIdentity(config.cluster_id, OPERATOR_NAME)
    folder = config.path(config.identity.tls)
    for node in sorted(config.nodes, key=lambda node: node in config.chunkd):  # stable: members are the first
        if (folder / f"{node.name}.key").exists():
            return tls_identity(folder, config.cluster_id, node.name)
    raise Refused("BadKeys", f"{folder} holds the keys of no node; run this on a host of the cluster")


def speaks_tcp(config: Config) -> bool:
    """Whether any node is reached by TCP, so that all have keys."""
    texts = [text for member in config.member for text in (member.listen, member.dial or member.listen)]
    texts += [text for node in config.chunkd for text in (node.listen, node.dial or node.listen)]
    return any(isinstance(address(text, config.base), TcpAddress) for text in texts)


def tls_identity(folder: Path, cluster_id: str, name: str) -> NodeIdentity:
    """The identity of a node whose `NAME.pem`, `NAME.key` and `ca.pem` lie in a folder. Raises Refused (BadKeys)."""
    key = folder / f"{name}.key"
    try:
        if key.stat().st_mode & 0o077:
            raise Refused("BadKeys", f"{key} can be read by others; its mode must be 0600")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the name
        for context in (server, client):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.verify_mode = ssl.CERT_REQUIRED
            context.verify_flags |= ssl.VERIFY_X509_STRICT
            context.load_verify_locations(folder / "ca.pem")
            context.load_cert_chain(folder / f"{name}.pem", key)
        server.num_tickets = 0  # connections are kept; a resumed one would show no certificate chain
    except (OSError, ssl.SSLError) as error:
        raise Refused("BadKeys", f"the keys of {name} in {folder} cannot be used: {error}") from error
    return NodeIdentity(cluster_id, name, server, client)


def peer_name(certificate: bytes | None) -> str:
    """The node's name in a verified certificate (DER). Raises Refused (BadCertificate)."""
    if certificate is None:
        raise Refused("BadCertificate", "the peer showed no certificate")
    found = x509.load_der_x509_certificate(certificate)
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise Refused("BadCertificate", "the peer's certificate has no name") from error
    if len(names) != 1 or not isinstance(names[0], x509.DNSName):
        raise Refused("BadCertificate", f"the peer's certificate has {len(names)} names; it must have one DNS name")
    return str(names[0].value)


def make_ca(folder: Path, cluster_id: str) -> None:
    """Make the cluster's CA: `ca.pem` and `ca.key`. One that is there is kept."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (folder / "ca.key").exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Trilith cluster {cluster_id}"[:64])])
    certificate = (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(folder / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    _write(folder / "ca.key", _pem(key), 0o600)


def make_node_certificate(folder: Path, name: str) -> None:
    """Make a node's `NAME.pem` and `NAME.key`, signed by the folder's CA. A key that is there is kept.

    Raises Refused (BadName, NoAuthority).
    """
    if not name.isascii() or not name.replace("-", "").isalnum() or len(name) > 63:
        raise Refused("BadName", f"node name {name!r} cannot be certified: 1 to 63 letters, digits and hyphens")
    if (folder / f"{name}.pem").exists() and (folder / f"{name}.key").exists():
        return
    try:
        issuer = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        issuer_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    except (OSError, ValueError) as error:
        raise Refused("NoAuthority", f"{folder} holds no usable ca.pem and ca.key: {error}") from error
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise Refused("NoAuthority", f"{folder / 'ca.key'} is no elliptic curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(subject, issuer.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    _write(folder / f"{name}.key", _pem(key), 0o600)
    _write(folder / f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def random_credentials() -> Credentials:
    """A new access key of 20 letters and digits with a secret of 40 characters: the shape that Amazon's have."""
    access = "".join(secrets.choice(_ACCESS_ALPHABET) for _ in range(20))
    return Credentials(access, secrets.token_urlsafe(30))


def make_credentials(path: Path) -> Credentials:
    """Make a random root key and write its file. Raises Refused (CredentialsExist): a key is never replaced here."""
    if path.exists():
        raise Refused("CredentialsExist", f"{path} is there already")
    credentials = random_credentials()
    _write_credentials(path, credentials)
    return credentials


def _write_credentials(path: Path, credentials: Credentials) -> None:
    _write(path, msgspec.json.format(msgspec.json.encode(credentials), indent=2) + b"\n", 0o600)


def read_credentials(path: Path) -> Credentials:
    """Read the root key. Raises Refused (NoKeys); the message never holds a part of the file."""
    try:
        if path.stat().st_mode & 0o077:
            raise Refused("NoKeys", f"{path} can be read by others; its mode must be 0600")
        found = msgspec.json.decode(path.read_bytes(), type=Credentials)
    except OSError as error:
        raise Refused("NoKeys", f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refused("NoKeys", f"{path} is not a JSON object with access_key and secret_key") from None
    if not found.access_key or not found.secret_key:
        raise Refused("NoKeys", f"{path} holds an empty key")
    return found


def bring_credentials(source: Path, path: Path) -> None:
    """Put the root key of another cluster in place. Raises Refused (NoKeys), or (KeyDiffers) if one is there."""
    wanted = read_credentials(source)
    if path.exists():
        if read_credentials(path) != wanted:
            raise Refused("KeyDiffers", f"{path} holds another root key than {source}; move one of them away")
        return
    _write_credentials(path, wanted)


def bring_cluster_key(source: Path, path: Path) -> None:
    """Put the cluster key of another cluster in place. Raises Refused (NoClusterKey), or (KeyDiffers) if one is
    there."""
    wanted = read_cluster_key(source)
    if path.exists():
        if read_cluster_key(path) != wanted:
            raise Refused("KeyDiffers", f"{path} holds another cluster key than {source}; move one of them away")
        return
    _write(path, wanted.hex().encode() + b"\n", 0o600)


def make_cluster_key(path: Path) -> None:
    """Make a random cluster key and write its file. Raises Refused (ClusterKeyExists): what was sealed with another
    could never be opened again."""
    if path.exists():
        raise Refused("ClusterKeyExists", f"{path} is there already")
    _write(path, secrets.token_hex(CLUSTER_KEY_BYTES).encode() + b"\n", 0o600)


def read_cluster_key(path: Path) -> bytes:
    """Read the cluster key. Raises Refused (NoClusterKey); the message never holds a part of the file."""
    try:
        if path.stat().st_mode & 0o077:
            raise Refused("NoClusterKey", f"{path} can be read by others; its mode must be 0600")
        found = bytes.fromhex(path.read_text("ascii"))
    except FileNotFoundError as error:
        raise Refused(
            "NoClusterKey",
            f"{path} is missing; `trilith init` and `trilith up` make it, and each host with an API has the same",
        ) from error
    except OSError as error:
        raise Refused("NoClusterKey", f"{path} cannot be read: {error.strerror}") from error
    except ValueError:
        found = b""
    if len(found) != CLUSTER_KEY_BYTES:
        raise Refused("NoClusterKey", f"{path} is not a cluster key: {2 * CLUSTER_KEY_BYTES} hex digits")
    return found


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # hosts' clocks differ
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: Buffer, mode: int) -> None:
    """Write a file whole, synced, with its folder: a crash leaves the old state or the new one."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
