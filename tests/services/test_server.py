"""How handlers are registered, and `run` in a process of its own, which real signals end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from pydicom import Dataset
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, VERIFICATION, encoded, instance

from dimse import CEchoSCU, ClientOptions, QueryRequest, Server, Status, connect
from dimse.messages.message import C_STORE_RSP
from dimse.testing import ScriptedPeer, associate_request, echo_request, message_pdvs, store_request

unix = pytest.mark.skipif(os.name != "posix", reason="on Windows a signal goes to a whole group of processes")
one_loop = pytest.mark.asyncio(loop_factories=["asyncio"])
"""The program has its own loop: which one talks to it does not matter."""

PROGRAM = """
import asyncio, sys
from dimse import Server, ServerOptions, Status

server = Server(port=int(sys.argv[1]), options=ServerOptions(stop_timeout=60))

@server.on_c_echo
async def wait(request):
    print("waiting", flush=True)
    await asyncio.Event().wait()

@server.on_c_store
async def read(request):
    print("reading", flush=True)
    async for _ in request.pixels():
        pass
    return Status.SUCCESS

async def alongside():
    print(server.port, flush=True)
    if "fail" in sys.argv:
        raise ValueError("alongside failed")
    try:
        await asyncio.Event().wait()
    finally:
        print("stopping", flush=True)

factory = None
if "uvloop" in sys.argv:
    import uvloop
    factory = uvloop.new_event_loop
server.run(alongside, loop_factory=factory)
print("after run", flush=True)
"""


async def line_of(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


@asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[Process]:
    """The program as a process; `0` as its first argument takes a free port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", PROGRAM, *arguments, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def peer_of(process: Process) -> AsyncIterator[ScriptedPeer]:
    async with await ScriptedPeer.connect(int(await line_of(process))) as peer:
        await peer.associate(associate_request((VERIFICATION, [IMPLICIT]), (CT, [EXPLICIT])))
        yield peer


async def assert_quiet_end(process: Process) -> None:
    out, err = await process.communicate()
    assert (process.returncode, out.decode().split("\n")[-2], err.decode()) == (0, "after run", "")


@unix
@one_loop
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_signal_lets_the_association_finish(number: signal.Signals, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    *beginning, end = message_pdvs(store_request(), encoded(instance(pixels=20_000)), context=3)
    async with program("0", loop) as process, peer_of(process) as peer:
        await peer.send(beginning)
        assert await line_of(process) == "reading"
        process.send_signal(number)
        assert await line_of(process) == "stopping"
        await peer.send(end)
        message = (await peer.receive_message()).message
        assert isinstance(message, C_STORE_RSP)
        assert message.status == Status.SUCCESS
        await peer.release()
        await assert_quiet_end(process)


@unix
@one_loop
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_second_signal_does_not_wait(number: signal.Signals) -> None:
    async with program("0") as process, peer_of(process) as peer:
        await peer.send(message_pdvs(echo_request()))
        assert await line_of(process) == "waiting"
        process.send_signal(number)
        assert await line_of(process) == "stopping"
        process.send_signal(number)
        await assert_quiet_end(process)


@one_loop
async def test_an_error_of_what_runs_alongside_ends_run() -> None:
    async with program("0", "fail") as process:
        out, err = await process.communicate()
        assert (process.returncode, "after run" in out.decode()) == (1, False)
        assert err.decode().rstrip().endswith("ValueError: alongside failed")


@one_loop
async def test_a_taken_port_ends_run() -> None:
    async with Server(port=0) as server, program(str(server.port)) as process:
        _, err = await process.communicate()
        assert process.returncode == 1
        assert "OSError" in err.decode()


def test_run_leaves_the_signal_handlers_as_they_were() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    server = Server(port=0)

    async def raise_signal() -> None:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.Event().wait()

    server.run(raise_signal)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_run_inside_an_event_loop_is_an_error() -> None:
    async def run() -> None:
        Server(port=0).run()

    with pytest.raises(RuntimeError, match="inside an event loop: await serve_forever"):
        asyncio.run(run())


def test_run_outside_the_main_thread_is_an_error() -> None:
    with ThreadPoolExecutor() as threads, pytest.raises(RuntimeError, match="only in the main thread"):
        threads.submit(Server(port=0).run).result()


# Handlers


def test_options_of_another_kind_are_refused() -> None:
    with pytest.raises(TypeError, match="options must be a ServerOptions, not ClientOptions"):
        Server(options=ClientOptions())  # type: ignore[arg-type]


@pytest.mark.parametrize("decorator", ["on_c_echo", "on_c_store", "on_c_find", "on_c_get", "on_c_move"])
def test_a_plain_function_is_not_a_handler(decorator: str) -> None:
    def handler(_: object) -> Status:
        return Status.SUCCESS

    with pytest.raises(TypeError, match="the handler handler must be an async def"):
        getattr(Server(destinations={}), decorator)(handler)


async def test_the_last_handler_counts() -> None:
    server = Server(port=0)

    async def handler(_: object, *, status: Status) -> Status:
        return status

    server.on_c_echo(partial(handler, status=Status.PROCESSING_FAILURE))
    server.on_c_echo(partial(handler, status=Status.SUCCESS))
    async with server, connect(f"ARCHIVE@localhost:{server.port}") as association:
        assert (await CEchoSCU(association).echo()).status == Status.SUCCESS


def test_a_decorator_returns_the_handler() -> None:
    """So that one function can serve two services."""
    server = Server(destinations={})

    async def one(_: object) -> Status:
        return Status.SUCCESS

    async def many(_: QueryRequest) -> AsyncIterator[Dataset]:
        for nothing in list[Dataset]():
            yield nothing

    assert server.on_c_echo(one) is one
    assert server.on_c_store(one) is one
    assert server.on_c_find(many) is many
    assert server.on_c_get(server.on_c_move(many)) is many


def test_c_move_needs_destinations() -> None:
    async def nothing(_: QueryRequest) -> AsyncIterator[str]:
        for each in list[str]():
            yield each

    with pytest.raises(ValueError, match="destinations="):
        Server().on_c_move(nothing)


@pytest.mark.parametrize("destinations", [["WS1@localhost:104"], "WS1@localhost:104", {"WS1": None}])
def test_destinations_of_the_wrong_type_are_found_at_once(destinations: Any) -> None:
    async def nothing(_: QueryRequest) -> AsyncIterator[str]:
        for each in list[str]():
            yield each

    with pytest.raises(TypeError, match=r"destinations must be a mapping or a function|an address must be a str"):
        Server(destinations=destinations).on_c_move(nothing)


@pytest.mark.parametrize("destination", ["no port@", "A TITLE OF SEVENTEEN@localhost:104"])
def test_a_destination_that_cannot_be_one_is_found_at_once(destination: str) -> None:
    async def nothing(_: QueryRequest) -> AsyncIterator[str]:
        for each in list[str]():
            yield each

    with pytest.raises(ValueError, match=r"AE title|address"):
        Server(destinations={"WS1": destination}).on_c_move(nothing)
