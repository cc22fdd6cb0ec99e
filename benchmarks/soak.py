"""`soak.py [--seconds N]`: a mixed load for a long time, a fifth of it hostile: `make soak`.

One process is an archive, this one is its peers. A tenth of the conversations is with a hostile requestor, a tenth with
a hostile acceptor. At the end, the memory of both processes must be what it was after a fifth of the time, their tasks
and descriptors what they were before, and every operation between two well-behaved sides must have succeeded.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from loops import run
from soaking import SERIES, STUDY, describe, instances

import dimse
from dimse.testing import associate_request, echo_request, message_pdvs, store_request, wire
from dimse.upper_layer.items import PresentationContextAC, UserInformation
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

WORKERS: Final = 12
HOSTILE: Final = 0.2
MOST_MEMORY: Final = 8 * 1024 * 1024
"""Bytes by which a process may have grown at the end: allocators round."""
LOG: Final = "log.txt"
REST: Final = 20.0
"""Seconds in which both processes must come to rest."""
WARM: Final = 120
"""Samples from which on memory is compared: before that, caches and allocators still fill."""
PATIENCE: Final = 60.0
"""Seconds after which an operation has hung."""
QUERY: Final = dimse.Query.series(StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES)
TIMEOUTS: Final = dimse.Timeouts(association=5, store=20, find=20, get=20, move=20, cancel=3, artim=3)
OPTIONS: Final = dimse.ClientOptions(calling_ae_title="SOAK", timeouts=TIMEOUTS)
IMPATIENT: Final = dimse.ClientOptions(
    timeouts=dimse.Timeouts(**dict.fromkeys(("association", "store", "find", "get", "move", "cancel", "artim"), 2))
)
"""For archives that answer with garbage."""
ONCE: Final = dimse.RetryPolicy(retries=0)

chance = random.Random(20261129)  # noqa: S311 - the same load each time

Peer = Callable[[str, dimse.ClientOptions, Path], Awaitable[None]]


# Well-behaved peers


async def echo(address: str, options: dimse.ClientOptions, _: Path) -> None:
    async with dimse.connect(address, options=options) as association:
        await dimse.CEchoSCU(association).echo()


async def store(address: str, options: dimse.ClientOptions, _: Path) -> None:
    await dimse.send(address, chance.sample(instances(), 3), options=options, retry=ONCE)


async def find(address: str, options: dimse.ClientOptions, _: Path) -> None:
    query = dimse.Query.instances(StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, SOPInstanceUID="")
    async with dimse.connect(address, options=options) as association:
        found = [match async for match in dimse.CFindSCU(association).find(query)]
    _check(len(found) == len(instances()), "matches are missing")


async def get(address: str, options: dimse.ClientOptions, into: Path) -> None:
    contexts = dimse.retrieval_contexts([str(instances()[0].SOPClassUID)])
    async with dimse.connect(address, contexts=contexts, options=options) as association:
        results = dimse.CGetSCU(association, store=dimse.StoreOptions(fsync=False)).get(QUERY, into=into)
        got = [each.path async for each in results]
    _check(len(got) == len(instances()), "instances are missing")


async def move(address: str, options: dimse.ClientOptions, into: Path) -> None:  # noqa: ARG001
    async with dimse.connect(address, options=options) as association:
        results = dimse.CMoveSCU(association).move(QUERY, "SOAK")
        async for _ in results:
            pass
    _check(results.suboperations.completed == len(instances()), "instances are missing")


async def leave(address: str, options: dimse.ClientOptions, into: Path) -> None:  # noqa: ARG001
    """Begin a search, and end it by C-CANCEL."""
    query = dimse.Query.instances(StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, SOPInstanceUID="")
    async with dimse.connect(address, options=options) as association:
        async with dimse.CFindSCU(association).find(query) as results:
            async for _ in results:
                break
        await dimse.CEchoSCU(association).echo()


def _check(condition: bool, text: str) -> None:
    if not condition:
        raise RuntimeError(text)


PEERS: Final[tuple[Peer, ...]] = (echo, store, store, find, get, move, leave)


# Hostile ones: bytes for either role, and how the connection ends

REQUEST: Final = associate_request(calling="HOSTILE", called="SOAK").encode()
STORE: Final = wire(message_pdvs(store_request(), bytes(3000), context=3))
CONVERSATION: Final = REQUEST + wire(message_pdvs(echo_request())) + STORE


def mutated() -> bytes:
    """A conversation with some bytes changed, some missing, or some too many."""
    data = bytearray(CONVERSATION)
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(len(data))
        match chance.randrange(3):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randint(1, 200)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 200))
    return bytes(data)


def attack() -> bytes:
    """What a hostile peer sends."""
    match chance.randrange(7):
        case 0:
            return chance.randbytes(chance.randint(0, 5000))
        case 1:
            return CONVERSATION[: chance.randrange(len(CONVERSATION))]
        case 2:
            return REQUEST + b"\x04\x00\xff\xff\xff\xff" + bytes(100)
        case 3:
            return b"GET / HTTP/1.1\r\nHost: archive\r\n\r\n"
        case 4:
            return REQUEST + wire(message_pdvs(echo_request())) * chance.randint(1, 500)
        case 5:
            return REQUEST + STORE[:-100] + b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00"
        case _:
            return mutated()


async def assault(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send an attack, at once or in pieces, then close, reset or wait for the other side to end it."""
    try:
        data, piece = attack(), chance.choice((1 << 20, 1 << 20, 100, 7))
        for at in range(0, min(len(data), piece * 300), piece):
            writer.write(data[at : at + piece])
            await writer.drain()
        match chance.randrange(4):
            case 0:
                writer.transport.abort()
            case 1:
                async with asyncio.timeout(10):
                    while await reader.read(65536):
                        pass
            case 2:
                writer.write_eof()
                async with asyncio.timeout(10):
                    await reader.read(65536)
    except (OSError, TimeoutError, RuntimeError):
        pass  # it was closed on us, which is as it should be
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Load:
    """The load, and what became of it."""

    def __init__(self, port: int, hostile_port: int, into: Path) -> None:
        self.count: Counter[str] = Counter()
        self.faults: list[str] = []
        self._port, self._hostile_port, self._into = port, hostile_port, into

    async def work(self, until: float) -> None:
        """One operation after the other."""
        while time.monotonic() < until:
            name, operation = self._next()
            self.count[name] += 1
            try:
                async with asyncio.timeout(PATIENCE):
                    await operation
            except TimeoutError as error:
                if not isinstance(error, dimse.DimseError):
                    self.faults.append(f"{name}: hung")
                elif not name.startswith("hostile"):
                    self.faults.append(f"{name}: {error}")
            except (dimse.DimseError, ExceptionGroup) as error:
                if not name.startswith("hostile"):
                    self.faults.append(f"{name}: {error!r}")
            except Exception as error:  # noqa: BLE001 - a fault of ours: all are told at the end
                self.faults.append(f"{name}: {error!r}")

    def _next(self) -> tuple[str, Awaitable[None]]:
        kind, peer = chance.random(), chance.choice(PEERS)
        if kind < HOSTILE / 2:
            return "hostile requestor", self._assail()
        if kind < HOSTILE:
            return "hostile acceptor", peer(f"SOAK@127.0.0.1:{self._hostile_port}", IMPATIENT, self._into)
        return peer.__name__, peer(f"SOAK@127.0.0.1:{self._port}", OPTIONS, self._into)

    async def _assail(self) -> None:
        await assault(*await asyncio.open_connection("127.0.0.1", self._port))


