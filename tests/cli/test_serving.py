"""Serving until a signal: the first lets what is under way end, the second does not."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

import dimse
from dimse.cli.serving import listens, stop, unless, until_signals


async def test_each_signal_sets_its_event() -> None:
    with until_signals() as (stopping, aborting):
        os.kill(os.getpid(), signal.SIGTERM)
        await stopping.wait()
        assert not aborting.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        await aborting.wait()


async def test_a_server_that_cannot_listen_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    async with dimse.Server(port=0) as server:
        assert not await listens(dimse.Server(port=server.port))
    assert f"dimse: cannot listen on localhost:{server.port}: " in capsys.readouterr().err


async def test_open_associations_are_aborted_at_the_second_signal(capsys: pytest.CaptureFixture[str]) -> None:
    server = dimse.Server(port=0)
    assert await listens(server)
    aborting = asyncio.Event()
    async with dimse.connect(f"ANY@localhost:{server.port}") as association:
        aborting.set()
        await stop(server, aborting)
        with pytest.raises(dimse.AssociationError):
            await dimse.CEchoSCU(association).echo()
    assert "waiting for 1 association to end; press Ctrl-C again to abort" in capsys.readouterr().err


async def test_what_ends_by_itself_is_awaited() -> None:
    assert await unless(asyncio.Event(), asyncio.ensure_future(asyncio.sleep(0)))
