"""Many peers, or one that floods, as other processes than the server that is measured.

`crowd.py knock PORT COUNT` requests COUNT associations at once, keeps those that are accepted until all have an answer,
and prints how they were answered. `crowd.py hang PORT COUNT POINT` opens COUNT connections, stops each at a point of a
C-STORE, prints "open" and stays. `crowd.py flood PORT NAME` floods an association that reads nothing, and prints the
slowest C-ECHO of another one. `crowd.py watch PORT SECONDS` prints the slowest C-ECHO in that time.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from loops import run

import dimse
from dimse import uids
from dimse.messages.message import C_CANCEL_RQ, C_FIND_RQ
from dimse.testing import associate_request, echo_request, message_pdvs, store_request, wire
from dimse.upper_layer.pdu import P_DATA_TF, PDV

IMPLICIT: Final = [uids.IMPLICIT_VR_LITTLE_ENDIAN]
CONTEXTS: Final = (
    (uids.VERIFICATION, IMPLICIT),
    ("1.2.840.10008.5.1.4.1.1.2", IMPLICIT),
    (uids.STUDY_ROOT_FIND, IMPLICIT),
)
REQUEST: Final = associate_request(*CONTEXTS).encode()
STORE: Final = wire(message_pdvs(store_request(), bytes(1000), context=3))
KINDS: Final = {2: "accepted", 3: "rejected"}
PATIENCE: Final = 60.0

POINTS: Final = {
    "before A-ASSOCIATE-RQ": b"",
    "in A-ASSOCIATE-RQ": REQUEST[:100],
    "in a data set": REQUEST + STORE[:-500],
}


def _floods() -> dict[str, bytes]:
    command = wire(message_pdvs(store_request(), b"", context=3)[:1])
    cancel = message_pdvs(C_CANCEL_RQ(message_id_being_responded_to=1))
    find = C_FIND_RQ(message_id=1, affected_sop_class_uid=uids.STUDY_ROOT_FIND)
    stray = wire(message_pdvs(C_CANCEL_RQ(message_id_being_responded_to=1), context=99))
    return {
        "20 000 C-ECHO": wire(message_pdvs(echo_request())) * 20_000,
        "20 000 C-FIND": wire(message_pdvs(find, b"\x08\0\x52\0\x06\0\0\0STUDY ", context=5)) * 20_000,
        "20 000 C-CANCEL": wire(cancel) * 20_000,
        "20 000 empty PDVs": (wire([PDV(3, False, False, b"")]) * 999 + wire([PDV(3, False, False, b"\0\0")])) * 20,
        "100 000 PDVs of 2 bytes": command + wire([PDV(3, False, False, b"\0\0")]) * 100_000,
        "80 000 PDVs in one PDU": command + P_DATA_TF(tuple([PDV(3, False, False, b"\0\0")] * 80_000)).encode(),
        "500 000 PDUs that are ignored": stray + b"\x04\0\0\0\0\0" * 500_000,
    }


FLOODS: Final = _floods()


async def knock(port: str, count: str) -> None:
    answers, longest, start = Counter[str](), 0.0, time.perf_counter()
    everyone = asyncio.Event()

    async def answered(sock: socket.socket, asked: float) -> None:
        nonlocal longest
        kind = "silent"
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                kind = await _answer(sock)
        longest = max(longest, time.perf_counter() - asked)
        answers[kind] += 1
        if answers.total() == int(count):
            everyone.set()
        if kind == "accepted":
            await everyone.wait()
        sock.close()

    async with asyncio.TaskGroup() as tasks:
        for number in range(int(count)):
            # It asks at once: to connect 5000 times and to say nothing meanwhile is another thing.
            sock = socket.create_connection(("127.0.0.1", int(port)))
            sock.sendall(REQUEST)
            sock.setblocking(False)
            tasks.create_task(answered(sock, time.perf_counter()))
            if number % 50 == 0:
                await asyncio.sleep(0)
    seconds = time.perf_counter() - start
    told = " ".join(f"{name} {answers[name]}" for name in ("accepted", "rejected", "aborted", "reset", "silent"))
    print(f"{told} longest {longest:.3f} seconds {seconds:.3f}")


async def _answer(sock: socket.socket) -> str:
    """What the first bytes of the answer are."""
    try:
        answer = await asyncio.get_running_loop().sock_recv(sock, 10)
    except OSError:
        return "reset"
    return KINDS.get(answer[0], "aborted") if answer else "reset"


async def hang(port: str, count: str, point: str) -> None:
    writers = []
    for _ in range(int(count)):
        _, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(POINTS[point])
        writers.append(writer)
    print("open", flush=True)
    await asyncio.Event().wait()


async def watch(port: str, seconds: str) -> None:
    end = time.perf_counter() + float(seconds)
    await _echo_until(port, lambda: time.perf_counter() > end)


async def flood(port: str, name: str) -> None:
    begin = threading.Event()
    flooding = threading.Thread(target=_flood, args=(int(port), FLOODS[name], begin))
    flooding.start()
    await _echo_until(port, lambda: not flooding.is_alive(), begin)


async def _echo_until(port: str, is_over: Callable[[], bool], begin: threading.Event | None = None) -> None:
    slowest = 0.0
    async with dimse.connect(f"BENCH@127.0.0.1:{port}", contexts=[(uids.VERIFICATION, IMPLICIT)]) as association:
        scu = dimse.CEchoSCU(association)
        await scu.echo()
        if begin is not None:
            begin.set()
        while not is_over():
            start = time.perf_counter()
            await scu.echo()
            slowest = max(slowest, time.perf_counter() - start)
    print(f"slowest {slowest:.4f}")


def _flood(port: int, data: bytes, begin: threading.Event) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(REQUEST)
        sock.recv(10_000)
        sock.settimeout(3)
        begin.wait()
        with suppress(OSError):  # the server closes the connection, or reads no more
            sock.sendall(data)
        time.sleep(0.5)


OPERATIONS: Final[dict[str, Callable[..., Coroutine[Any, Any, None]]]] = {
    "knock": knock,
    "hang": hang,
    "flood": flood,
    "watch": watch,
}
operation, *arguments = sys.argv[1:]
run(OPERATIONS[operation](*arguments))
