"""Runs cases over sockets: against a server of ours, and against our client.

`Standing` has the servers and the hostile acceptor of one group of cases, in one event loop. After every case the
connection is closed, an echo on another association is answered, the slot is free, no task is left over, nothing was
logged as an error or left unretrieved, and exactly what was answered with Success is in the folder. At the end of a
group the descriptors and the objects of connections are back where they were.

    async with Standing(folder) as standing:
        failures = await standing.run(cases)
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.conversations import seeds, services
from tests.conversations.cases import (
    ASK_FOREVER,
    ECHO_TO_GO_ON,
    ENDS,
    LEAD,
    WAITS,
    Case,
    Service,
    State,
    Then,
    Transcript,
)
from tests.server_options import server_options

from dimse import (
    AssociationRequest,
    ClientOptions,
    DimseError,
    EchoRequest,
    Server,
    Status,
    StoreRequest,
    Strictness,
    Timeouts,
)
from dimse.network.association import Association
from dimse.network.client import connect
from dimse.network.connection import Connection
from dimse.network.exchange import Exchange
from dimse.network.session import Session
from dimse.upper_layer.machine import Machine

PATIENCE: Final = 20.0
"""Seconds after which a case has failed; nothing should ever take that long."""

STALLED: Final = 1.0
"""The deadlines in seconds where the peer stalls."""

AT_ONCE: Final = 100
"""How many stalled cases hang at once."""

_LEFT_ALONE: Final = (Session, Connection, Machine, Exchange, Association)
"""Of these no object may be left when a group has ended, but those of the witnesses."""

_TURNS_OF_THREADS: Final = 50
"""How often other threads may run before an object counts as left."""

_LOGGERS: Final = ("dimse", "asyncio")

_RESET: Final = struct.pack("ii", 1, 0)


class Line(asyncio.Protocol):
    """The peer's end of a connection."""

    def __init__(self) -> None:
        self.transcript = Transcript()
        self.transport: asyncio.Transport | None = None
        self.connected = asyncio.get_running_loop().create_future()
        self.is_over = False
        self._changed: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.connected.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.transcript.feed(data)
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.is_over = True
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so, or the connection is over."""
        while not (is_so() or self.is_over):
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed

    async def until_token(self, token: str, begin: int = 0) -> None:
        """Wait for a token."""
        await self.until(lambda: token in self.transcript.tokens[begin:])

    def send(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    async def leave(self, then: Then) -> None:
        """Do what the peer does at last."""
        assert self.transport is not None
        if then is Then.RESET:
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()
        elif then is Then.CLOSE and not self.is_over:
            self.transport.write_eof()
        await self.until(lambda: False)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()


async def lead(line: Line, case: Case) -> None:
    """Lead the side under test to the state of the case."""
    for step in LEAD[case.state]:
        if isinstance(step, bytes):
            line.send(step)
        else:
            await line.until_token(step)
            if step not in line.transcript.tokens:
                raise AssertionError(f"the state was not reached: {line.transcript.tokens}")


async def converse(line: Line, case: Case) -> list[str]:
    """Have the conversation; the transcript of what came back."""
    tokens = line.transcript.tokens
    await lead(line, case)
    begin = len(tokens)
    size = case.cut or max(len(case.sends), 1)
    for start in range(0, len(case.sends), size):
        line.send(case.sends[start : start + size])
        if case.cut is not None:
            await asyncio.sleep(0)
    if case.then is Then.READ:
        await line.until(lambda: any(token.startswith((*ENDS, "A-RELEASE-RQ")) for token in tokens[begin:]))
    elif case.then is Then.RELEASE:
        await line.until(lambda: any(token.startswith((*ENDS, "A-RELEASE-RQ")) for token in tokens[begin:]))
        if "A-RELEASE-RQ" in tokens[begin:]:
            line.send(seeds.RELEASE_RP.data)
            await line.until(lambda: False)
    elif case.then is Then.GO_ON:
        await (_client_goes_on if case.state.is_requestor else _server_goes_on)(line, case.state, begin)
    else:
        await line.leave(case.then)
    line.close()
    return tokens[begin:]


async def _server_goes_on(line: Line, state: State | Service, begin: int) -> None:
    if state is State.CONNECTED:
        await line.until(lambda: len(line.transcript.tokens) > begin)
    line.send(seeds.echo_rq(ECHO_TO_GO_ON).data + seeds.RELEASE_RQ.data)
    await line.until(lambda: any(token.startswith(ENDS) for token in line.transcript.tokens[begin:]))


async def _client_goes_on(line: Line, state: State | Service, begin: int) -> None:
    if state is State.REQUESTED:
        await line.until_token("C-ECHO-RQ", begin)
    if state is not State.RELEASING:
        line.send(services.response(state))
        await line.until_token("A-RELEASE-RQ", begin)
    line.send(seeds.RELEASE_RP.data)
    await line.until(lambda: any(token.startswith("A-ABORT") for token in line.transcript.tokens[begin:]))


class Complaints(logging.Handler):
    """Errors and tracebacks of the log, and what the event loop had to complain about."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info or record.levelno >= logging.ERROR or "CANARY" in text or not text.isprintable():
            self.found.append(f"log: {text!r} {record.exc_info and record.exc_info[1]!r}")

    def of_loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:  # noqa: ARG002 - asyncio's
        self.found.append(f"event loop: {context['message']} {context.get('exception')!r}")

    def taken(self) -> list[str]:
        found, self.found = self.found, []
        return found


