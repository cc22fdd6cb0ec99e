"""A server with the handlers of all services."""

from __future__ import annotations

import inspect

from dimse.ae import ServerOptions
from dimse.messages.primitives import C_ECHO_RQ, C_STORE_RQ
from dimse.network.server import AssociationServer
from dimse.services.storage import StoreHandler, StoreService
from dimse.services.verification import EchoHandler, EchoService


class Server(AssociationServer):
    """Takes associations and calls handlers. C-ECHO is answered without one; what has none is not accepted.

    `port` 0 takes a free port, and `server.port` then says which. `host` is the loopback address unless told
    otherwise; "0.0.0.0" or "::" is every interface.

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
        host: str = "127.0.0.1",
        port: int = 11112,
        options: ServerOptions | None = None,
    ) -> None:
        super().__init__(ae_title, host=host, port=port, options=options)
        self.services[C_ECHO_RQ] = EchoService()

    def on_c_echo(self, handler: EchoHandler) -> EchoHandler:
        """Decorate what answers C-ECHO: `async def handler(request) -> Status`."""
        _check_is_async(handler)
        self.services[C_ECHO_RQ] = EchoService(handler)
        return handler

    def on_c_store(self, handler: StoreHandler) -> StoreHandler:
        """Decorate what answers C-STORE: `async def handler(request: StoreRequest) -> Status`.

        The status goes back when the data set has been read to its end. An exception of the handler becomes
        a failure status: out of resources (0xA700) for a full disk, else processing failure (0x0110).
        """
        _check_is_async(handler)
        self.services[C_STORE_RQ] = StoreService(handler, self.options)
        return handler


def _check_is_async(handler: object) -> None:
    if not inspect.iscoroutinefunction(handler):
        raise TypeError(f"the handler {getattr(handler, '__name__', handler)} must be an async def")
