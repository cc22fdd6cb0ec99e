"""Whatever answers, a line reads a bounded number of bytes in a bounded time, and says what they are."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest
from tests.ports import free_port
from tests.services.answering import Handler, answering, closing, dripping, replying, resetting, silent

from dimse.network.probing import MAXIMUM_BANNER, Answered, Endpoint, line, reach, resolve
from dimse.testing import INFORMATION, associate_request
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_RELEASE_RP, PDU_HEADER

ACCEPTANCE = A_ASSOCIATE_AC("ARCHIVE", "PEER", INFORMATION)
CASES: dict[str, tuple[Handler, Answered]] = {
    "accepted": (replying(ACCEPTANCE.encode()), Answered.PDU),
    "rejected": (replying(A_ASSOCIATE_RJ(1, 1, 7).encode()), Answered.PDU),
    "aborted": (replying(A_ABORT(0, 0).encode()), Answered.PDU),
    "text": (replying(b"SSH-2.0-x\r\n"), Answered.OTHER),
    "endless text": (replying(b"x" * 1_000_000), Answered.OTHER),
    "one byte": (replying(b"x"), Answered.OTHER),
    "too long for what it is": (replying(PDU_HEADER.pack(3, 5) + bytes(5)), Answered.OTHER),
    "a gigabyte is announced": (replying(PDU_HEADER.pack(2, 2**30)), Answered.OTHER),
    "a gigabyte of data is announced": (replying(PDU_HEADER.pack(4, 2**30)), Answered.OTHER),
    "not decodable": (replying(PDU_HEADER.pack(2, 4) + bytes(4)), Answered.MALFORMED),
    "half a PDU": (replying(ACCEPTANCE.encode()[:-1]), Answered.PART),
    "half a header": (replying(b"\2\0\0"), Answered.PART),
    "a byte at a time": (dripping(ACCEPTANCE.encode() * 1000), Answered.PDU),
    "a byte at a time, without end": (dripping(PDU_HEADER.pack(2, 60_000) + bytes(60_000)), Answered.PART),
    "nothing": (silent, Answered.SILENCE),
    "closed": (closing, Answered.CLOSED),
    "reset": (resetting, Answered.RESET),
}


def endpoint(port: int) -> Endpoint:
    return Endpoint(socket.AF_INET, ("127.0.0.1", port))


async def test_what_answers_is_told() -> None:
    async def ask(handler: Handler) -> Answered:
        async with answering(handler) as port, line(endpoint(port), 10) as opened:
            seconds = 10 if handler is not silent else 0.1
            is_partial = handler in [case for case, kind in CASES.values() if kind is Answered.PART]
            answer = await opened.associate(associate_request(), 0.3 if is_partial else seconds)
            assert len(answer.data) <= MAXIMUM_BANNER
            return answer.kind

    found = await asyncio.gather(*(ask(handler) for handler, _ in CASES.values()))
    assert dict(zip(CASES, found, strict=True)) == {name: kind for name, (_, kind) in CASES.items()}


async def test_release_tells_whether_it_was_answered() -> None:
    for handler, expected in ((replying(A_RELEASE_RP().encode()), True), (closing, False)):
        async with answering(handler) as port, line(endpoint(port), 10) as opened:
            assert await opened.release(10) is expected


async def test_names_are_looked_up() -> None:
    assert endpoint(104) in await resolve("127.0.0.1", 104, 10)
    assert str(endpoint(104)) == "127.0.0.1:104"
    with pytest.raises(socket.gaierror):
        await resolve("no-such-host.invalid", 104, 10)
    with pytest.raises(UnicodeError):
        await resolve("a" * 70 + ".example", 104, 10)


async def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        answers.wait(50)
        raise OSError("too late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(TimeoutError):
        await resolve("archive", 104, 0.05)
    answers.set()
    with pytest.raises(OSError, match="too late"):
        await resolve("archive", 104, 10)


async def test_nobody_listens() -> None:
    with pytest.raises(ConnectionRefusedError):
        await reach(endpoint(free_port()), 10)
