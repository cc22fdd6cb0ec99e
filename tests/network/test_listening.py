"""Where a server listens, and how addresses are printed."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from typing import Any, Final

import pytest

from dimse import CEchoSCU, ConnectionLost, Server, connect
from dimse.network.association import exchange_of
from dimse.network.listening import cannot_listen, listening_sockets


def listens_at(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("port", "number", "said"),
    [
        (104, errno.EACCES, "a:104: Permission denied; on Linux, a port below 1024 needs root or CAP_NET_BIND_SERVICE"),
        (11112, errno.EACCES, "a:11112: Permission denied"),
        (104, errno.EADDRINUSE, "a:104: Address already in use; choose another port"),
        (104, errno.EADDRNOTAVAIL, "requested address; the host must be an address of this machine"),
        (104, socket.EAI_NONAME, "a:104: no such name"),
    ],
)
def test_why_an_address_cannot_be_listened_on(port: int, number: int, said: str) -> None:
    assert cannot_listen("a", port, OSError(number, "no such name")).endswith(said)


async def test_what_is_no_host_name() -> None:
    with pytest.raises(OSError, match="not a host name"):
        await listening_sockets("a..b", 0)


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("localhost", {"127.0.0.1", "::1"}),
        ("::", {"127.0.0.1", "::1"}),
        ("[::]", {"127.0.0.1", "::1"}),
        ("", {"127.0.0.1", "::1"}),
        ("127.0.0.1", {"127.0.0.1"}),
        ("0.0.0.0", {"127.0.0.1"}),  # noqa: S104
        ("::1", {"::1"}),
    ],
)
async def test_both_families_at_one_port(host: str, addresses: set[str]) -> None:
    async with Server(host=host, port=0) as server:
        assert {each for each in ("127.0.0.1", "::1") if listens_at(each, server.port)} == addresses


async def test_without_a_host_it_is_the_loopback_address() -> None:
    async with Server(port=0) as server:
        for host in ("127.0.0.1", "[::1]"):
            async with connect(f"DIMSE@{host}:{server.port}") as association:
                await CEchoSCU(association).echo()
                assert exchange_of(association).connection.peer_name == f"{host}:{server.port}"


async def test_a_family_that_is_not_there_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    make = socket.socket

    def only_ipv4(family: int = socket.AF_INET, *arguments: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")
        return make(family, *arguments)

    monkeypatch.setattr("dimse.network.listening.socket.socket", only_ipv4)
    [sock] = await listening_sockets("localhost", 0)
    assert sock.family == socket.AF_INET
    sock.close()
    with pytest.raises(OSError, match="no IPv6"):
        await listening_sockets("::1", 0)


@pytest.mark.parametrize("taken", [0, 1])
async def test_a_port_that_is_taken_in_one_family(taken: int) -> None:
    sockets = await listening_sockets("localhost", 0)
    port = sockets[0].getsockname()[1]
    sockets[1 - taken].close()
    with pytest.raises(OSError, match="in use"):
        await listening_sockets("localhost", port)
    sockets[taken].close()
    for each in await listening_sockets("localhost", port):  # nothing was left open
        each.close()


async def test_a_free_port_is_free_in_both_families(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::1", 0))
        taken.listen()
        port, asked = taken.getsockname()[1], socket.socket.bind
        first = [port]

        class Unlucky(socket.socket):
            """The kernel's first choice for IPv4 is a port that IPv6 has in use."""

            def bind(self, address: Any) -> None:
                if self.family == socket.AF_INET and first:
                    address = ("127.0.0.1", first.pop())
                asked(self, address)

        monkeypatch.setattr("dimse.network.listening.socket.socket", Unlucky)
        sockets = await listening_sockets("localhost", 0)
    assert len({each.getsockname()[1] for each in sockets} - {port}) == 1
    assert len(sockets) == 2
    for each in sockets:
        each.close()


async def test_ipv6_addresses_stand_in_brackets() -> None:
    async with Server(port=0) as server:
        port = server.port
    with pytest.raises(ConnectionLost, match=rf"cannot connect to .*@\[::1\]:{port}"):
        async with connect(f"DIMSE@[::1]:{port}"):
            pass


_FLOODED: Final = """
import asyncio, contextlib, errno, logging, resource, socket, sys
from dimse import CEchoSCU, Server, ServerOptions, connect

lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logging.getLogger().addHandler(handler)
CONTEXTS = [("1.2.840.10008.1.1", ["1.2.840.10008.1.2"])]

async def main():
    options = ServerOptions(maximum_connections_per_second=None, maximum_associations_per_host=None)
    async with Server(port=0, options=options) as server:
        address = f"DIMSE@127.0.0.1:{server.port}"
        async with connect(address, contexts=CONTEXTS) as association:
            sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
            resource.setrlimit(resource.RLIMIT_NOFILE, (60, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            with contextlib.suppress(OSError):
                while True:
                    sockets.append(socket.socket())
            sockets.pop().close()
            sockets.append(waiting := socket.socket())
            waiting.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(waiting, ("127.0.0.1", server.port))
            while not lines:
                await asyncio.sleep(0)
            for _ in range(100):
                await CEchoSCU(association).echo()
            for each in sockets:
                each.close()
            async with connect(address, contexts=CONTEXTS) as other:
                await CEchoSCU(other).echo()
    print(lines)

if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""
"""A server whose process opens descriptors until there are no more, and one more peer connects."""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on descriptors")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_without_descriptors_it_waits_quietly_and_goes_on(loop: str) -> None:
    command = [sys.executable, "-c", _FLOODED, loop]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - ours
    assert ended.stderr == ""
    [line] = ended.stdout.splitlines()
    assert line.count("cannot accept connections, trying again: Too many open files") == 1
    assert len(line) < 200
