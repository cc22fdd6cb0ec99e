"""The web server of a node."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import socket
from pathlib import Path

import pytest
from tests.node.web.archive import ask, serving

from dimse import log_limit
from dimse.node.index import Index
from dimse.node.options import WebOptions
from dimse.node.web import app
from dimse.node.web.app import WebServer
from dimse.services.server import Server


async def test_the_page_and_its_files_are_served(sqlite_index: Index, tmp_path: Path) -> None:
    async with serving(sqlite_index, tmp_path) as web:
        kinds = {"/": "text/html", "/page.js": "javascript", "/page.css": "text/css", "/icon.svg": "image/svg+xml"}
        for path, kind in kinds.items():
            answer = await ask(web, path)
            assert answer.status == 200
            assert kind in answer.headers["content-type"]
        for module in re.findall(r'from "\.(/\w+\.js)"', (await ask(web, "/page.js")).body.decode()):
            assert (await ask(web, module)).status == 200
        page = (await ask(web, "/")).body.decode()
        assert "//" not in page.replace("<!doctype html>", "")  # nothing from elsewhere
        for path in ("/index.html", "/page/", "/../app.py", "/%2e%2e/app.py", "//etc/passwd", "/api/"):
            assert (await ask(web, path)).status == 404
        assert (await ask(web, "/", {})).status == 405


async def test_signals_are_left_to_the_node(sqlite_index: Index, tmp_path: Path) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    async with serving(sqlite_index, tmp_path) as web:
        await ask(web, "/healthz")
        assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


async def test_it_stops_with_connections_open_and_frees_the_port(sqlite_index: Index, tmp_path: Path) -> None:
    async with serving(sqlite_index, tmp_path) as web:
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
    assert (await reader.read()).endswith(b"}")
    writer.close()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", web.port))


async def test_a_port_that_is_taken_is_an_error_at_the_start(sqlite_index: Index, tmp_path: Path) -> None:
    async with serving(sqlite_index, tmp_path) as web, Server("NODE", port=0) as server:
        second = WebServer(WebOptions(port=web.port), index=sqlite_index, server=server, data=tmp_path)
        with pytest.raises(OSError, match=f":{web.port}"):
            await second.start()
        await second.stop()


async def test_neither_logs_nor_addresses_have_what_is_searched_for(
    sqlite_index: Index, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serving(sqlite_index, tmp_path) as web:
            await ask(web, "/api/search", {"name": "Mustermann", "patient_id": "4711-secret"})
            await ask(web, "/api/search", {"name": "x" * 500 + "Mustermann"})
            assert (await ask(web, "/api/search?name=Mustermann")).status == 405
    assert "Mustermann" not in caplog.text
    assert "4711" not in caplog.text


async def test_a_failure_of_the_node_is_an_answer(
    sqlite_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(sqlite_index, tmp_path) as web:
        monkeypatch.setattr("dimse.node.web.api.transfers", lambda _: 1 / 0)
        answer = await ask(web, "/api/transfers")
        assert answer.status == 500
        assert answer.json["problem"] == "the node failed: ZeroDivisionError; its log has more"


async def test_requests_that_are_not_valid_do_not_fill_the_log(
    sqlite_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log_limit, "MAXIMUM_ALIKE", 3)
    monkeypatch.setattr(app._LIMIT, "_limit", log_limit.LineLimit())  # other tests have written lines
    async with serving(sqlite_index, tmp_path) as web:
        for _ in range(6):
            reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
            writer.write(b"\x16\x03\x01 TLS\r\n\r\n")
            assert b"400" in await reader.read()
            writer.close()
    assert caplog.text.count("Invalid HTTP request") == 3
