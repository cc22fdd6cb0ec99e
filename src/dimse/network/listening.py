"""Sockets to listen on, IPv4 and IPv6 if the machine has both."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterable
from typing import Final

from dimse.address import host_and_port

_BOTH: Final = {
    "localhost": ("127.0.0.1", "::1"),
    "::": ("0.0.0.0", "::"),  # noqa: S104 - all interfaces, where the caller says so
    "": ("0.0.0.0", "::"),  # noqa: S104
}
"""Hosts that have an address in each family."""

_NOT_THERE: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
"""Errors of the operating system if it lacks a family, or an address of it."""

BACKLOG: Final = 1024
"""Connections that may wait to be taken."""

_TRIES: Final = 20
"""Attempts to find a port that is free in both families."""


async def listening_sockets(host: str, port: int) -> list[socket.socket]:
    """Listen on every address that `host` has here, all at one port; `port` 0 takes a free one.

    "localhost" is the loopback address, and "::" is every interface, of IPv4 and of IPv6. A family that this machine
    does not have is left out. Raises OSError where the port is taken.
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
    """(family, address) of each."""
    loop, found = asyncio.get_running_loop(), dict[tuple[int, str], None]()
    for name in _BOTH.get(host, (host,)):
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
                if error.errno not in _NOT_THERE:
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
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
        sock.bind((address, port))
        sock.listen(BACKLOG)  # before another socket is bound: the port is taken only now
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"{host_and_port(address, port)}: {error.strerror}") from error
    except BaseException:
        sock.close()
        raise
    return sock
