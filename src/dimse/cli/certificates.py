"""`dimse certificates`: makes a CA and two certificates, to try TLS with."""

from __future__ import annotations

import datetime
import os
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dimse.cli import arguments, exit_codes
from dimse.cli.output import print_error, print_line

if TYPE_CHECKING:
    from cryptography import x509

EXIT_CODES: Final = "0 the files were made; 1 they cannot be written; 2 wrong usage; 130 interrupted."

_HOSTS: Final = ["localhost", "127.0.0.1", "::1"]
_COMMENT: Final = "Made by dimse certificates, for tests only.\n"
_ROLES: Final = ("server", "client")
_FILES: Final = {f"{name}{end}": mode for name in ("ca", *_ROLES) for end, mode in ((".pem", 0o644), (".key", 0o600))}
"""The files that are made, and their modes: only the user may read keys."""


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="Folder for the files; created if missing.")
    parser.add_argument(
        "--host",
        metavar="NAME",
        dest="hosts",
        action="append",
        help="Host name or IP address of the certificates. Repeat the option for several. "
        f"[default: {', '.join(_HOSTS)}]",
    )
    parser.add_argument(
        "--days",
        metavar="N",
        type=arguments.integer_from(1, 3650),
        default=365,
        help="Number of days that the certificates are valid.",
    )


def certificates(folder: Path, *, hosts: list[str] | None, days: int) -> int:
    """Make a CA and certificates for a server and a client, to test TLS with.

    They are for tests: the keys are not protected, and nothing can be revoked. A hospital has a CA for real use.
    """
    if find_spec("cryptography") is None:
        print_error('dimse: this command needs cryptography; install it with: pip install "dimse[certificates]"')
        return exit_codes.USAGE
    with arguments.usage():
        if existing := [name for name in _FILES if (folder / name).exists()]:
            raise ValueError(f"{folder / existing[0]} exists, and nothing is overwritten; choose another folder")
        contents = _make(hosts or _HOSTS, days)
    folder.mkdir(parents=True, exist_ok=True)
    for name, mode in _FILES.items():
        _write(folder / name, contents[name], mode)
    _print(folder, hosts or _HOSTS, days)
    return exit_codes.OK


def _make(hosts: Sequence[str], days: int) -> dict[str, bytes]:
    """The contents of the files by name. Raises `ValueError` for what is not the name of a host."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    made: dict[str, bytes] = {}
    now = datetime.datetime.now(datetime.UTC)
    issuer_key, issuer = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    # Either may be the TLS server and the TLS client: the receiver of a C-MOVE is a server.
    uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    for name, common_name in (("ca", "dimse test CA"), *zip(_ROLES, _ROLES, strict=True)):
        is_ca = name == "ca"
        key = issuer_key if is_ca else ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        issuer = subject if is_ca else issuer
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), critical=True)
            .add_extension(_key_usage(is_ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        )
        if not is_ca:
            builder = builder.add_extension(names, critical=False).add_extension(uses, critical=False)
        certificate = builder.sign(issuer_key, hashes.SHA256())
        made[f"{name}.pem"] = certificate.public_bytes(Encoding.PEM)
        made[f"{name}.key"] = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made


def _general_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        if not host or not host.isascii() or not host.replace("-", "").replace(".", "").replace("*", "").isalnum():
            raise ValueError(f"--host {host!r} is neither a host name nor an IP address") from None
        return x509.DNSName(host)


def _key_usage(is_ca: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a new file. It has its mode from the beginning, as a key must never be readable by others."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - not a path
        file.write(_COMMENT.encode() + content)


def _print(folder: Path, hosts: Sequence[str], days: int) -> None:
    print_line(
        f"Made in {folder}, for {', '.join(hosts)}, valid for {days} days. For tests only: keep them out of real use."
    )
    for role, command in (
        ("server", "dimse receive --into received"),
        ("client", f"dimse echo {hosts[0] if ':' not in hosts[0] else f'[{hosts[0]}]'}"),
    ):
        pair = f"--tls-cert {folder / role}.pem --tls-key {folder / role}.key"
        print_line(f"  {role}: {command} --tls --tls-ca {folder / 'ca.pem'} {pair}")
