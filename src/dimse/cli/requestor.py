"""The options of an association that a command requests."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import replace
from typing import Any

from dimse.cli import arguments, identity_options, tls_options
from dimse.cli.parser import ConfigurationError
from dimse.configuration import KnownPeer
from dimse.options import ClientOptions, Strictness, Timeouts


def add_arguments(parser: ArgumentParser, strictness: Strictness = Strictness.STRICT) -> None:
    """Define them. A command takes them as keyword arguments, and passes them on to `options`.

    What is not given comes from the configuration of the peer, or else is `strictness` or another default.
    """
    parser.add_argument("-c", "--calling", metavar="TITLE", help="Our AE title. [default: $DIMSE_CALLING or DIMSE]")
    arguments.add_strictness(parser, strictness)
    parser.set_defaults(strictness=None, default_strictness=strictness)
    arguments.add_audit(parser)
    tls_options.add_arguments(parser, "the peer", "the CAs of the system", with_name=True)
    identity_options.add_arguments(parser)


def options(
    *,
    peer: KnownPeer,
    calling: str | None,
    strictness: Strictness | None,
    default_strictness: Strictness,
    timeout: float | None,
    default_timeout: float | None = None,
    user: str | None,
    password_file: str | None,
    saml_file: str | None,
    jwt_file: str | None,
    kerberos_file: str | None,
    **more: Any,
) -> ClientOptions:
    """What they say, what the configuration of the peer says, and defaults, in this order.

    `timeout`, if given, replaces all timeouts, and `default_timeout` the default ones. Of other options, None is not
    given. Raises `ValueError`, or `UsageError`.
    """
    built_in = ClientOptions(strictness=default_strictness, timeouts=_timeouts(default_timeout))
    try:
        known = peer.options_over(built_in)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    identity = identity_options.identity(
        user=user, password_file=password_file, saml_file=saml_file, jwt_file=jwt_file, kerberos_file=kerberos_file
    )
    given = {
        "calling_ae_title": calling,
        "strictness": strictness,
        "timeouts": None if timeout is None else _timeouts(timeout),
        "user_identity": identity,
        "tls": tls_options.take(more, known.tls),
        **more,
    }
    return replace(known, **{name: value for name, value in given.items() if value is not None})


def _timeouts(seconds: float | None) -> Timeouts:
    return Timeouts() if seconds is None else Timeouts.all(seconds)
