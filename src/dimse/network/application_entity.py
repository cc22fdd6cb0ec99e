"""A remote application entity, and the options of associations with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from copy import copy
from typing import TYPE_CHECKING, Self

from dimse.address import Address
from dimse.network.association import Association
from dimse.network.client import connect
from dimse.options import ClientOptions, client_options
from dimse.upper_layer.negotiation import ProposedContext

if TYPE_CHECKING:
    from dimse.network.server import AssociationServer as Server


class ApplicationEntity:
    """A remote application entity (PS3.8 7.1.1.4), and the options of associations with it. Immutable.

    The whole jobs, such as `send` and `retrieve`, take one where they take an address.

    >>> async def main():
    ...     archive = ApplicationEntity("ARCHIVE@localhost:11112", ClientOptions(calling_ae_title="WS1"))
    ...     await send(archive, ["study/"])
    """

    def __init__(self, address: str | Address, options: ClientOptions | None = None) -> None:
        self._address = Address.parse(address)
        self._options = client_options(options)

    @property
    def address(self) -> Address:
        """Its address."""
        return self._address

    @property
    def options(self) -> ClientOptions:
        """The options of associations with it."""
        return self._options

    def with_options(self, options: ClientOptions) -> Self:
        """The same application entity with other options."""
        other = copy(self)
        other._options = options
        return other

    def connect(
        self,
        contexts: Iterable[tuple[str, Sequence[str]] | ProposedContext] | None = None,
        *,
        options: ClientOptions | None = None,
        services: Server | None = None,
    ) -> AbstractAsyncContextManager[Association]:
        """An association with it, for an `async with`; see `connect`. `options` replace those above."""
        return connect(self._address, contexts=contexts, options=options or self._options, services=services)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._address}>"


def entity_of(
    address: str | Address | ApplicationEntity,
    options: ClientOptions | None = None,
    calling_ae_title: str | None = None,
    timeout: float | None = None,
) -> ApplicationEntity:
    """The application entity of a job. `options` replace its own; the others replace what they name in the options."""
    entity = address if isinstance(address, ApplicationEntity) else ApplicationEntity(address)
    return entity.with_options(client_options(options or entity.options, calling_ae_title, timeout))
