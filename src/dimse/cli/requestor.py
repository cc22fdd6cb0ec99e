"""The options of an association that a command requests."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from dimse.cli import arguments, identity_options, tls_options
from dimse.options import ClientOptions, Strictness, Timeouts


def add_arguments(parser: ArgumentParser, strictness: Strictness = Strictness.STRICT) -> None:
    """Define them. A command takes them as keyword arguments, and passes them on to `options`."""
    parser.add_argument("--calling", metavar="TITLE", default="DIMSE", help="Our AE title.")
    arguments.add_strictness(parser, strictness)
    arguments.add_audit(parser)
    tls_options.add_arguments(parser, "the peer", "the CAs of the system", with_name=True)
    identity_options.add_arguments(parser)


def options(
    *,
    calling: str,
    strictness: Strictness,
    timeout: float | None,
    user: str | None,
    password_file: str | None,
    saml_file: str | None,
    jwt_file: str | None,
    kerberos_file: str | None,
    **more: Any,
) -> ClientOptions:
    """What they say. `timeout`, if given, replaces the default timeouts. Raises `ValueError`."""
    timeouts = Timeouts() if timeout is None else Timeouts.all(timeout)
    identity = identity_options.identity(
        user=user, password_file=password_file, saml_file=saml_file, jwt_file=jwt_file, kerberos_file=kerberos_file
    )
    tls = tls_options.take(more)
    return ClientOptions(
        calling_ae_title=calling, strictness=strictness, timeouts=timeouts, user_identity=identity, tls=tls, **more
    )
