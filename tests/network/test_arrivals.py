"""Connections that ask for nothing shut out nobody but themselves, and TLS handshakes under way cost little."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.certificate import contexts_in
from tests.sample_objects import IMPLICIT, VERIFICATION

from dimse import CEchoSCU, ClientOptions, Server, ServerOptions, connect
from dimse.network.arrivals import MAXIMUM_HOSTS, ArrivalRate, Arrivals, holder
from dimse.testing import ScriptedPeer, associate_request

CONTEXTS = [(VERIFICATION, [IMPLICIT])]


class Arrival:
    def __init__(self, peer_host: str) -> None:
        self.peer_host = peer_host
        self.is_closed = False

    def kill(self) -> None:
        self.is_closed = True


def closed(arrivals: list[Arrival]) -> list[int]:
    return [number for number, each in enumerate(arrivals) if each.is_closed]


@pytest.mark.parametrize(
    ("most_per_host", "hosts", "gone"),
    [
        (3, "aaaa", [0]),
        (3, "aabbaa", [0]),
        (None, "baaaab", [1]),
        (None, "babababa", [0, 1, 2]),
        (None, "aaaaab", [0]),
    ],
)
def test_the_oldest_of_the_biggest_holder_goes_first(most_per_host: int | None, hosts: str, gone: list[int]) -> None:
    arrivals, made = Arrivals(5, most_per_host), [Arrival(host) for host in hosts]
    for each in made:
        arrivals.add(each)
    assert closed(made) == gone


def test_what_has_an_association_does_not_count() -> None:
    arrivals, made = Arrivals(2, None), [Arrival("a") for _ in range(4)]
    for each in made:
        arrivals.add(each)
        arrivals.add(each)
        arrivals.discard(each)
        arrivals.discard(each)
    assert closed(made) == []
    for each in made[:2] * 5:
        arrivals.add(each)
    assert closed(made) == []


def test_the_addresses_of_an_ipv6_network_count_as_one_host() -> None:
    assert holder("10.0.0.1") == "10.0.0.1"
    assert holder("2001:db8:1:2::1") == holder("2001:db8:1:2:a:b:c:d") != holder("2001:db8:1:3::1")
    assert holder("fe80::1%eth0") == holder("fe80::2")


def test_a_host_has_its_connections_of_a_second() -> None:
    rate = ArrivalRate(3)
    for now, host, allowed in (
        (0, "a", [True, True, True, False, False]),
        (0, "b", [True]),
        (0.34, "a", [True, False]),
        (0.5, "a", [False]),
        (0.7, "a", [True, False]),
        (5, "a", [True, True, True, False]),
    ):
        assert [rate.allows(host, now) for _ in allowed] == allowed, (now, host)


def test_a_steady_rate_at_the_limit_is_allowed_and_all_of_it() -> None:
    rate = ArrivalRate(50)
    assert all(rate.allows("a", number / 50) for number in range(1000))
    assert sum(ArrivalRate(None).allows("a", 0) for _ in range(1000)) == 1000


def test_hosts_are_forgotten_and_a_flood_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    rate = ArrivalRate(1)
    for number in range(3 * MAXIMUM_HOSTS):
        assert rate.allows(f"host {number}", 0)
        assert len(rate._next) <= MAXIMUM_HOSTS
    for number in range(100):
        rate.allows("a", number / 100)
    assert caplog.text.count("a: more than 1 new connections a second; closed at once") == 1
    assert rate.allows("b", 2)
    assert set(rate._next) == {"b"}
    assert not rate._told


# Against the wire


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's."""
    return contexts_in(tmp_path)


@asynccontextmanager
async def idle(port: int, count: int) -> AsyncIterator[list[ScriptedPeer]]:
    """Connections that say nothing."""
    peers = [await ScriptedPeer.connect(port) for _ in range(count)]
    try:
        yield peers
    finally:
        for peer in peers:
            peer.writer.transport.abort()


async def is_well(server: Server, options: ClientOptions | None = None) -> None:
    async with connect(f"DIMSE@localhost:{server.port}", contexts=CONTEXTS, options=options) as association:
        await CEchoSCU(association).echo()


