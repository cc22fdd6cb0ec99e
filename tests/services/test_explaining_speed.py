"""What round trips mean is decided by numbers; that they are measured is seen on a connection."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tests.services.answering import answering

from dimse.network.probing import Endpoint, line
from dimse.services.explaining_speed import ECHOES, EchoFailed, RoundTrips, Stall, measure, stall_of, step
from dimse.testing import ScriptedPeer, associate_request, response, wire

CASES = {
    "an archive nearby": (RoundTrips(0.3, 0.4, 0.4, 0.5), Stall.NONE),
    "an archive far away": (RoundTrips(80, 82, 82, 83), Stall.NONE),
    "far away, by 40 ms": (RoundTrips(40, 41, 41, 42), Stall.NONE),
    "its second piece waits for our acknowledgment": (RoundTrips(0.3, 44, 0.4, 44), Stall.ARCHIVE),
    "the same, far away": (RoundTrips(80, 160, 81, 160), Stall.ARCHIVE),
    "the same, where acknowledgments cannot be hastened": (RoundTrips(0.3, 41, None, 41), Stall.ARCHIVE),
    "two pieces of it wait, likewise": (RoundTrips(0.3, 82, None, 82), Stall.ARCHIVE),
    "something behind it waits": (RoundTrips(0.3, 40.5, 40.4, 40.5), Stall.STEPS),
    "the archive delays acknowledgments": (RoundTrips(0.3, 0.4, 0.4, 41), Stall.SENDER),
    "it works for 60 ms": (RoundTrips(0.3, 60, 60, 60), Stall.NONE),
    "it looks up our name": (RoundTrips(0.3, 5000, 5000, 5000), Stall.SLOW),
}


def test_decisions() -> None:
    assert {name: stall_of(times) for name, (times, _) in CASES.items()} == {
        name: is_ for name, (_, is_) in CASES.items()
    }
    for times, stall in CASES.values():
        found = step(times)
        assert found.facts["stall"] == stall.name.lower()
        assert bool(found.advice) == (stall is not Stall.NONE)


async def test_echoes_are_counted_and_what_is_no_response_is_told() -> None:
    answers = [
        (None, None),
        (0x0110, "the status is 0x0110 Processing failure"),
    ]
    for failing, words in answers:
        received: list[int] = []

        async def archive(
            reader: asyncio.StreamReader,
            writer: asyncio.StreamWriter,
            failing: int | None = failing,
            received: list[int] = received,
        ) -> None:
            peer = ScriptedPeer(reader, writer)
            await peer.accept()
            while True:
                request = await peer.receive_message()
                received.append(request.message.message_id)  # type: ignore[attr-defined]
                data = wire(response(request, failing or 0))
                for part in (data[:12], data[12:]):  # in two pieces
                    await peer.send(part)

        async with answering(archive) as port, line(Endpoint(socket.AF_INET, ("127.0.0.1", port)), 10) as opened:
            await opened.associate(associate_request(), 10)
            if words is None:
                times = await measure(opened, 1, 10, 0.1)
                assert times.usual > 0
                assert times.split is not None
                assert len(received) == len(set(received)) == ECHOES * (2 if times.quick is None else 3)
            else:
                with pytest.raises(EchoFailed, match=words):
                    await measure(opened, 1, 10, 0.1)
