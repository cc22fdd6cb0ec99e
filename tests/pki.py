"""Certificates for tests: a CA, certificates that are good, and those that are not."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)
PASSWORD = "secret"  # noqa: S105 - of a key that protects nothing
LOCAL = ("localhost", "127.0.0.1", "::1")
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def write_key(path: Path, key: Key, password: str | None = None) -> None:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password.encode())
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(pem, pkcs8, encryption))


class Authority:
    """A CA in a folder: `<name>.pem`, and what it issues."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(name)
        self.serials: dict[str, int] = {}
        self.issue(name, key=self.key, names=(), is_ca=True)

    def issue(
        self,
        name: str,
        *,
        key: Key | None = None,
        names: tuple[str, ...] = LOCAL,
        begins: datetime.timedelta = -DAY,
        ends: datetime.timedelta = DAY,
        is_ca: bool = False,
        use: Any = None,
        self_signed: bool = False,
    ) -> None:
        """Write `<name>.pem` and `<name>.key`."""
        own = key or ec.generate_private_key(ec.SECP256R1())
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(name) if self_signed else self.name)
            .public_key(own.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + begins)
            .not_valid_after(NOW + ends)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(map(_general_name, names)), critical=False)
        if use is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        made = builder.sign(own if self_signed else self.key, hashes.SHA256())
        self.serials[name] = made.serial_number
        (self.folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        write_key(self.folder / f"{name}.key", own)

    def revoke(self, path: Path, *revoked: str, ends: datetime.timedelta = DAY) -> None:
        """Write a CRL."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name)
        builder = builder.last_update(NOW - 2 * DAY).next_update(NOW + ends)
        for name in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(self.serials[name]).revocation_date(NOW - DAY)
            builder = builder.add_revoked_certificate(entry.build())
        path.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def make(folder: Path) -> Authority:
    """All that the tests use. Each name has a .pem and a .key."""
    ca, other = Authority(folder, "ca"), Authority(folder, "other-ca")
    for name in ("server", "client", "revoked"):
        ca.issue(name)
    ca.issue("expired", begins=-2 * DAY, ends=-DAY)
    ca.issue("future", begins=DAY, ends=2 * DAY)
    ca.issue("elsewhere", names=("pacs.example.org", "10.0.0.7"))
    ca.issue("client-only", use=ExtendedKeyUsageOID.CLIENT_AUTH)
    ca.issue("server-only", use=ExtendedKeyUsageOID.SERVER_AUTH)
    ca.issue("self-signed", self_signed=True)
    ca.issue("rsa", key=rsa.generate_private_key(65537, 2048))
    other.issue("stranger")
    ca.revoke(folder / "crl.pem", "revoked")
    ca.revoke(folder / "crl-of-client.pem", "client")
    ca.revoke(folder / "old-crl.pem", ends=-DAY)
    other.revoke(folder / "other-crl.pem")
    key = serialization.load_pem_private_key((folder / "client.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    write_key(folder / "encrypted.key", key, PASSWORD)
    return ca
