"""The TLS options of a command."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import replace
from ssl import SSLContext
from typing import Any, Final

from dimse.cli import arguments, secrets
from dimse.cli.parser import UsageError
from dimse.tls import TLSOptions, TLSProfile

_PROFILES: Final = {profile.value: profile for profile in TLSProfile}


def add_arguments(parser: ArgumentParser, peer: str, without_ca: str, *, with_name: bool = False) -> None:
    """Define them. `peer` is whose certificate --tls-ca verifies, `without_ca` what holds without it."""
    group = parser.add_argument_group("TLS", "Files are in PEM.")
    group.add_argument("--tls", action="store_true", help="Require TLS.")
    group.add_argument(
        "--tls-ca", metavar="FILE", help=f"CAs that verify the certificate of {peer}. [default: {without_ca}]"
    )
    group.add_argument("--tls-cert", metavar="FILE", help="Our certificate and intermediate CAs.")
    group.add_argument("--tls-key", metavar="FILE", help="Key of our certificate. [default: in --tls-cert]")
    secrets.add_password_file(group, "--tls-password-file", "the key")
    group.add_argument("--tls-crl", metavar="FILE", help="Certificate revocation lists of all CAs.")
    group.add_argument(
        "--tls-profile",
        metavar="NAME",
        type=arguments.one_of(_PROFILES),
        help=f"Profile of PS3.15: {', '.join(_PROFILES)}. [default: {TLSProfile.BCP195.value}]",
    )
    if with_name:
        group.add_argument(
            "--tls-name", metavar="NAME", help="Name that the certificate of the peer must have. [default: HOST]"
        )


_FIELDS: Final = {
    "tls_ca": "ca",
    "tls_cert": "certificate",
    "tls_key": "key",
    "tls_crl": "crl",
    "tls_profile": "profile",
    "tls_name": "server_name",
}
"""The fields of `TLSOptions` by their arguments."""


def take(association: dict[str, Any], known: TLSOptions | SSLContext | None = None) -> TLSOptions | None:
    """Remove them from the arguments of a command, and return what they say, over what is `known` of the peer.

    Raises `UsageError`, or `ValueError` for a combination that makes no sense.
    """
    is_used = association.pop("tls")
    names = [name for name in association if name.startswith("tls_")]
    given = {name: value for name in names if (value := association.pop(name)) is not None}
    base = known if isinstance(known, TLSOptions) else TLSOptions() if is_used else None
    if base is None:
        if given:
            raise UsageError(f"{_option(next(iter(given)))} needs --tls")
        return None
    return replace(base, **_changes(given))


def _changes(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of `TLSOptions` that the given arguments set."""
    if "tls_cert" not in given and (owned := given.keys() & {"tls_key", "tls_password_file"}):
        raise UsageError(f"{_option(min(owned))} needs --tls-cert")
    changes = {_FIELDS[name]: value for name, value in given.items() if name in _FIELDS}
    if "tls_cert" in given:  # another certificate has another key
        changes = {"key": None, "password": None} | changes
    if (file := given.get("tls_password_file")) is not None:
        key = given.get("tls_key", given["tls_cert"])
        changes["password"] = secrets.password(key, "--tls-password-file", file).decode("utf-8", "surrogateescape")
    return changes


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