async def answer_with_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An acceptor that accepts well half of the time, and then attacks."""
    try:
        header = await reader.readexactly(6)
        request = await reader.readexactly(int.from_bytes(header[2:], "big"))
        if chance.random() < 0.5:
            writer.write(acceptance(header + request))
            await reader.read(65536)
    except (OSError, asyncio.IncompleteReadError):
        pass
    await assault(reader, writer)


def acceptance(data: bytes) -> bytes:
    """Accept all contexts of an A-ASSOCIATE-RQ with their first transfer syntax."""
    request = A_ASSOCIATE_RQ.decode(data[6:])
    contexts = tuple(
        PresentationContextAC(each.presentation_context_id, 0, each.transfer_syntaxes[0])
        for each in request.presentation_contexts
    )
    information = UserInformation(maximum_length=16384, implementation_class_uid="1.2.3")
    return A_ASSOCIATE_AC(
        request.called_ae_title, request.calling_ae_title, information, presentation_contexts=contexts
    ).encode()


# The figures


class Samples:
    """What one process held, every half second."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.taken: list[dict[str, int]] = []

    def memory(self, fifth: int) -> float:
        """The median of a fifth of the time."""
        length = max(1, len(self.taken) // 5)
        return statistics.median(each["memory"] for each in self.taken[fifth * length :][:length])

    def is_at_rest(self) -> bool:
        """Whether it holds no more than before the load."""
        return all(self.taken[-1][name] <= self.taken[0][name] for name in ("tasks", "descriptors"))

    def faults(self) -> list[str]:
        """What is not flat: the second fifth of the time against the last, and the end against the beginning."""
        first, last = self.taken[0], self.taken[-1]
        wrong = [
            f"{self.name}: {first[name]} {name} before, {last[name]} at rest"
            for name in ("tasks", "descriptors")
            if last[name] > first[name]
        ]
        if len(self.taken) >= WARM and self.memory(4) - self.memory(1) > MOST_MEMORY:
            wrong.append(f"{self.name}: memory grew from {self.memory(1) / 1e6:.1f} to {self.memory(4) / 1e6:.1f} MB")
        return wrong

    def __str__(self) -> str:
        memory = " ".join(f"{self.memory(fifth) / 1e6:.1f}" for fifth in range(5))
        counts = ", ".join(
            f"{name} {self.taken[0][name]} before, {max(each[name] for each in self.taken)} at most, "
            f"{self.taken[-1][name]} at rest"
            for name in ("tasks", "descriptors")
        )
        return f"{self.name}: memory by fifths of the time {memory} MB; {counts}"


@contextlib.asynccontextmanager
async def archive(folder: Path, samples: Samples) -> AsyncIterator[int]:
    """The archive in a process of its own; the value is its port."""
    script = Path(__file__).parent / "soak_archive.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(folder / "archive"), str(folder / LOG), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    port = json.loads(await process.stdout.readline())["port"]

    async def read(stream: asyncio.StreamReader) -> None:
        while text := await stream.readline():
            samples.taken.append(json.loads(text))

    reading = asyncio.ensure_future(read(process.stdout))
    try:
        yield port
    finally:
        process.kill()
        await process.wait()
        await reading


async def soak(seconds: float, folder: Path) -> int:
    theirs, ours = Samples("archive"), Samples("peers")
    hostile = await asyncio.start_server(answer_with_garbage, "127.0.0.1", 0)
    async with archive(folder, theirs) as port:
        load = Load(port, hostile.sockets[0].getsockname()[1], folder / "got")
        await echo(f"SOAK@127.0.0.1:{port}", OPTIONS, folder)
        await _next_sample(theirs, ours)
        end = time.monotonic() + seconds
        workers = [asyncio.ensure_future(load.work(end)) for _ in range(WORKERS)]
        while not all(worker.done() for worker in workers):
            await _next_sample(theirs, ours)
        await asyncio.gather(*workers)
        rest = time.monotonic() + REST
        while time.monotonic() < rest and not (theirs.is_at_rest() and ours.is_at_rest()):
            await _next_sample(theirs, ours)
    hostile.close()
    count = ", ".join(f"{count} {name}" for name, count in sorted(load.count.items()))
    print(f"{sum(load.count.values())} conversations in {seconds:g} s: {count}", theirs, ours, sep="\n")
    faults = [*load.faults, *theirs.faults(), *ours.faults(), *_left_behind(folder)]
    print("\n".join(faults[:20]) or "flat")
    return 1 if faults else 0


async def _next_sample(theirs: Samples, ours: Samples) -> None:
    """Wait for the next sample of the archive, and take one here."""
    count = len(theirs.taken)
    async with asyncio.timeout(PATIENCE):
        while len(theirs.taken) == count:  # noqa: ASYNC110 - the archive is another process
            await asyncio.sleep(0.05)
    ours.taken.append(describe())


def _left_behind(folder: Path) -> list[str]:
    temporary = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".dcm", ".txt")]
    tracebacks = (folder / LOG).read_text().count("Traceback")
    return [
        *([f"{len(temporary)} files are left that are not instances"] if temporary else []),
        *([f"the archive logged {tracebacks} tracebacks"] if tracebacks else []),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="A mixed load for a long time, a fifth of it hostile.")
    parser.add_argument("--seconds", type=float, default=600.0)
    seconds = parser.parse_args().seconds
    logging.basicConfig(level=logging.CRITICAL)
    code: list[int] = []

    async def work() -> None:
        code.append(await soak(seconds, Path(folder)))

    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:  # noqa: S108
        run(work())
    return code[0]


sys.exit(main())
