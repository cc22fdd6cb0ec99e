"""A server with the handlers of all services."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import overload

from dimse.messages.message import C_ECHO_RQ, C_FIND_RQ, C_GET_RQ, C_MOVE_RQ, C_STORE_RQ
from dimse.network.server import AssociationServer
from dimse.options import RetryPolicy, ServerOptions
from dimse.services.find_scp import FindHandler, FindService
from dimse.services.get_scp import GetService
from dimse.services.move_scp import Destinations, MoveService
from dimse.services.retrieve_scp import RetrieveHandler
from dimse.services.store_scp import StoreHandler, StoreService
from dimse.services.verification import EchoHandler, EchoService


class Server(AssociationServer):
    """Accepts associations and calls handlers. C-ECHO needs none; other services without a handler are not accepted.

    `port` 0 takes a free port, and `server.port` then says which. `host` is by default the loopback address; "::" is
    every interface, IPv4 and IPv6, and "0.0.0.0" every IPv4 interface.

    >>> server = Server("ARCHIVE", port=11112)
    >>> @server.on_c_store
    ... async def store(request):
    ...     await request.save_under("received")
    ...     return Status.SUCCESS
    >>> async def main():
    ...     await server.serve_forever()
    """

    def __init__(
        self,
        ae_title: str = "DIMSE",
        *,
        host: str = "localhost",
        port: int = 11112,
        options: ServerOptions | None = None,
    ) -> None:
        super().__init__(ae_title, host=host, port=port, options=options)
        self.services[C_ECHO_RQ] = EchoService()

    def on_c_echo(self, handler: EchoHandler) -> EchoHandler:
        """Decorate what answers C-ECHO: `async def handler(request) -> Status`.

        As in every handler, `status.with_comment(...)` has an Error Comment, and `StatusError(status, comment)` may be
        raised instead.
        """
        _check_is_async(handler)
        self.services[C_ECHO_RQ] = EchoService(handler)
        return handler

    def on_c_store(self, handler: StoreHandler) -> StoreHandler:
        """Decorate what answers C-STORE: `async def handler(request: StoreRequest) -> Status`.

        The status goes back when the data set has been read to its end. An exception of the handler becomes
        a failure status: the one of a `StatusError`, out of resources (0xA700) for a full disk, else processing failure
        (0x0110).
        """
        _check_is_async(handler)
        self.services[C_STORE_RQ] = StoreService(handler, self.options.store)
        return handler

    def on_c_find(self, handler: FindHandler) -> FindHandler:
        """Decorate what answers C-FIND: `async def handler(request: QueryRequest)`, which yields a `Dataset` a match.

        Each match goes out when it is yielded, as fast as the peer takes them. A C-CANCEL closes the generator. A
        `StatusError` that it raises is the final status, with its comment; any other exception is Unable to Process
        (0xC000).

        >>> server = Server()
        >>> @server.on_c_find
        ... async def find(request):
        ...     for match in []:
        ...         yield match
        """
        _check_is_generator(handler)
        self.services[C_FIND_RQ] = FindService(handler)
        return handler

    @overload
    def on_c_get(self, handler: RetrieveHandler) -> RetrieveHandler: ...

    @overload
    def on_c_get(self, *, allow_decompression: bool = False) -> Callable[[RetrieveHandler], RetrieveHandler]: ...

    def on_c_get(
        self, handler: RetrieveHandler | None = None, *, allow_decompression: bool = False
    ) -> RetrieveHandler | Callable[[RetrieveHandler], RetrieveHandler]:
        """Decorate what answers C-GET: `async def handler(request: QueryRequest)`, which yields the instances.

        They are given as for `dimse.send`: paths, streams, data sets. First all of them are asked for, so that they
        can be counted; then each is sent on the association, as a stream. The peer gets the counters, and at the end
        the SOP Instance UIDs of those that failed. `allow_decompression` is for peers that take no compressed ones.

        >>> server = Server()
        >>> @server.on_c_get
        ... async def get(request):
        ...     yield "ct.dcm"
        """

        def decorate(handler: RetrieveHandler) -> RetrieveHandler:
            _check_is_generator(handler)
            self.services[C_GET_RQ] = GetService(handler, allow_decompression=allow_decompression)
            return handler

        return decorate if handler is None else decorate(handler)

    def on_c_move(
        self,
        destinations: Destinations,
        *,
        associations: int = 1,
        retry: RetryPolicy | None = None,
        allow_decompression: bool = False,
    ) -> Callable[[RetrieveHandler], RetrieveHandler]:
        """Decorate what answers C-MOVE: `async def handler(request: QueryRequest)`, which yields the instances.

        `destinations` maps AE titles to addresses ("WS1@host:port", an `Address`, or a `MoveDestination` with TLS
        and other options), or is a function from a title to one of those or None, which may be async. A title that
        it does not know is answered 0xA801. The instances go there as `dimse.send` sends them, with its retries,
        over `associations` at once; the requestor's title and message ID are the move originator.

        >>> server = Server()
        >>> @server.on_c_move({"WS1": "WS1@workstation:11112"})
        ... async def move(request):
        ...     yield "ct.dcm"
        """

        def decorate(handler: RetrieveHandler) -> RetrieveHandler:
            _check_is_generator(handler)
            self.services[C_MOVE_RQ] = MoveService(
                handler,
                self.ae_title,
                destinations,
                associations=associations,
                retry=retry or RetryPolicy(),
                allow_decompression=allow_decompression,
            )
            return handler

        return decorate


def _check_is_generator(handler: object) -> None:
    if not inspect.isasyncgenfunction(handler):
        raise TypeError(f"the handler {getattr(handler, '__name__', handler)} must be an async def that yields")


def _check_is_async(handler: object) -> None:
    if not inspect.iscoroutinefunction(handler):
        raise TypeError(f"the handler {getattr(handler, '__name__', handler)} must be an async def")
