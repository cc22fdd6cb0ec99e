"""A client that keeps its associations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import wraps
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from dimse.address import Address
from dimse.network.application_entity import ApplicationEntity, entity_of
from dimse.network.association import Association
from dimse.network.pool import AssociationPool, PooledEntity
from dimse.options import ClientOptions
from dimse.services.commitment import commit
from dimse.services.finding import find
from dimse.services.getting import get
from dimse.services.moving import move
from dimse.services.retrieving import retrieve
from dimse.services.sending import send
from dimse.services.verification import echo
from dimse.upper_layer.negotiation import ProposedContext

P = ParamSpec("P")
T = TypeVar("T")


def _with_client(job: Callable[Concatenate[ApplicationEntity, P], T]) -> Callable[Concatenate[Client, P], T]:
    """A whole job as a method, on the client's associations."""

    @wraps(job)
    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return job(client._entity, *args, **kwargs)

    signature = inspect.signature(job)
    first, *others = signature.parameters.values()
    vars(method)["__signature__"] = signature.replace(
        parameters=[first.replace(name="self", annotation=first.empty), *others]
    )
    return method


class Client:
    """A client of one application entity, which keeps its associations for the next job: `send`, `retrieve` and so on.

    Jobs may run at once. They share at most `maximum_associations`, each of which is released after `idle` seconds
    without use; a job that finds all of them in use waits up to `Timeouts.connect`. Leaving the `async with` releases
    what is open.

    The methods are the functions of the same name without the address. `options` given to one of them replace those of
    the client, for this job, which then shares associations only with jobs of the same options.

    >>> async def main():
    ...     async with Client("ARCHIVE@localhost:11112", calling_ae_title="WS1") as archive:
    ...         await archive.echo()
    ...         await archive.send(["study/"])
    ...         await archive.send(["report.dcm"])  # on the same association, if it has the context
    """

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
        if maximum_associations < 1:
            raise ValueError(f"maximum_associations must be at least 1, not {maximum_associations}")
        if not idle >= 0:
            raise ValueError(f"idle must be at least 0 seconds, not {idle!r}")
        entity = entity_of(address, options, calling_ae_title, timeout)
        self._pool = AssociationPool(entity.address, maximum_associations, idle)
        self._entity = PooledEntity(self._pool, entity.address, entity.options)

    @property
    def address(self) -> Address:
        """The address of the application entity."""
        return self._entity.address

    @property
    def options(self) -> ClientOptions:
        """The options of its associations."""
        return self._entity.options

    def connect(
        self, contexts: Iterable[tuple[str, Sequence[str]] | ProposedContext] | None = None
    ) -> AbstractAsyncContextManager[Association]:
        """One of its associations, which has these `contexts`, for an `async with`; see `dimse.connect`.

        Leaving the block gives it back; leaving it by an exception that is no answer of the peer aborts it.
        """
        return self._entity.connect(contexts)

    commit = _with_client(commit)
    echo = _with_client(echo)
    find = _with_client(find)
    send = _with_client(send)
    get = _with_client(get)
    move = _with_client(move)
    retrieve = _with_client(retrieve)

    async def close(self) -> None:
        """Release the associations. Jobs that are under way finish theirs; no other can begin."""
        await self._pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Client {self.address}>"
