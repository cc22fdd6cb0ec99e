"""Listening sockets, for IPv4 and IPv6 if the machine has both."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterable
from typing import Final

from dimse.address import host_and_port

_DUAL_STACK: Final = {
    "localhost": ("127.0.0.1", "::1"),
    "::": ("0.0.0.0", "::"),  # noqa: S104 - all interfaces, where the caller says so
    "": ("0.0.0.0", "::"),  # noqa: S104
}
"""Hosts that mean an address of each family."""

_MISSING: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
"""The errors of an operating system that lacks a family, or the address in it."""

BACKLOG: Final = 1024
"""Connections that the operating system keeps waiting to be accepted."""

_TRIES: Final = 20
"""Attempts to find a port that is free in both families, if the caller wants any."""


async def listening_sockets(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of `host`, all at the same port; `port` 0 picks a free one.

    "localhost" means the loopback address and "::" every interface, of IPv4 and of IPv6. A family that this machine
    lacks is left out. Raises OSError if the port is in use.
    """
    addresses = await _addresses(host)
    for _ in range(_TRIES - 1):
        try:
            return _listen(addresses, port)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE:
                raise
    return _listen(addresses, port)


async def _addresses(host: str) -> list[tuple[int, str]]:
    """The (family, address) pairs of `host`."""
    loop = asyncio.get_running_loop()
    found: dict[tuple[int, str], None] = {}
    for name in _DUAL_STACK.get(host, (host,)):
        for family, _, _, _, address in await loop.getaddrinfo(name, 0, type=socket.SOCK_STREAM):
            found[family, str(address[0])] = None
    return list(found)


def _listen(addresses: Iterable[tuple[int, str]], port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: list[OSError] = []
    try:
        for family, address in addresses:
            try:
                sockets.append(_listener(family, address, port))
            except OSError as error:
                if error.errno not in _MISSING:
                    raise
                missing.append(error)
            else:
                port = sockets[0].getsockname()[1]
    except BaseException:
        for each in sockets:
            each.close()
        raise
    if not sockets:
        raise missing[0]
    return sockets


def _listener(family: int, address: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has its own socket
        sock.bind((address, port))
        sock.listen(BACKLOG)  # at once: only now is the port in use for others
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"{host_and_port(address, port)}: {error.strerror}") from error
    except BaseException:
        sock.close()
        raise
    return sock
