"""Secrets of a command: from a file or a prompt, never from the command line, which other users can see."""

from __future__ import annotations

import os
import sys
from argparse import _ArgumentGroup
from pathlib import Path
from typing import Final

from dimse.cli.parser import UsageError
from dimse.upper_layer.items import MAXIMUM_IDENTITY

PROMPT: Final = "-"
"""In place of a file."""

MAXIMUM: Final = MAXIMUM_IDENTITY + 1
"""The bytes of a secret that are read: one more than any may have."""


def add_password_file(group: _ArgumentGroup, option: str, of_what: str) -> None:
    """Define an option for a password that `password` gets."""
    group.add_argument(
        option,
        metavar="FILE",
        help=f"File with the password of {of_what}; - prompts for it, or reads a line of standard input if that is not "
        "a terminal.",
    )


def read(option: str, path: str) -> bytes:
    """The content of the file that `option` names, up to `MAXIMUM` bytes. Raises `UsageError`."""
    try:
        with Path(path).open("rb") as file:
            return file.read(MAXIMUM)
    except OSError as error:
        raise UsageError(f"{option} {path}: {os.strerror(error.errno or 0)}") from None


def password(of_what: str, option: str, path: str) -> bytes:
    """The password in the file that `option` names, or that the user enters, without the line break of editors.

    Raises `UsageError`, also if it is empty.
    """
    found = _entered(of_what) if path == PROMPT else _without_line_break(read(option, path))
    if not found:
        raise UsageError(f"{option} {path}: the password must not be empty")
    return found


def _entered(of_what: str) -> bytes:
    if sys.stdin.isatty():
        from getpass import getpass  # slow to import

        try:
            return getpass(f"Password of {of_what}: ").encode("utf-8", "surrogateescape")
        except EOFError:  # Ctrl-D
            return b""
    # Unbuffered: what follows the line may be an object to send.
    with open(0, "rb", buffering=0, closefd=False) as standard_input:
        return _without_line_break(standard_input.readline(MAXIMUM))


def _without_line_break(secret: bytes) -> bytes:
    return secret.removesuffix(b"\n").removesuffix(b"\r")
