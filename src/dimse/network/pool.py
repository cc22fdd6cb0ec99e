"""Associations with one application entity that are kept for their next use.

1. An association is lent to one user at a time. At most `maximum` are open; further users wait in turn.
2. A user gets the kept association that was used last, of those with the same options that proposed the contexts that
   the user needs. Otherwise one is opened, after the one that was kept longest was released if there are too many.
3. An association that a user left in order is kept, and released after `idle` seconds. One that a user left by an error
   is aborted, unless the error is an answer of the peer: a status, or a context that it did not accept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dimse.address import Address
from dimse.errors import AssociationTimeout, DimseError, LocalProtocolError, PresentationContextError, StatusError
from dimse.network.application_entity import ApplicationEntity
from dimse.network.association import Association
from dimse.network.client import DEFAULT_CONTEXTS, connect
from dimse.options import ClientOptions
from dimse.upper_layer.negotiation import ProposedContext

if TYPE_CHECKING:
    from dimse.network.server import AssociationServer as Server

logger = logging.getLogger("dimse.network")

_Context = tuple[str, Sequence[str]] | ProposedContext


@dataclass(slots=True, eq=False)
class _Member:
    """An association of the pool."""

    association: Association
    contexts: frozenset[tuple[object, ...]]
    """Those that were proposed."""
    options: ClientOptions
    stack: AsyncExitStack
    """Releases it."""
    expiry: asyncio.TimerHandle | None = None
    """When it has been kept too long; None while it is lent."""


class AssociationPool:
    """Keeps associations with one application entity; see the rules above. It belongs to one event loop."""

    def __init__(self, address: Address, maximum: int, idle: float) -> None:
        self._address = address
        self._maximum = maximum
        self._idle = idle
        self._turns: asyncio.Semaphore | None = asyncio.Semaphore(maximum)
        """None once it is closed."""
        self._lent = 0
        self._kept: list[_Member] = []
        """Those that are not lent, the one that was used last at the end."""
        self._ending = set[asyncio.Task[None]]()

    @asynccontextmanager
    async def lend(self, contexts: Iterable[_Context] | None, options: ClientOptions) -> AsyncIterator[Association]:
        """An association for one user.

        Raises the errors of `connect`, and `AssociationTimeout` if all are in use for `Timeouts.connect` seconds.
        """
        async with self._turn(options.timeouts.connect):
            needed = [*(DEFAULT_CONTEXTS if contexts is None else contexts)]
            member = await self._reusable(_as_set(needed), options) or await self._open(needed, options)
            try:
                yield member.association
            except (StatusError, PresentationContextError):
                self._keep(member)
                raise
            except BaseException:
                member.association.abort()
                await self._end(member)
                raise
            self._keep(member)

    async def close(self) -> None:
        """Release what is kept. What is lent is released when it is given back."""
        self._turns = None
        for member in [*self._kept]:
            self._expire(member)
        while self._ending:
            await asyncio.wait(self._ending)

    @asynccontextmanager
    async def _turn(self, seconds: float | None) -> AsyncIterator[None]:
        turns = self._turns
        if turns is None:
            raise LocalProtocolError(f"the client of {self._address} is closed")
        try:
            async with asyncio.timeout(seconds):
                await turns.acquire()
        except TimeoutError:
            doing = f"waiting for one of the {self._maximum} associations with {self._address}, which are all in use"
            raise AssociationTimeout("connect", seconds or 0, doing) from None
        self._lent += 1
        try:
            yield
        finally:
            self._lent -= 1
            turns.release()

    async def _reusable(self, needed: frozenset[tuple[object, ...]], options: ClientOptions) -> _Member | None:
        """The association that rule 2 finds. One that the peer has ended meanwhile is forgotten."""
        await _see_what_has_ended()
        for member in self._kept[::-1]:
            if not member.association.is_open:
                self._expire(member)
            elif needed <= member.contexts and options == member.options:
                self._take(member)
                return member
        return None

    async def _open(self, contexts: list[_Context], options: ClientOptions) -> _Member:
        if self._kept and self._lent + len(self._kept) > self._maximum:
            oldest = self._kept[0]
            self._take(oldest)
            await self._end(oldest)
        stack = AsyncExitStack()
        association = await stack.enter_async_context(connect(self._address, contexts=contexts, options=options))
        return _Member(association, _as_set(contexts), options, stack)

    def _keep(self, member: _Member) -> None:
        self._kept.append(member)
        idle = 0 if self._turns is None or not member.association.is_open else self._idle
        member.expiry = asyncio.get_running_loop().call_later(idle, self._expire, member)

    def _take(self, member: _Member) -> None:
        self._kept.remove(member)
        if member.expiry is not None:
            member.expiry.cancel()
            member.expiry = None

    def _expire(self, member: _Member) -> None:
        self._take(member)
        task = asyncio.get_running_loop().create_task(self._end(member))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, member: _Member) -> None:
        try:
            await member.stack.aclose()
        except DimseError as error:
            logger.info("%s: %s", self._address, error)  # an unanswered release invalidates nothing


class PooledEntity(ApplicationEntity):
    """An application entity whose associations are those of a pool."""

    def __init__(self, pool: AssociationPool, address: Address, options: ClientOptions) -> None:
        super().__init__(address, options)
        self._pool = pool

    def connect(
        self,
        contexts: Iterable[_Context] | None = None,
        *,
        options: ClientOptions | None = None,
        services: Server | None = None,
    ) -> AbstractAsyncContextManager[Association]:
        if services is not None:  # it serves this association alone
            return super().connect(contexts, options=options, services=services)
        return self._pool.lend(contexts, options or self.options)


def _as_set(contexts: Iterable[_Context]) -> frozenset[tuple[object, ...]]:
    proposed = (ProposedContext(*each) for each in contexts)
    return frozenset((each[0], tuple(each[1]), *each[2:4], each.general and tuple(each.general)) for each in proposed)


async def _see_what_has_ended() -> None:
    """Let the event loop read what has arrived, and act on it: a peer may have ended an association meanwhile."""
    for _ in range(3):
        await asyncio.sleep(0)
