"""An archive to look at: rows and files as storing makes them, and a web server over them."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from dimse.node.arrival import OnDuplicate
from dimse.node.examining import examine
from dimse.node.index import Index
from dimse.node.options import WebOptions
from dimse.node.placing import place
from dimse.node.shared_texts import SharedTexts
from dimse.node.web.app import WebServer
from dimse.services.server import Server


def add(index: Index, data: Path, *files: Path) -> None:
    """Store files in the archive."""
    incoming = data / "incoming"
    incoming.mkdir(exist_ok=True)
    arrivals = [examine(file, "test", copy=incoming / str(uuid4())) for file in files]
    with index.writing() as connection:
        for each in place(connection, arrivals, OnDuplicate.KEEP, SharedTexts()):
            assert each.path is not None
            (data / each.path).parent.mkdir(parents=True, exist_ok=True)
            Path(each.arrival.path).rename(data / each.path)


@dataclass(frozen=True)
class Answer:
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    web: WebServer, path: str, body: Any = None, *, method: str | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """GET `path`, or POST `body` as JSON."""

    def exchange() -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
        try:
            sent = None if body is None else json.dumps(body)
            kind = {} if body is None else {"Content-Type": "application/json"}
            how = method or ("GET" if body is None else "POST")
            connection.request(how, path, sent, {**kind, "Connection": "close", **(headers or {})})
            response = connection.getresponse()
            received = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, received, response.read())
        finally:
            connection.close()

    return await asyncio.to_thread(exchange)


def problem(says: str | None) -> Callable[[], Awaitable[str | None]]:
    """What keeps instances from being stored."""

    async def said() -> str | None:
        return says

    return said


@asynccontextmanager
async def serving(
    index: Index, data: Path, options: WebOptions | None = None, **parts: Any
) -> AsyncIterator[WebServer]:
    """A web server, and a DICOM server beside it."""
    async with (
        Server("NODE", port=0) as server,
        WebServer(options or WebOptions(port=0), index=index, server=server, data=data, **parts) as web,
    ):
        yield web
