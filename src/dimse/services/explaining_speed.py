"""C-ECHO round trips, and the 40 ms stalls of Nagle's algorithm against delayed acknowledgments.

A side that writes a message in two pieces, with Nagle's algorithm, sends the second one only after the first was
acknowledged, and the other side's kernel delays that acknowledgment by 40 ms or more. So C-ECHOs are timed in three
ways:

usual  in one piece, our acknowledgments delayed, as those of most programs are
quick  in one piece, our acknowledgments at once (Linux): if these are faster, the archive waits for them
split  in two pieces with Nagle's algorithm here, and quick: if these are slower, such a device waits for the archive
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from statistics import median
from time import perf_counter
from typing import Final

from dimse import uids
from dimse.errors import RemoteProtocolError
from dimse.messages.fragments import MAXIMUM_COMMAND_LENGTH
from dimse.messages.message import C_ECHO_RQ, C_ECHO_RSP, decode_message
from dimse.network.probing import Line
from dimse.services.explaining_association import in_words
from dimse.services.explanation import ExplainAdvice, ExplainStep, ExplainStepName, ExplainVerdict, here, on_archive
from dimse.upper_layer.pdu import P_DATA_TF, PDV

ECHOES: Final = 5
"""C-ECHOs of each kind."""

DELAYED_ACK_MS: Final = 40.0
"""The delay of an acknowledgment on Linux, in milliseconds; other systems take 100 to 200."""

_DIFFERENCE_MS: Final = 30.0
"""What a delayed acknowledgment costs at least."""

_NEAR_MS: Final = 10.0
"""Connections that open within this are near: a stall is not distance."""

_SLOW_MS: Final = 250.0
"""A C-ECHO that takes this much more than the connection is slow."""

_QUICKACK: Final[int] = getattr(socket, "TCP_QUICKACK", 0)


class Stall(Enum):
    """What costs time."""

    NONE = "none"
    ARCHIVE = "the archive's Nagle algorithm"
    STEPS = "steps of 40 ms within the archive"
    SENDER = "a sender's Nagle algorithm"
    SLOW = "a slow archive"


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Medians in milliseconds; None where they were not measured."""

    connect: float
    usual: float
    quick: float | None = None
    split: float | None = None


def stall_of(times: RoundTrips) -> Stall:
    """What the times mean."""
    if times.quick is not None and times.usual - times.quick >= _DIFFERENCE_MS:
        return Stall.ARCHIVE
    is_near = times.connect <= _NEAR_MS
    if is_near and _is_step(times.usual):
        return Stall.STEPS if times.quick is not None else Stall.ARCHIVE
    if times.usual - times.connect >= _SLOW_MS:
        return Stall.SLOW
    if times.split is not None and times.split - (times.quick or times.usual) >= _DIFFERENCE_MS:
        return Stall.SENDER
    return Stall.NONE


def _is_step(milliseconds: float) -> bool:
    """Whether a time is one to five delayed acknowledgments, and up to 5 ms of work."""
    count = int((milliseconds + 1) // DELAYED_ACK_MS)
    return 1 <= count <= 5 and milliseconds - count * DELAYED_ACK_MS <= 5


class EchoFailed(Exception):
    """A C-ECHO got no response, or one that is not Success."""


async def measure(line: Line, context_id: int, seconds: float, connect_ms: float) -> RoundTrips:
    """Time C-ECHOs on an association. Raises `EchoFailed`."""
    numbers = iter(range(1, 4 * ECHOES))

    async def several(option: int, value: int, *, in_pieces: bool = False) -> float:
        times = []
        for _ in range(ECHOES):
            start = perf_counter()
            _send(line, context_id, next(numbers), in_pieces=in_pieces)
            _set(line, option, value)  # after the request, because sending resets it
            await _response(line, seconds)
            times.append((perf_counter() - start) * 1000)
        return median(times)

    usual = await several(_QUICKACK, 0)
    quick = await several(_QUICKACK, 1) if _QUICKACK else None
    _set(line, socket.TCP_NODELAY, 0)
    split = await several(_QUICKACK, 1, in_pieces=True)
    _set(line, socket.TCP_NODELAY, 1)
    return RoundTrips(connect_ms, usual, quick, split)


def _set(line: Line, option: int, value: int) -> None:
    if option:
        with suppress(OSError):  # the connection may have ended
            line.socket.setsockopt(socket.IPPROTO_TCP, option, value)


def _send(line: Line, context_id: int, number: int, *, in_pieces: bool) -> None:
    command = C_ECHO_RQ(message_id=number, affected_sop_class_uid=uids.VERIFICATION).encode()
    message = P_DATA_TF((PDV(context_id, True, True, command),)).encode()
    if in_pieces:
        line.send(message[:12])
        line.send(message[12:])
    else:
        line.send(message)


async def _response(line: Line, seconds: float) -> None:
    command = b""
    while True:
        answer = await line.receive(seconds)
        if not isinstance(answer.pdu, P_DATA_TF):
            raise EchoFailed(in_words(answer))
        values = answer.pdu.presentation_data_values
        command += b"".join(value.fragment for value in values if value.is_command)
        if len(command) > MAXIMUM_COMMAND_LENGTH:
            raise EchoFailed("the response has no end")
        if any(value.is_command and value.is_last for value in values):
            break
    try:
        response = decode_message(command)
    except RemoteProtocolError as error:
        raise EchoFailed(f"the response is not valid: {error}") from None
    if not isinstance(response, C_ECHO_RSP):
        raise EchoFailed(f"a {response.name} came instead of a C-ECHO-RSP")
    if not response.status.is_done:
        raise EchoFailed(f"the status is {response.status}")


def step(times: RoundTrips) -> ExplainStep:
    """The result."""
    stall = stall_of(times)
    own = times.usual if times.quick is None else times.quick
    facts = {
        "connect_ms": round(times.connect, 3),
        "round_trip_ms": round(own, 3),
        "round_trip_delayed_ack_ms": round(times.usual, 3),
        "round_trip_in_pieces_ms": None if times.split is None else round(times.split, 3),
        "stall": stall.name.lower(),
    }
    words, advice = _IN_WORDS[stall]
    words = words.format(usual=times.usual, split=times.split or 0)
    result = f"Success in {own:.1f} ms (median of {ECHOES}){words}"
    verdict = ExplainVerdict.OK if stall is Stall.NONE else ExplainVerdict.NOTE
    return ExplainStep(ExplainStepName.ECHO, verdict, result, f"{ECHOES} C-ECHOs of each kind", advice, facts)


_IN_WORDS: Final[dict[Stall, tuple[str, tuple[ExplainAdvice, ...]]]] = {
    Stall.NONE: ("", ()),
    Stall.ARCHIVE: (
        "; but {usual:.0f} ms for programs that acknowledge later, because the archive uses Nagle's algorithm",
        (on_archive("set TCP_NODELAY on its connections, or send each message in one piece"),),
    ),
    Stall.STEPS: (
        "; that is a multiple of 40 ms though the network is fast, as with a proxy that uses Nagle's algorithm",
        (on_archive("set TCP_NODELAY on the connections between the archive and what is in front of it"),),
    ),
    Stall.SENDER: (
        "; a device that sends a message in two pieces, with Nagle's algorithm, needs {split:.0f} ms",
        (here("if another device is slow with this archive, set TCP_NODELAY on that device"),),
    ),
    Stall.SLOW: (
        "; the archive is slow to answer, the network is not",
        (
            on_archive(
                "see what it is busy with; looking up the host names of peers can take seconds, too",
            ),
        ),
    ),
}
