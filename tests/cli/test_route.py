"""`dimse route`: what arrives is sent on by rules, and its spool shows how that is doing."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import dimse as library
from dimse import ServerOptions, Status
from dimse.dataset.spool import Spool
from dimse.testing import FakeArchive

Dimse = Callable[..., Any]
Start = Callable[..., Awaitable[asyncio.subprocess.Process]]

Line = dict[str, Any]


class Router:
    """A `dimse route --json` that runs during the test."""

    def __init__(self, process: asyncio.subprocess.Process, config: Path) -> None:
        self.process = process
        self.config = config
        self.address = ""

    async def line(self, event: str) -> Line:
        """The next line of an event."""
        assert self.process.stdout is not None
        while text := await asyncio.wait_for(self.process.stdout.readline(), 30):
            found: Line = json.loads(text)
            if found["event"] == event:
                return found
        raise AssertionError(f"no {event}: {(await self.process.communicate())[1].decode()}")

    async def end(self, number: int = signal.SIGTERM) -> tuple[list[Line], str]:
        """Ask it to end, and take what it had to say."""
        self.process.send_signal(number)
        out, err = await asyncio.wait_for(self.process.communicate(), 30)
        assert self.process.returncode == 0, err.decode()
        return [json.loads(line) for line in out.splitlines()], err.decode()


@asynccontextmanager
async def routing(start: Start, config: Path, text: str, *options: str) -> AsyncIterator[Router]:
    await asyncio.to_thread(config.write_text, text)
    router = Router(await start("route", "--config", config, "--port", "0", "--json", *options), config)
    try:
        first = await router.line("listening")
        router.address = f"ANY@localhost:{first['port']}"
        yield router
    finally:
        if router.process.returncode is None:
            router.process.kill()
            await router.process.communicate()


@asynccontextmanager
async def archive(title: str, port: int = 0) -> AsyncIterator[tuple[library.Server, asyncio.Queue[tuple[str, str]]]]:
    """A storage SCP, and the calling AE title and modality of each instance that it has received."""
    server = library.Server(title, port=port, options=ServerOptions(maximum_connections_per_second=None))
    received: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    @server.on_c_store
    async def store(request: library.StoreRequest) -> int:
        received.put_nowait((request.association.calling_ae_title, request.dataset.Modality))
        return Status.SUCCESS

    async with server:
        yield server, received


def destination(name: str, server: library.Server) -> str:
    return f'[destinations.{name}]\npeer = "{server.ae_title}@localhost:{server.port}"\n'


async def send(router: Router, *paths: Path, calling: str = "WS1") -> library.SendReport:
    return await library.send(router.address, paths, calling_ae_title=calling, raise_failures=False)


async def test_rules_choose_the_destinations(start: Start, tmp_path: Path, ct: Path, mr: Path) -> None:
    async with archive("A") as (a, at_a), archive("B") as (b, at_b), archive("C") as (c, at_c):
        text = (
            'spool = "spool"\ndefault = "c"\n'
            + "".join(destination(server.ae_title.lower(), server) for server in (a, b, c))
            + '[[rules]]\ncalling = "CT?"\nmodality = ["CT", "PT"]\nto = ["a", "b"]\n'
            + '[[rules]]\nsop-class = "MR"\ncalled = "ANY"\nto = "b"\n'
        )
        async with routing(start, tmp_path / "route.toml", text, "--title", "ANY") as router:
            await send(router, ct, calling="CT1")
            assert await at_a.get() == ("ANY", "CT")
            assert await at_b.get() == ("ANY", "CT")
            await send(router, ct, calling="CT10")
            assert await at_c.get() == ("ANY", "CT")
            await send(router, mr)
            assert await at_b.get() == ("ANY", "MR")
            lines, _ = await router.end()
        assert (at_a.empty(), at_b.empty(), at_c.empty()) == (True, True, True)
        received = [line for line in lines if line["event"] == "received"]
        assert [line["destinations"] for line in received] == [["a", "b"], ["c"], ["b"]]
        summary = lines[-1]
        assert (summary["event"], summary["received"], summary["delivered"], summary["waiting"]) == ("summary", 3, 4, 0)
    assert not list((tmp_path / "spool").rglob("*.dcm"))


async def test_edits_are_of_one_destination(start: Start, tmp_path: Path, ct: Path) -> None:
    with FakeArchive() as clinic, FakeArchive() as research:
        text = (
            f'spool = "spool"\ndefault = ["clinic", "research"]\n[destinations.clinic]\npeer = "{clinic.address}"\n'
            f'[destinations.research]\npeer = "{research.address}"\nremove = "PatientBirthDate"\n'
            'set = {PatientName = "Anon", PatientID = ""}\n'
        )
        async with routing(start, tmp_path / "route.toml", text) as router:
            await send(router, ct)
            assert {(await router.line("delivered"))["destination"] for _ in "12"} == {"clinic", "research"}
            await router.end()
        [original], [edited] = clinic.instances, research.instances
    assert (original.PatientName, original.PatientID) == ("CompressedSamples^CT1", "1CT1")
    assert (edited.PatientName, edited.PatientID) == ("Anon", "")
    assert "PatientBirthDate" not in edited
    assert edited.PixelData == original.PixelData


async def test_what_no_rule_fits_is_refused(start: Start, tmp_path: Path, ct: Path) -> None:
    text = 'spool = "s"\n[destinations.a]\npeer = "A@localhost:1"\n[[rules]]\nmodality = "MR"\nto = "a"\n'
    async with routing(start, tmp_path / "route.toml", text) as router:
        report = await send(router, ct)
        assert [(each.status, each.comment) for each in report.failures] == [(0x0124, "no rule is for this object")]
        refused = await router.line("refused")
        assert "no rule is for this object" in refused["error"]
        await router.end()


async def test_the_status_of_a_running_router_and_of_a_stopped_one(
    beside: Callable[..., Awaitable[Any]], start: Start, tmp_path: Path, ct: Path, closed_port: int
) -> None:
    text = f'spool = "spool"\ndefault = "a"\n[destinations.a]\npeer = "A@localhost:{closed_port}"\n'
    async with routing(start, tmp_path / "route.toml", text) as router:
        await send(router, ct)
        while True:  # it writes the state once a second
            [state] = (await beside("route", "--config", router.config, "--status", "--json")).lines
            if state["error"] is not None:
                break
        assert (state["name"], state["running"], state["waiting"], state["delivered"]) == ("a", True, 1, 0)
        assert "cannot connect" in state["error"]
        assert state["next_attempt"] is not None or state["in_work"]
        shown = await beside("route", "--config", router.config, "--status")
        assert shown.out.startswith("a: 1 waiting (")
        lines, errors = await router.end()
        assert lines[-1]["waiting"] == 1
        assert "a cannot be reached" in errors
        shown = await beside("route", "--config", router.config, "--status")
        assert shown.err == "dimse: no router is running on this spool\n"
        assert shown.out.startswith("a: 1 waiting (")
    assert Spool(tmp_path / "spool").contents("a").waiting.files == 1


async def test_a_second_router_on_a_spool_is_refused(
    beside: Callable[..., Awaitable[Any]], start: Start, tmp_path: Path
) -> None:
    text = 'spool = "spool"\ndefault = "a"\n[destinations.a]\npeer = "A@localhost:1"\n'
    async with routing(start, tmp_path / "route.toml", text) as router:
        second = await beside("route", "--config", router.config, "--port", "0")
        assert second.code == 1
        assert second.err == f"dimse: {tmp_path / 'spool'}: another process forwards from this spool\n"
        await router.end()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP on Windows")
async def test_hangup_tries_again_what_was_set_aside(start: Start, tmp_path: Path, ct: Path) -> None:
    async with archive("A") as (server, received):
        text = 'spool = "spool"\ndefault = "a"\n' + destination("a", server)
        aside = tmp_path / "spool" / "failed" / "a" / "000000000"
        aside.mkdir(parents=True)
        shutil.copy(ct, aside / "000000000001.dcm")
        async with routing(start, tmp_path / "route.toml", text) as router:
            assert received.empty()
            router.process.send_signal(signal.SIGHUP)
            assert await received.get() == ("ROUTER", "CT")
            assert (await router.line("delivered"))["destination"] == "a"
            await router.end()
    assert not list((tmp_path / "spool").rglob("*.dcm"))


async def test_the_port_is_taken(beside: Callable[..., Awaitable[Any]], tmp_path: Path) -> None:
    config = tmp_path / "route.toml"
    config.write_text('spool = "spool"\ndefault = "a"\n[destinations.a]\npeer = "A@localhost:1"\n')
    async with archive("A") as (server, _):
        done = await beside("route", "--config", config, "--port", server.port)
    assert done.code == 1
    assert done.err == f"dimse: cannot listen on localhost:{server.port}: Address already in use; choose another port\n"
