"""How long input that was made to be slow holds the event loop: `held.py [CASE ...]`, without names all of them.

A process serves (or requests), and its peer is another one that sends prepared bytes. A task of the first one notes the
longest time between two turns of the loop, so work in threads that takes the interpreter's lock counts too.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import dimse
from dimse import uids
from dimse.testing import associate_request, message_pdvs, store_request, wire

CT: Final = "1.2.840.10008.5.1.4.1.1.2"
FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
DEFLATED: Final = uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
EXPLICIT: Final = uids.EXPLICIT_VR_LITTLE_ENDIAN
IMPLICIT: Final = uids.IMPLICIT_VR_LITTLE_ENDIAN


def implicit(tag: int, value: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def explicit(tag: int, vr: bytes, value: bytes = b"", length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in (b"SQ", b"UN", b"OB", b"OW", b"UT", b"UC"):
        return head + b"\0\0" + struct.pack("<L", length) + value
    return head + struct.pack("<H", length) + value


def deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, wbits=-15)
    deflated = deflater.compress(data) + deflater.flush()
    return deflated + bytes(len(deflated) % 2)


UNDEFINED: Final = 0xFFFFFFFF
KEYS: Final = {
    EXPLICIT: explicit(0x00080016, b"UI", CT.encode() + b"\0") + explicit(0x00080018, b"UI", b"1.2.3.4\0"),
    IMPLICIT: implicit(0x00080016, CT.encode() + b"\0") + implicit(0x00080018, b"1.2.3.4\0"),
}
ITEM, ITEM_END, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"
EMPTY_ITEM: Final = ITEM + bytes(4)
OPEN_ITEM: Final = ITEM + b"\xff" * 4


def elements(count: int) -> bytes:
    return explicit(0x00210010, b"LO") * count


STORES: Final[dict[str, tuple[str, Callable[[], bytes]]]] = {
    "small": (EXPLICIT, lambda: KEYS[EXPLICIT]),
    "2 million elements": (EXPLICIT, lambda: KEYS[EXPLICIT] + elements(2_000_000)),
    "2 million elements, deflated": (DEFLATED, lambda: deflate(KEYS[EXPLICIT] + elements(2_000_000))),
    "20 million elements, deflated": (DEFLATED, lambda: deflate(KEYS[EXPLICIT] + elements(20_000_000))),
    "2 million empty items": (
        EXPLICIT,
        lambda: KEYS[EXPLICIT] + explicit(0x00400275, b"SQ", EMPTY_ITEM * 2_000_000 + END, UNDEFINED),
    ),
    "2 million empty items, deflated": (
        DEFLATED,
        lambda: deflate(KEYS[EXPLICIT] + explicit(0x00400275, b"SQ", EMPTY_ITEM * 2_000_000 + END, UNDEFINED)),
    ),
    "1 million open items": (
        EXPLICIT,
        lambda: KEYS[EXPLICIT] + explicit(0x00400275, b"SQ", (OPEN_ITEM + ITEM_END) * 1_000_000 + END, UNDEFINED),
    ),
    "depth 200 000": (
        EXPLICIT,
        lambda: KEYS[EXPLICIT] + explicit(0x00400275, b"SQ", OPEN_ITEM, UNDEFINED) * 200_000,
    ),
    "2 million fragments": (
        "1.2.840.10008.1.2.4.50",
        lambda: KEYS[EXPLICIT] + explicit(0x7FE00010, b"OB", EMPTY_ITEM * 2_000_000 + END, UNDEFINED),
    ),
    "bomb of 1 GiB": (
        DEFLATED,
        lambda: deflate(KEYS[EXPLICIT] + explicit(0x7FE00010, b"OW", bytes(1 << 30))),
    ),
    "elements after pixel data": (
        EXPLICIT,
        lambda: KEYS[EXPLICIT] + explicit(0x7FE00010, b"OW", b"ab") + elements(2_000_000),
    ),
    "elements after pixel data, deflated": (
        DEFLATED,
        lambda: deflate(KEYS[EXPLICIT] + explicit(0x7FE00010, b"OW", b"ab") + elements(2_000_000)),
    ),
    "1 MiB of zeros": (EXPLICIT, lambda: KEYS[EXPLICIT] + bytes(1 << 20)),
}


async def saved(request: dimse.StoreRequest) -> int:
    await request.save_under(FOLDER)
    return 0


async def decoded(request: dimse.StoreRequest) -> int:
    with suppress(dimse.DatasetError):
        assert request.dataset is not None
    return 0


async def framed(request: dimse.StoreRequest) -> int:
    with suppress(dimse.DatasetError):
        async for _ in request.frames():
            pass
    return 0


HANDLERS: Final = {"saved": saved, "decoded": decoded, "framed": framed}
FOLDER = ""


class Held:
    """The longest time between two turns of the loop."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.longest_work = 0.0
        """The longest time that the thread of the loop worked between two turns, whatever else the machine did."""

    def __str__(self) -> str:
        return f"{self.longest * 1000:8.1f} ms, {self.longest_work * 1000:.1f} ms of work:"

    async def __aenter__(self) -> Held:
        await asyncio.sleep(0.3)
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0.01)
        self._task.cancel()

    async def _watch(self) -> None:
        last, worked = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(0)
            now, work = time.perf_counter(), time.thread_time()
            self.longest, last = max(self.longest, now - last), now
            self.longest_work, worked = max(self.longest_work, work - worked), work


