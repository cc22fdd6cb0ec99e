"""Connections that browsers keep for nothing."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from tests.node.web.archive import ask, serving

from dimse.node.index import Index
from dimse.node.web import app, connections

BODY = b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHo", BODY], ids=["nothing", "a half", "no body"])
async def test_a_connection_without_a_whole_request_ends(
    sqlite_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.05)
    async with serving(sqlite_index, tmp_path) as web:
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        writer.write(sent)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=["nothing", "reads nothing"])
async def test_clients_that_do_nothing_leave_room_in_the_end(
    sqlite_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.5)
    monkeypatch.setattr(app, "MAX_CONNECTIONS", 4)
    monkeypatch.setattr(app, "_PAGE", tmp_path)
    (tmp_path / "index.html").write_bytes(b"x" * 32_000_000)
    async with serving(sqlite_index, tmp_path) as web:
        with ExitStack() as stack:
            for _ in range(3):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", web.port)))
                client.sendall(sent)
            while (await ask(web, "/readyz")).status == 200:
                pass
            while (await ask(web, "/readyz")).status == 503:
                pass
