"""The user identity of an association that a command requests (PS3.7 D.3.3.7). Secrets come from files or a prompt."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dimse.cli.arguments import UsageError
from dimse.upper_layer.items import MAXIMUM_IDENTITY, UserIdentityRQ

_PROMPT: Final = "-"
_KINDS: Final[dict[str, tuple[str, Callable[[bytes], UserIdentityRQ]]]] = {
    "saml": ("SAML assertion", UserIdentityRQ.saml),
    "jwt": ("JSON Web Token", lambda token: UserIdentityRQ.jwt(token.rstrip())),
    "kerberos": ("Kerberos service ticket", UserIdentityRQ.kerberos),
}


def add_arguments(parser: ArgumentParser) -> None:
    """Define them."""
    parser.add_argument(
        "--user", metavar="NAME", help="User to name to the peer; with --password-file also that user's password."
    )
    for kind, (what, _) in _KINDS.items():
        parser.add_argument(f"--{kind}-file", metavar="FILE", help=f"File with the user's {what}.")
    parser.add_argument(
        "--password-file",
        metavar="FILE",
        help="File with the password of --user; - prompts for it, or reads a line of standard input if that is no "
        "terminal. Only TLS keeps it secret.",
    )


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
        return UserIdentityRQ.username_and_passcode(user, _password(user, password_file))
    for kind, path in (("saml", saml_file), ("jwt", jwt_file), ("kerberos", kerberos_file)):
        if path is not None:
            return _KINDS[kind][1](_read(f"--{kind}-file", path))
    return None


def _password(user: str, path: str) -> bytes:
    """The password, without the line break that editors add."""
    if path != _PROMPT:
        return _without_line_break(_read("--password-file", path))
    if sys.stdin.isatty():
        from getpass import getpass  # slow to import

        return getpass(f"Password of {user}: ").encode("utf-8", "surrogateescape")
    # Unbuffered: what follows the line may be an object to send.
    with open(0, "rb", buffering=0, closefd=False) as standard_input:
        return _without_line_break(standard_input.readline(MAXIMUM_IDENTITY + 1))


def _without_line_break(secret: bytes) -> bytes:
    return secret.removesuffix(b"\n").removesuffix(b"\r")


def _read(option: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(MAXIMUM_IDENTITY + 1)
    except OSError as error:
        raise UsageError(f"{option} {path}: {os.strerror(error.errno or 0)}") from None
