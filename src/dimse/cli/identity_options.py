"""The user identity of an association that a command requests (PS3.7 D.3.3.7). Secrets come from files or a prompt."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Final

from dimse.cli import secrets
from dimse.cli.parser import UsageError
from dimse.upper_layer.items import UserIdentityRQ

_KINDS: Final[dict[str, tuple[str, Callable[[bytes], UserIdentityRQ]]]] = {
    "saml": ("SAML assertion", UserIdentityRQ.saml),
    "jwt": ("JSON Web Token", lambda token: UserIdentityRQ.jwt(token.rstrip())),
    "kerberos": ("Kerberos service ticket", UserIdentityRQ.kerberos),
}


def add_arguments(parser: ArgumentParser) -> None:
    """Define them."""
    group = parser.add_argument_group("user identity", "It is sent to the peer. Only TLS keeps it secret.")
    group.add_argument("--user", metavar="NAME", help="Name of the user.")
    secrets.add_password_file(group, "--password-file", "--user")
    for kind, (what, _) in _KINDS.items():
        group.add_argument(f"--{kind}-file", metavar="FILE", help=f"File with the user's {what}, instead of --user.")


def identity(
    *,
    user: str | None,
    password_file: str | None,
    saml_file: str | None,
    jwt_file: str | None,
    kerberos_file: str | None,
) -> UserIdentityRQ | None:
    """What they say. Raises `UsageError` or `ValueError`, neither with a secret in its text."""
    given = {"--user": user, "--saml-file": saml_file, "--jwt-file": jwt_file, "--kerberos-file": kerberos_file}
    named = [option for option, value in given.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} name different users; give one of them")
    if password_file is not None and user is None:
        raise UsageError("--password-file needs --user")
    if user is not None:
        if password_file is None:
            return UserIdentityRQ.username(user)
        return UserIdentityRQ.username_and_passcode(user, secrets.password(user, "--password-file", password_file))
    for kind, path in (("saml", saml_file), ("jwt", jwt_file), ("kerberos", kerberos_file)):
        if path is not None:
            return _KINDS[kind][1](secrets.read(f"--{kind}-file", path))
    return None
