"""Ports for what a test starts later."""

from __future__ import annotations

import contextlib
import secrets
import socket


def free_port() -> int:
    """A port of the loopback address that nobody listens on, and that no connection of another test is given.

    The system assigns ports above 32767 to connecting sockets, on Linux, and from 49152 elsewhere.
    """
    while True:
        port = 10_000 + secrets.randbelow(22_768)  # not `random`, which hypothesis seeds for all alike
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