class Witness:
    """Another association with the server, on which an echo is always answered."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._echoes = 0

    @classmethod
    async def on(cls, port: int) -> Witness:
        line = await _connected(port)
        await lead(line, Case("witness", b"", ""))
        return cls(line)

    async def echo(self) -> None:
        """An echo on this association, which must be answered."""
        before = len(self._line.transcript.tokens)
        self._echoes += 1
        self._line.send(seeds.echo_rq(1 + self._echoes % 1000).data)
        await self._line.until(lambda: len(self._line.transcript.tokens) > before)
        assert self._line.transcript.tokens[before:] == ["C-ECHO-RSP 0x0000"], self._line.transcript.tokens[before:]

    def close(self) -> None:
        self._line.close()


async def _connected(port: int) -> Line:
    _, line = await asyncio.get_running_loop().create_connection(Line, "127.0.0.1", port)
    return line


class Kind(Enum):
    """Of each there is a strict and a lenient server."""

    PATIENT = "with long deadlines"
    IMPATIENT = "with short ones"
    DECIDING = "with short ones, and with a handler of associations that never decides"


def _kind_for(case: Case) -> Kind:
    if case.state is State.DECIDING:
        return Kind.DECIDING
    return Kind.IMPATIENT if case.then is Then.STALL else Kind.PATIENT


class Standing:
    """The servers of a group, and what is to be checked after each case."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: dict[tuple[bool, Kind], Server] = {}
        self._witnesses: dict[tuple[bool, Kind], Witness] = {}
        self._complaints = Complaints()
        self._answer_at_last = asyncio.Event()
        self._tasks = 0
        self._before: tuple[int, Counter[str]] = 0, Counter()
        self._tasks = 0
        """This task, and those of servers without associations."""
        self.conversations = 0
        """How many there were."""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._complaints.of_loop)
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(self._complaints)
            logging.getLogger(name).propagate = False  # whoever keeps records keeps what their errors refer to
        for strict in (False, True):
            for kind in Kind:
                server = self._server(strict=strict, kind=kind)
                await server.start()
                self._servers[strict, kind] = server
        self._tasks = len(asyncio.all_tasks())
        for _ in range(_TURNS_OF_THREADS):  # what earlier tests in this process have left is not counted
            self._before = await self._resources()
            if not self._before[1]:
                break
            await asyncio.to_thread(gc.collect)
        return self

    def _server(self, *, strict: bool, kind: Kind) -> Server:
        timeouts = Timeouts(artim=PATIENCE, idle=2 * PATIENCE)
        if kind is not Kind.PATIENT:
            timeouts = Timeouts(artim=STALLED, idle=STALLED, admission=STALLED)
        many = dict.fromkeys((f"maximum_associations{each}" for each in ("", "_per_host", "_per_title")), 10 * AT_ONCE)
        options = server_options(
            strictness=Strictness.STRICT if strict else Strictness.LENIENT,
            timeouts=timeouts,
            maximum_length=16384,
            maximum_connections_per_second=None,
            fsync=False,
            **many,
        )
        destinations = {services.DESTINATION: "127.0.0.1:1"}
        server = Server("ARCHIVE", port=0, host="127.0.0.1", options=options, destinations=destinations)
        services.serve(server)

        @server.on_c_store
        async def store(request: StoreRequest) -> Status:
            await request.save_under(self._folder)
            return Status.SUCCESS

        if kind is Kind.DECIDING:

            @server.on_association
            async def decide(request: AssociationRequest) -> None:
                if request.calling_ae_title == WAITS:
                    await asyncio.get_running_loop().create_future()

        @server.on_c_echo
        async def echo(request: EchoRequest) -> Status:
            if request.command.message_id == ASK_FOREVER:
                await self._answer_at_last.wait()
            return Status.SUCCESS

        return server

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for witness in self._witnesses.values():
            witness.close()
        for server in self._servers.values():
            await server.stop()
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self._complaints)
            logging.getLogger(name).propagate = True

    # Cases

    async def run(self, cases: Iterable[Case]) -> list[str]:
        """Have each conversation, in both modes if they differ; the failures."""
        todo = [(case, strict) for case in cases for strict in (False, True) if not strict or case.strict is not None]
        failures = []
        for case, strict in todo:
            if case.then is not Then.STALL:
                failures += await self._one(case, strict=strict)
        stalled = [each for each in todo if each[0].then is Then.STALL]
        for start in range(0, len(stalled), AT_ONCE):
            failures += await self._hanging(stalled[start : start + AT_ONCE])
        return failures + await self._group_is_over()

    async def _one(self, case: Case, *, strict: bool) -> list[str]:
        failures = await self._judged(case, strict=strict)
        self._answer_at_last.set()
        failures += await self._all_is_well(case.name, strict=strict, kind=_kind_for(case))
        self._answer_at_last.clear()
        return failures

    async def _hanging(self, stalled: Sequence[tuple[Case, bool]]) -> list[str]:
        found = await asyncio.gather(*(self._judged(case, strict=strict) for case, strict in stalled))
        failures = [failure for each in found for failure in each]
        for strict, kind in self._servers:
            failures += await self._all_is_well("stalled cases", strict=strict, kind=kind)
        return failures

    async def _judged(self, case: Case, *, strict: bool) -> list[str]:
        self.conversations += 1
        try:
            async with asyncio.timeout(PATIENCE):
                have = self._with_client if case.state.is_requestor else self._with_server
                tokens = await have(case, strict=strict)
        except TimeoutError:
            return [f"{case.name} [{case.state.name}, {case.then.name}, strict={strict}]: the association does not end"]
        except AssertionError as error:
            return [f"{case.name} [{case.state.name}, {case.then.name}, strict={strict}]: {error}"]
        if case.then is Then.RESET:  # which may overtake what was sent
            return []
        return case.judge(tokens, strict=strict, driver="socket")

    async def _with_server(self, case: Case, *, strict: bool) -> list[str]:
        line = await _connected(self._servers[strict, _kind_for(case)].port)
        try:
            tokens = await converse(line, case)
        finally:
            line.close()
        self._check_stored(tokens, case)
        return tokens

    def _check_stored(self, tokens: Sequence[str], case: Case) -> None:
        files = [path for path in self._folder.rglob("*") if path.is_file()]
        for path in files:
            path.unlink()
        answered = tokens.count("C-STORE-RSP 0x0000")
        if case.then in (Then.READ, Then.GO_ON):
            assert len(files) == answered, f"{len(files)} files, {answered} were answered"
        assert all(path.suffix == ".dcm" for path in files), f"left over: {[path.name for path in files]}"

    # Our client

    async def _with_client(self, case: Case, *, strict: bool) -> list[str]:
        line = Line()
        acceptor = await asyncio.get_running_loop().create_server(lambda: line, "127.0.0.1", 0)
        port = acceptor.sockets[0].getsockname()[1]
        client = asyncio.ensure_future(_error_of_client(port, case, self._folder, strict=strict))
        try:
            await line.connected
            tokens = await converse(line, case)
            error = await client
        finally:
            acceptor.close()
            line.close()
            client.cancel()
        if isinstance(case.state, Service):
            self._check_stored(tokens, case)
        elif case.then in (Then.GO_ON, Then.RELEASE) and "A-ABORT" not in ", ".join(tokens):
            assert error is None, f"raised {error!r}"
        elif case.state not in (State.RELEASING, State.COLLIDED) and "A-RELEASE-RQ" not in tokens:
            assert error is not None, "raised nothing"
        return tokens

    # After a case, after a group

    async def _all_is_well(self, name: str, *, strict: bool, kind: Kind) -> list[str]:
        failures = [f"{name}: {each}" for each in self._complaints.taken()]
        try:
            async with asyncio.timeout(PATIENCE):
                await self._witness(strict=strict, kind=kind)
                await self._quiet()
        except (TimeoutError, AssertionError) as error:
            failures.append(f"{name}: after it {error or self._busy()}")
        return failures

    async def _witness(self, *, strict: bool, kind: Kind) -> None:
        port = self._servers[strict, kind].port
        if kind is not Kind.PATIENT:  # where a witness that waits would be timed out too
            witness = await Witness.on(port)
            await witness.echo()
            witness.close()
            return
        if (strict, kind) not in self._witnesses:
            self._witnesses[strict, kind] = await Witness.on(port)
        await self._witnesses[strict, kind].echo()

    def _busy(self) -> str:
        """What is left of a case; nothing if all is back where it was."""
        open_now = sum(len(server.associations) for server in self._servers.values())
        tasks = len(asyncio.all_tasks()) - self._tasks - len(self._witnesses)
        if open_now != len(self._witnesses) or tasks > 0:
            return f"{open_now - len(self._witnesses)} associations, {tasks} tasks are left"
        return ""

    async def _quiet(self) -> None:
        """Give the event loop its turns, until all is back where it was."""
        while self._busy():  # noqa: ASYNC110 - no event tells when a task is gone
            await asyncio.sleep(0)
        for _ in range(5):  # callbacks of tasks that are done
            await asyncio.sleep(0)

    async def _resources(self) -> tuple[int, Counter[str]]:
        """The open descriptors, and the objects of associations that are alive, without those of the witnesses."""
        for witness in self._witnesses.values():
            witness.close()
        self._witnesses.clear()
        async with asyncio.timeout(PATIENCE):
            await self._quiet()
        gc.collect()
        alive = Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, _LEFT_ALONE))
        return _descriptors(), alive

    async def _group_is_over(self) -> list[str]:
        after = await self._resources()
        for _ in range(_TURNS_OF_THREADS):
            if after == self._before:
                break
            await asyncio.to_thread(gc.collect)  # a worker thread drops its last item when it gets its turn
            after = await self._resources()
        complaints = self._complaints.taken()
        if after != self._before:
            complaints.append(f"descriptors and objects were {self._before}, are {after}")
        return [f"at the end of the group: {each}" for each in complaints]


async def _error_of_client(port: int, case: Case, folder: Path, *, strict: bool) -> Exception | None:
    """Have our client associate, do an operation and release; what it raised."""
    seconds = STALLED if case.then is Then.STALL else PATIENCE
    options = ClientOptions(
        maximum_length=16384,
        strictness=Strictness.STRICT if strict else Strictness.LENIENT,
        timeouts=Timeouts(
            association=seconds, store=seconds, artim=seconds, find=seconds, get=seconds, move=seconds, cancel=seconds
        ),
    )
    failed: Exception | None = None
    try:
        contexts = services.contexts_of(case)
        async with connect(f"ARCHIVE@127.0.0.1:{port}", contexts=contexts, options=options) as association:
            failed = await services.error_of(association, case, folder)
    except DimseError as error:
        return failed or error
    return failed


def _descriptors() -> int:
    """The open ones; 0 where the system does not tell."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0
