"""Peers that leave Nagle's algorithm on and write header and body apart, as DCMTK and Orthanc do by default."""

from __future__ import annotations

import asyncio
import socket
import time
from statistics import median
from typing import Any

from tests.sample_objects import CT, EXPLICIT, IMPLICIT, VERIFICATION, encoded, instance

from dimse import CEchoSCU, Server, ServerOptions, Status, StoreRequest, connect
from dimse.network.connection import Connection
from dimse.network.receive_buffer import BufferPool
from dimse.testing import (
    ScriptedPeer,
    associate_request,
    echo_request,
    listening,
    message_pdvs,
    response,
    store_request,
    wire,
)
from dimse.upper_layer.machine import Fragment, Machine, MachineEvent
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ, P_DATA_TF, PDV

TIMES = 50
DELAYED = 0.04
"""Seconds of Linux's delayed ACK, once for each message where it is waited for."""


async def send_apart(peer: ScriptedPeer, pdvs: list[PDV]) -> None:
    """Header and body of each PDU in writes of their own, with Nagle's algorithm."""
    peer.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    for pdv in pdvs:
        encoded_pdu = P_DATA_TF((pdv,)).encode()
        await peer.send(encoded_pdu[:12])
        await peer.send(encoded_pdu[12:])


async def test_a_response_in_two_writes_is_not_waited_for() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        for _ in range(TIMES):
            await send_apart(peer, response(await peer.receive_message()))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=[(VERIFICATION, [IMPLICIT])]) as association:
        taken = list[float]()
        for _ in range(TIMES):
            begun = time.monotonic()
            await CEchoSCU(association).echo()
            taken.append(time.monotonic() - begun)
        assert median(taken) < DELAYED / 2


async def test_a_request_in_several_writes_is_not_waited_for() -> None:
    server, data = Server("ARCHIVE", port=0, options=ServerOptions(stop_timeout=5)), encoded(instance())

    @server.on_c_store
    async def keep(request: StoreRequest) -> Status:
        return Status.SUCCESS

    async with server, await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(associate_request((VERIFICATION, [IMPLICIT]), (CT, [EXPLICIT])))
        taken = list[float]()
        for number in range(1, TIMES + 1):
            begun = time.monotonic()
            await send_apart(peer, message_pdvs(store_request(message_id=number), data, context=3))
            await peer.receive_message()
            taken.append(time.monotonic() - begun)
        assert median(taken) < DELAYED / 2
        await peer.release()


# The kernel is not asked to acknowledge while the peer waits for this side


class CountingSocket:
    family = socket.AF_INET

    def __init__(self) -> None:
        self.acknowledged = 0

    def setsockopt(self, _: int, option: int, value: int) -> None:
        self.acknowledged += value * (option == socket.TCP_QUICKACK)


class Transport(asyncio.Transport):
    def __init__(self, sock: CountingSocket) -> None:
        super().__init__({"socket": sock})

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write(self, data: Any) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return False


class Owner:
    """Accepts an association, and answers each message at once if it `answers`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.answers = False
        self.awaits_more = False

    def connected(self) -> None:
        self.connection.machine.transport_accepted(0)

    def handle_event(self, event: MachineEvent) -> None:
        if isinstance(event, A_ASSOCIATE_RQ):
            self.connection.machine.accept(A_ASSOCIATE_AC("A", "B", event.user_information))
        elif isinstance(event, Fragment) and event.is_last and self.answers:
            self.connection.write_soon(b"answer")

    def buffer_used(self) -> None: ...

    def disconnected(self, error: Exception | None) -> None: ...


def receive(connection: Connection, data: bytes) -> None:
    connection.get_buffer(-1)[: len(data)] = data
    connection.buffer_updated(len(data))


async def test_the_kernel_is_told_only_where_the_peer_goes_on() -> None:
    machine = Machine(requestor=False, maximum_length=16384, artim=None, strict=True)
    connection, sock = Connection(machine, BufferPool()), CountingSocket()
    owner = connection.owner = Owner(connection)
    connection.connection_made(Transport(sock))
    receive(connection, associate_request((VERIFICATION, [IMPLICIT])).encode())
    assert sock.acknowledged == 1, "when it was made"
    whole = wire(message_pdvs(echo_request()))
    receive(connection, whole)
    assert sock.acknowledged == 1, "whole, and this side's turn"
    receive(connection, whole[:12])
    assert sock.acknowledged == 2, "the header alone"
    owner.answers = owner.awaits_more = True
    receive(connection, whole[12:])
    assert sock.acknowledged == 2, "the answer carries it"
    owner.answers = False
    connection.hold(holder := object())
    receive(connection, whole)
    assert sock.acknowledged == 2, "not used yet"
    connection.resume(holder)
    assert sock.acknowledged == 3, "more is awaited"
    connection.hold(holder)
    connection.resume(holder)
    assert sock.acknowledged == 3, "once for each read"