def _send(port: int, request: bytes, data: bytes, done: object) -> None:
    """The peer's process: associate, wait, send, and read to the response."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(request)
    connection.recv(65536)
    time.sleep(0.5)
    with suppress(OSError):
        connection.sendall(data)
        got = connection.recv(65536)
        print("    ", response_in_words(got), end="", flush=True)
    done.set()  # type: ignore[attr-defined]
    connection.close()


def response_in_words(got: bytes) -> str:
    if got[:1] != b"\x04":
        return f"PDU {got[:10].hex()}"
    at = got.find(struct.pack("<HHL", 0, 0x0900, 2))
    comment = got.find(struct.pack("<HH", 0, 0x0902))
    words = got[comment + 8 :].split(b"\x00\x00")[0].decode("latin-1") if comment >= 0 else ""
    return f"{int.from_bytes(got[at + 8 : at + 10], 'little'):04X} {words}"


async def against(server: dimse.Server, request: bytes, data: bytes) -> Held:
    async with server:
        context = multiprocessing.get_context("fork")
        done = context.Event()
        peer = context.Process(target=_send, args=(server.port, request, data, done))
        peer.start()
        async with Held() as held:
            await asyncio.to_thread(done.wait)
        peer.join()
    return held


def store_bytes(syntax: str, data: bytes, size: int = 16000) -> tuple[bytes, bytes]:
    request = associate_request((uids.VERIFICATION, [IMPLICIT]), (CT, [syntax]))
    return request.encode(), wire(message_pdvs(store_request(), data, context=3, size=size))


async def stores(wanted: list[str]) -> None:
    for mode in (dimse.StoreMode.STREAMING, dimse.StoreMode.BUFFERED):
        for name, handler in HANDLERS.items():
            for case, (syntax, make) in STORES.items():
                title = f"C-STORE, {mode.name}, {name}: {case}"
                if wanted and not any(word in title for word in wanted):
                    continue
                server = dimse.Server("TEST", port=0, options=dimse.ServerOptions(store=dimse.StoreOptions(mode=mode)))
                server.on_c_store(handler)
                begun = time.perf_counter()
                held = await against(server, *store_bytes(syntax, make()))
                print(f"{held}  {title}  ({time.perf_counter() - begun:.1f} s)", flush=True)
    for size, count in ((1, 500_000), (0, 900), (2, 1_000_000)):
        title = f"C-STORE, fragments of {size} bytes"
        if wanted and not any(word in title for word in wanted):
            continue
        server = dimse.Server("TEST", port=0)
        server.on_c_store(saved)
        request, _ = store_bytes(EXPLICIT, b"")
        data = KEYS[EXPLICIT] + explicit(0x7FE00010, b"OW", bytes(count * size))
        pieces = [data[at : at + size] for at in range(0, len(data), size)] if size else [*[b""] * count, data]
        pdvs = message_pdvs(store_request(), b"", context=3)[:1]
        from dimse.upper_layer.pdu import PDV

        pdvs += [PDV(3, False, index == len(pieces) - 1, piece) for index, piece in enumerate(pieces)]
        held = await against(server, request, wire(pdvs))
        print(f"{held}  {title}", flush=True)


async def main(wanted: list[str]) -> None:
    global FOLDER
    with tempfile.TemporaryDirectory() as FOLDER:
        await stores(wanted)


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.CRITICAL)
    asyncio.run(main(sys.argv[1:]))
