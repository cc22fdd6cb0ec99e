"""Connections that browsers keep for nothing."""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio import to_thread
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from tests.certificate import CERTIFICATE, KEY
from tests.node.web.archive import serving

from dimse.node.index import Index
from dimse.node.options import WebOptions
from dimse.node.web import app, connections

BODY = b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"

LONG = 32_000_000
"""Bytes that do not fit into the buffers of a connection."""


@pytest.fixture
def long_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of `LONG` bytes."""
    monkeypatch.setattr(app, "_PAGE", tmp_path)
    (tmp_path / "index.html").write_bytes(b"x" * LONG)


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


@pytest.mark.usefixtures("long_page")
async def test_a_connection_whose_response_is_not_read_ends(
    sqlite_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.05)
    async with serving(sqlite_index, tmp_path) as web:
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port, limit=1)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = len(await reader.read(1))
        for _ in range(10):  # each ends after `PATIENCE`
            idle, closing = await asyncio.open_connection("127.0.0.1", web.port)
            with suppress(ConnectionResetError):
                await idle.read()
            closing.close()
        with suppress(ConnectionResetError):
            while data := await reader.read(65536):
                received += len(data)
        writer.close()
    assert received < LONG


@pytest.mark.usefixtures("long_page")
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=["nothing", "reads nothing"])
@pytest.mark.parametrize("is_secure", [False, True], ids=["http", "https"])
async def test_a_host_with_too_many_connections_shuts_out_itself_alone(
    sqlite_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes, is_secure: bool
) -> None:
    monkeypatch.setattr(app, "MAX_CONNECTIONS", 4)
    certificate = tmp_path / "certificate.pem"
    certificate.write_text(CERTIFICATE + KEY)
    options = WebOptions(host="localhost", port=0, certificate=certificate if is_secure else None)
    async with serving(sqlite_index, tmp_path, options) as web:
        context = ssl.create_default_context(cafile=certificate)
        context.check_hostname = False
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port, ssl=context if is_secure else None)
        with ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(("::1", web.port))) for _ in range(20)]
            for client in clients:
                with suppress(ConnectionError):
                    client.sendall(sent)
            for client in clients[:-3]:  # the oldest
                with suppress(ConnectionError):
                    while await to_thread(client.recv, 65536):
                        pass
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            writer.close()


async def test_a_handshake_that_does_not_end_is_given_up(
    sqlite_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.05)
    certificate = tmp_path / "certificate.pem"
    certificate.write_text(CERTIFICATE + KEY)
    async with serving(sqlite_index, tmp_path, WebOptions(port=0, certificate=certificate)) as web:
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        writer.write(b"\x16\x03\x01")
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        monkeypatch.undo()
        _, idle = await asyncio.open_connection("127.0.0.1", web.port)  # the end does not wait for it
    idle.close()
