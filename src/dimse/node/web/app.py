"""The web server of a node: Starlette and uvicorn in the event loop of the node."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from dimse.address import host_and_port
from dimse.log_limit import LogLimit
from dimse.network.listening import listening_sockets
from dimse.node.index import Index
from dimse.node.options import WebOptions, is_loopback
from dimse.node.web.api import Api, Parts
from dimse.node.web.connections import BrowserConnection, Door
from dimse.node.web.health import Health
from dimse.node.web.login import Gate, refused
from dimse.node.web.metrics import Exposition, Metrics
from dimse.node.web.rendering import Renderer
from dimse.node.web.thumbnails import Thumbnails
from dimse.services.move_scp import MoveDestination
from dimse.services.server import Server

logger = logging.getLogger("dimse.node")

STOP_TIME: Final = 3
"""Seconds that requests have to end when the server stops."""
MAX_CONNECTIONS: Final = 200
"""Connections of browsers at once, and requests: more requests are answered with 503."""

_LIMIT: Final = LogLimit()
"""Of the lines that uvicorn writes for each request that is not valid, and each connection that is refused."""
_METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The text format of Prometheus that `generate_latest` writes."""
_PAGE: Final = Path(__file__).parent / "page"
_MODULES: Final = ("page", "elements", "requests", "studies", "viewer", "live")
_FILES: Final = {"": "index.html"} | {
    name: name for name in (*(f"{each}.js" for each in _MODULES), "page.css", "icon.svg")
}


async def _no_problem() -> None:
    """Nothing keeps instances from being stored."""


class WebServer:
    """The page of a node, its API, `/metrics`, `/healthz` and `/readyz`. As a context manager it listens in the block.

    :param options: Where to listen, and who may use it. `port` 0 takes a free one; `port` then says which.
    :param index: The index that is shown.
    :param server: The server whose associations are shown.
    :param data: The folder of the data.
    :param minimum_free: Bytes that must be free on the disk to be ready.
    :param problem: What keeps instances from being stored, in words; None if nothing does.
    :param queue: The number of instances that wait to be committed.
    :param destinations: The peers that can be reached, by AE title.
    :param metrics: What the pieces of the node count in.
    """

    def __init__(
        self,
        options: WebOptions,
        *,
        index: Index,
        server: Server,
        data: Path,
        minimum_free: int = 0,
        problem: Callable[[], Awaitable[str | None]] = _no_problem,
        queue: Callable[[], int] = lambda: 0,
        destinations: Callable[[], Mapping[str, MoveDestination]] = dict,
        metrics: Metrics | None = None,
    ) -> None:
        self.options = options
        self.server = server
        self.port = options.port
        self.metrics = metrics or Metrics()
        self._health = Health(index, data, minimum_free, problem)
        self._exposition = Exposition(self.metrics, index, self._health, server.stats, queue)
        self._renderer = Renderer()
        parts = Parts(
            index=index,
            server=server,
            data=data,
            destinations=destinations,
            exposition=self._exposition,
            renderer=self._renderer,
            thumbnails=Thumbnails(data),
        )
        self._app: ASGIApp = Gate(self._starlette(Api(parts)), options)
        self._server: _Uvicorn | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where the page is."""
        scheme = "https" if self.options.certificate else "http"
        return f"{scheme}://{host_and_port(self.options.host, self.port)}/"

    def _starlette(self, api: Api) -> Starlette:
        routes: list[BaseRoute] = [Route(f"/{path}", _file(name)) for path, name in _FILES.items()]
        routes += [
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics_text),
            *api.routes(),
        ]
        return Starlette(routes=routes, exception_handlers={404: _not_found, 405: _not_allowed, 500: _failed})

    async def _healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def _readyz(self, _: Request) -> Response:
        problems = (await self._health.state()).problems
        return JSONResponse(
            {"status": "ready" if not problems else "not ready", "problems": problems}, 503 if problems else 200
        )

    async def _metrics_text(self, _: Request) -> Response:
        return Response(await self._exposition.text(), headers={"Content-Type": _METRICS})

    async def start(self) -> None:
        """Listen. Raises `OSError` where the port is taken, or the certificate cannot be read."""
        config = uvicorn.Config(
            self._app,
            log_config=None,  # the node's logging is the program's
            access_log=False,  # it would have what is searched for
            lifespan="off",
            http=BrowserConnection,
            ws="none",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_TIME,
            limit_concurrency=MAX_CONNECTIONS + 1,  # it refuses at as many
            **_tls(self.options),
        )
        config.load()
        logging.getLogger("uvicorn.error").addFilter(_LIMIT)
        sockets = await listening_sockets(self.options.host, self.options.port)
        self.port = sockets[0].getsockname()[1]
        started = asyncio.Event()
        self._server = _Uvicorn(config, started)
        self._serving = asyncio.create_task(self._server.serve(sockets))
        self._serving.add_done_callback(lambda _: started.set())
        await started.wait()  # one that is stopped before leaves its sockets open
        logger.info("the page is at %s", self.url)
        if self.options.certificate is None and not is_loopback(self.options.host):
            logger.warning("the page and its password or token cross the network in clear text: set a certificate")

    async def stop(self) -> None:
        """Let requests end, for `STOP_TIME` seconds, and stop listening."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.wait([self._serving])
            self._serving.result()
        self._server = self._serving = None
        await self._renderer.end()
        await self._health.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()


class _Uvicorn(uvicorn.Server):
    """uvicorn with a door of ours, and without its signal handlers, as the node has its own.

    It sets `begun` when it serves.
    """

    def __init__(self, config: uvicorn.Config, begun: asyncio.Event) -> None:
        super().__init__(config)
        self._begun = begun
        self._door: Door | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        self._door = Door(sockets or (), self.config.ssl, MAX_CONNECTIONS, self._connection)
        self._begun.set()

    def _connection(self) -> BrowserConnection:
        return BrowserConnection(self.config, self.server_state, self.lifespan.state)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._door is not None:
            await self._door.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _tls(options: WebOptions) -> dict[str, Any]:
    if options.certificate is None:
        return {}
    given = {"ssl_certfile": options.certificate, "ssl_keyfile": options.key}
    if options.client_authorities is None:
        return given
    return given | {"ssl_ca_certs": str(options.client_authorities), "ssl_cert_reqs": ssl.CERT_REQUIRED}


def _file(name: str) -> Callable[[Request], FileResponse]:
    return lambda _: FileResponse(_PAGE / name)


async def _not_found(_: Request, __: Exception) -> Response:
    return refused(404, "there is nothing here")


async def _not_allowed(_: Request, __: Exception) -> Response:
    return refused(405, "not with this method")


async def _failed(_: Request, error: Exception) -> Response:
    return refused(500, f"the node failed: {type(error).__name__}; its log has more")
