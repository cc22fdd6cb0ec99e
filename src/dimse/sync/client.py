"""A client that keeps its associations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from dimse.address import Address
from dimse.network.application_entity import ApplicationEntity
from dimse.options import ClientOptions
from dimse.services import client
from dimse.sync.association import Association
from dimse.sync.facade import Blocking, Facade, blocking_method, made_by
from dimse.sync.results import Finding
from dimse.upper_layer.negotiation import ProposedContext


class Client(Facade[client.Client]):
    """A client of one application entity, which keeps its associations for the next job; see `dimse.Client`."""

    def __init__(
        self,
        address: str | Address | ApplicationEntity,
        *,
        calling_ae_title: str | None = None,
        options: ClientOptions | None = None,
        timeout: float | None = None,
        maximum_associations: int = 4,
        idle: float = 10,
    ) -> None:
        super().__init__(
            client.Client(
                address,
                calling_ae_title=calling_ae_title,
                options=options,
                timeout=timeout,
                maximum_associations=maximum_associations,
                idle=idle,
            )
        )

    @property
    def address(self) -> Address:
        """The address of the application entity."""
        return self._asynchronous.address

    @property
    def options(self) -> ClientOptions:
        """The options of its associations."""
        return self._asynchronous.options

    def connect(
        self, contexts: Iterable[tuple[str, Sequence[str]] | ProposedContext] | None = None
    ) -> AbstractContextManager[Association]:
        """One of its associations; see `dimse.Client.connect`."""
        return Blocking(self._asynchronous.connect(contexts), Association)

    commit = blocking_method(client.Client.commit)
    echo = blocking_method(client.Client.echo)
    find = made_by(client.Client.find, Finding)
    send = blocking_method(client.Client.send)
    get = blocking_method(client.Client.get)
    move = blocking_method(client.Client.move)
    retrieve = blocking_method(client.Client.retrieve)
    close = blocking_method(client.Client.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._asynchronous)
