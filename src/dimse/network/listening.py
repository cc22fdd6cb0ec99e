"""Listening sockets, for IPv4 and IPv6 if the machine has both, and accepting their connections."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from dimse.address import host_and_port

logger = logging.getLogger("dimse.network")

_DUAL_STACK: Final = {
    "localhost": ("127.0.0.1", "::1"),
    "::": ("0.0.0.0", "::"),  # noqa: S104 - all interfaces, where the caller says so
    "": ("0.0.0.0", "::"),  # noqa: S104
}
"""Hosts that mean an address of each family."""

_MISSING: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
"""The errors of an operating system that lacks a family, or the address in it."""

BACKLOG: Final = 4096
"""Connections that the operating system keeps waiting to be accepted."""

_ACCEPTED_AT_ONCE: Final = 16
"""Connections that are accepted before others have their turn."""

_PAUSE: Final = 0.1
"""Seconds until the next attempt when the system cannot accept, as without a free descriptor."""

_SAY_AGAIN: Final = 60.0
"""Seconds between two log lines about that."""

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
        try:
            infos = await loop.getaddrinfo(name, 0, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise OSError(socket.EAI_NONAME, "it is not a host name") from None
        found |= {(family, str(address[0])): None for family, _, _, _, address in infos}
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


def cannot_listen(host: str, port: int, error: OSError) -> str:
    """Why an address cannot be listened on, and what to do, without the text of asyncio, which repeats the address."""
    why = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
    advice = _ADVICE.get(error.errno or 0, "")
    if error.errno == errno.EACCES and 0 < port < 1024:
        advice = "; on Linux, a port below 1024 needs root or CAP_NET_BIND_SERVICE"
    return f"cannot listen on {host_and_port(host, port)}: {why}{advice}"


_ADVICE: Final = {
    errno.EADDRINUSE: "; choose another port",
    errno.EADDRNOTAVAIL: "; the host must be an address of this machine",
}


class Listener:
    """Accepts connections on listening sockets.

    asyncio's own servers accept all that wait at once, and write a traceback each time when the process has
    no free descriptor. This one accepts a few at a time. While it cannot accept, peers wait, and one line says so.
    """

    def __init__(
        self,
        sockets: Iterable[socket.socket],
        welcomes: Callable[[str], bool],
        open_connection: Callable[[socket.socket], Coroutine[Any, Any, None]],
    ) -> None:
        """A connection is opened by a task, if its peer's host is welcome, and closed at once if not."""
        self._welcomes = welcomes
        self._open_connection = open_connection
        self._accepting: set[asyncio.Task[None]] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._said = float("-inf")
        """When the log was last told that nothing can be accepted."""
        for sock in sockets:
            # In a callback, as a task that is cancelled at once never runs.
            _start(self._accept(sock), self._accepting).add_done_callback(lambda _, sock=sock: sock.close())  # type: ignore[misc]

    async def close(self) -> None:
        """Stop listening. Then the port is free, and what was accepted is open."""
        for task in self._accepting:
            task.cancel()
        while running := self._accepting | self._opening:
            await asyncio.wait(running)

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                await self._accept_some(listening)
                await asyncio.sleep(0)
            except OSError as error:
                self._say(listening, error)
                await asyncio.sleep(_PAUSE)

    async def _accept_some(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPTED_AT_ONCE):
            connected, address = await loop.sock_accept(listening)
            if self._welcomes(address[0]):
                _start(self._open_connection(connected), self._opening)
            else:
                connected.close()

    def _say(self, listening: socket.socket, error: OSError) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._said >= _SAY_AGAIN:
            self._said = now
            where = host_and_port(*listening.getsockname()[:2])
            logger.error("%s: cannot accept connections, trying again: %s", where, error.strerror)


def _start(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> asyncio.Task[None]:
    """A task that is in `tasks` while it runs."""
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task
