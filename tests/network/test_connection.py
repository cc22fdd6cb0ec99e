"""What a connection does between a transport and the machine: held buffers, and messages that leave together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.sample_objects import VERIFICATION

from dimse.messages.message import C_ECHO_RQ
from dimse.network.connection import Connection
from dimse.network.receive_buffer import BufferPool
from dimse.testing import associate_request, message_pdvs, wire
from dimse.upper_layer.machine import Fragment, Machine, MachineEvent
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ


class Transport(asyncio.Transport):
    """A transport that accepts everything at once, as a socket usually does."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.asked: list[str] = []

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def pause_reading(self) -> None:
        self.asked.append("pause")

    def resume_reading(self) -> None:
        self.asked.append("resume")

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        self.asked.append("abort")


class Owner:
    """Accepts an association, and holds the connection at each fragment of a command."""

    awaits_more = False

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.commands: list[bytes] = []
        self.views: list[memoryview] = []

    def connected(self) -> None:
        self.connection.machine.transport_accepted(0)

    def handle_event(self, event: MachineEvent) -> None:
        if isinstance(event, A_ASSOCIATE_RQ):
            self.connection.machine.accept(A_ASSOCIATE_AC("A", "B", event.user_information))
        elif isinstance(event, Fragment):
            self.commands.append(bytes(event.data))
            self.views.append(event.data)
            self.connection.hold(self)

    def buffer_used(self) -> None: ...

    def disconnected(self, error: Exception | None) -> None: ...


def opened() -> tuple[Connection, Transport, Owner]:
    machine = Machine(requestor=False, maximum_length=16384, artim=None, strict=True)
    connection, transport = Connection(machine, BufferPool()), Transport()
    owner = connection.owner = Owner(connection)
    connection.connection_made(transport)
    receive(connection, associate_request((VERIFICATION, ["1.2.840.10008.1.2"])).encode())
    transport.writes.clear()
    return connection, transport, owner


def receive(connection: Connection, data: bytes) -> None:
    """As a transport does it."""
    connection.get_buffer(-1)[: len(data)] = data
    connection.buffer_updated(len(data))


def echo(number: int) -> bytes:
    return wire(message_pdvs(C_ECHO_RQ(message_id=number, affected_sop_class_uid=VERIFICATION)))


def command(number: int) -> bytes:
    return C_ECHO_RQ(message_id=number, affected_sop_class_uid=VERIFICATION).encode()


async def test_reading_is_paused_only_if_still_held_when_the_loop_comes_round() -> None:
    connection, transport, owner = opened()
    receive(connection, echo(1))
    connection.resume(owner)
    await asyncio.sleep(0)
    assert transport.asked == []
    receive(connection, echo(2))
    await asyncio.sleep(0)
    assert transport.asked == ["pause"]
    connection.resume(owner)
    assert transport.asked == ["pause", "resume"]


async def test_what_is_read_while_held_leaves_what_is_held_alone_and_comes_next() -> None:
    connection, transport, owner = opened()
    receive(connection, echo(1) + echo(2))
    receive(connection, echo(3) + echo(4)[:20])  # before the loop has come round
    assert transport.asked == ["pause"]
    receive(connection, echo(4)[20:])
    for number in (1, 2, 3):
        assert owner.commands[-1] == bytes(owner.views[-1]) == command(number)
        connection.resume(owner)
    assert b"".join(owner.commands[3:]) + b"" == command(4)[: len(owner.commands[3])]
    while connection.is_held:
        connection.resume(owner)
    assert b"".join(owner.commands[3:]) == command(4)
    assert transport.asked == ["pause", "resume"]


async def test_other_connections_have_their_turn_between_many_events() -> None:
    """Also where the reader holds and lets go at once."""
    ignored = wire(message_pdvs(C_ECHO_RQ(message_id=1, affected_sop_class_uid=VERIFICATION)))
    for lets_go in (False, True):
        connection, _, owner = opened()
        events, counts = list[MachineEvent](), list[int]()

        def handle(event: MachineEvent, owner: Owner = owner, events: list[MachineEvent] = events) -> None:
            events.append(event)
            if lets_go and len(events) % 10 == 0:  # noqa: B023 - called in this turn of the loop
                owner.connection.hold(owner)
                owner.connection.resume(owner)

        setattr(owner, "handle_event", handle)  # noqa: B010 - a method, to mypy
        receive(connection, ignored * 1000)
        while len(events) < 1000:
            counts.append(len(events))
            await asyncio.sleep(0)
        assert counts == [256, 512, 768]
        assert not connection.is_held


async def test_messages_leave_together_and_within_their_bounds() -> None:
    connection, transport, _ = opened()
    messages = [bytes([number]) * 100 for number in range(20)]
    for message in messages:
        connection.write_soon(message)
    await asyncio.sleep(0)
    assert [len(each) for each in transport.writes] == [800, 800, 400]
    for _ in range(8):
        connection.write_soon(bytes(10_000))
    await asyncio.sleep(0)
    assert {len(each) for each in transport.writes[3:]} == {10_000}
    connection.write_soon(b"first")
    connection.write(b"second")
    assert transport.writes[-2:] == [b"first", b"second"]


async def test_an_exception_of_the_owner_closes_the_connection() -> None:
    """Also when it is raised as delivery resumes: the socket may be paused, and then nothing would be read again."""
    connection, transport, owner = opened()
    receive(connection, echo(1))

    def fail(event: MachineEvent) -> None:
        raise ZeroDivisionError(event)

    setattr(owner, "handle_event", fail)  # noqa: B010 - a method, to mypy
    receive(connection, echo(2))
    with pytest.raises(ZeroDivisionError):
        connection.resume(owner)
    assert transport.asked == ["pause", "abort"]