@pytest.mark.parametrize("secured", [False, True])
async def test_idle_connections_harm_nobody(secured: bool, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server = Server(
        port=0,
        options=ServerOptions(
            maximum_associations=5,
            maximum_connections_per_second=None,
            tls=tls[0] if secured else None,
            stop_timeout=5,
        ),
    )
    options = ClientOptions(tls=tls[1] if secured else None)
    async with (
        server,
        connect(f"DIMSE@localhost:{server.port}", contexts=CONTEXTS, options=options) as association,
        idle(server.port, 200) as peers,
    ):
        await is_well(server, options)
        await CEchoSCU(association).echo()
        for peer in peers[:140]:
            assert await peer.receive() is None
        assert not any(peer.reader.at_eof() for peer in peers[-50:])


async def test_new_connections_beyond_their_rate_are_closed_at_once() -> None:
    """And the associations that this host has go on, and other hosts get theirs."""
    server = Server(port=0, options=ServerOptions(maximum_connections_per_second=5, stop_timeout=5))
    async with (
        server,
        connect(f"DIMSE@127.0.0.1:{server.port}", contexts=CONTEXTS) as association,
        idle(server.port, 30) as peers,
    ):
        for peer in peers[8:]:
            assert await peer.receive() is None
        assert not peers[0].reader.at_eof()
        await CEchoSCU(association).echo()
        async with connect(f"DIMSE@[::1]:{server.port}", contexts=CONTEXTS) as other:
            await CEchoSCU(other).echo()


async def test_a_crowd_is_rejected_cleanly() -> None:
    """More at once than have room as connections, each with its request: none is reset or left without an answer."""
    options = ServerOptions(
        maximum_associations=20,
        maximum_associations_per_host=None,
        maximum_associations_per_title=None,
        maximum_connections_per_second=None,
        stop_timeout=0,
    )
    request, sockets = associate_request(CONTEXTS[0]).encode(), list[socket.socket]()
    async with Server(port=0, host="127.0.0.1", options=options) as server:
        for _ in range(200):
            sockets.append(socket.create_connection(("127.0.0.1", server.port)))
            sockets[-1].sendall(request)
            sockets[-1].setblocking(False)
        loop = asyncio.get_running_loop()
        answers = [await loop.sock_recv(sock, 10) for sock in sockets]
        for sock in sockets:
            sock.close()
    kinds = Counter(answer[:1] + answer[7:10] if answer[0] == 3 else answer[:1] for answer in answers)
    assert kinds == {b"\x02": 20, b"\x03\2\3\2": 180}


async def test_after_its_end_a_connection_counts_until_it_is_closed() -> None:
    options = ServerOptions(maximum_associations=1, maximum_connections_per_second=None, stop_timeout=5)
    server = Server(port=0, options=options)
    async with server, await ScriptedPeer.connect(server.port) as aborted:
        await aborted.associate()
        await aborted.send(b"\xff" * 10)
        await aborted.expect_abort(2, 1)  # and it stays connected
        async with idle(server.port, 51):
            assert await aborted.reader.read() == b""
            await is_well(server)


async def test_a_peer_that_sends_before_tls_is_ready_is_heard(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """The whole handshake, and the request behind it, in as few segments as there can be."""
    server = Server(port=0, options=ServerOptions(tls=tls[0], stop_timeout=5))
    async with server:
        await asyncio.gather(*(is_well(server, ClientOptions(tls=tls[1])) for _ in range(10)))


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


async def test_a_tls_handshake_under_way_costs_little(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    count, sockets = 200, list[socket.socket]()
    options = ServerOptions(
        tls=tls[0],
        maximum_associations=1000,
        maximum_associations_per_host=None,
        maximum_connections_per_second=None,
        stop_timeout=5,
    )

    async def more() -> None:
        for _ in range(count):
            outgoing = ssl.MemoryBIO()
            tls_object = tls[1].wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
            with pytest.raises(ssl.SSLWantReadError):
                tls_object.do_handshake()
            sockets.append(socket.create_connection(("127.0.0.1", server.port)))
            sockets[-1].sendall(outgoing.read())
            sockets[-1].setblocking(False)
        for sock in sockets:
            await asyncio.get_running_loop().sock_recv(sock, 1)  # the server has answered

    async with Server(port=0, options=options) as server:
        await more()  # what only the first ones cost
        before = resident()
        await more()
        each = (resident() - before) / count
        for sock in sockets:
            sock.close()
    assert each < 80 * 1024  # asyncio alone takes 256 KiB; memory comes in pieces of 1 MiB
