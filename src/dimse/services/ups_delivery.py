"""The events of Unified Procedure Steps on their way to subscribers (PS3.4 CC.2.4.3)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from dimse import uids
from dimse.errors import DimseError, StatusError
from dimse.network.application_entity import ApplicationEntity
from dimse.network.association import Association
from dimse.options import RetryPolicy
from dimse.services.normalized_scu import NormalizedSCU
from dimse.services.server import Server
from dimse.services.ups_events import MAXIMUM_EVENTS, UPSEvent
from dimse.upper_layer.negotiation import ProposedContext

logger = logging.getLogger("dimse.ups")

_CONTEXTS: Final = (ProposedContext(uids.UPS_EVENT, uids.LITTLE_ENDIAN, as_scp=True),)


class EventDelivery:
    """Sends events to AE titles, to each in their order.

    They go on the associations that the subscriber has opened, if it accepts them there; otherwise on a new one, to the
    address that `entity_of` finds. What cannot be sent is tried again as `retry` says, and then dropped with a warning:
    a subscriber asks for the state after it was away (PS3.4 CC.2.4.3).
    """

    def __init__(
        self, server: Server, entity_of: Callable[[str], Awaitable[ApplicationEntity | None]], retry: RetryPolicy
    ) -> None:
        self._server = server
        self._entity_of = entity_of
        self._retry = retry
        self._queues: dict[str, deque[UPSEvent]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def can_reach(self, ae_title: str) -> bool:
        """Whether there is a way to send events to this AE title."""
        return bool(self._open_associations(ae_title)) or await self._entity_of(ae_title) is not None

    def post(self, event: UPSEvent, ae_title: str) -> None:
        """Send an event in the background."""
        queue = self._queues.setdefault(ae_title, deque())
        if len(queue) >= MAXIMUM_EVENTS:
            queue.popleft()
            logger.warning("%a: an event was dropped, as %d others wait", ae_title, MAXIMUM_EVENTS)
        queue.append(event)
        if ae_title not in self._tasks:
            self._tasks[ae_title] = asyncio.get_running_loop().create_task(self._serve(ae_title, queue))

    async def aclose(self, seconds: float) -> None:
        """Let what waits be sent for so many seconds, and drop the rest."""
        tasks = [*self._tasks.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _serve(self, ae_title: str, queue: deque[UPSEvent]) -> None:
        """Deliver until the queue is empty. It is gone in the same step, so that no event is added to it then."""
        try:
            await self._deliver(ae_title, queue)
        finally:
            del self._tasks[ae_title], self._queues[ae_title]

    async def _deliver(self, ae_title: str, queue: deque[UPSEvent]) -> None:
        attempt = tried = 0
        while queue:
            try:
                async with self._associations(ae_title) as associations:
                    while queue:
                        await self._report(associations, queue[0])
                        queue.popleft()
                        attempt = 0
            except (DimseError, OSError) as error:
                attempt += 1
                tried = len(queue) if attempt == 1 else min(tried, len(queue))
                pause = self._retry.pause(attempt)
                if pause is not None:
                    await asyncio.sleep(pause)
                    continue
                logger.warning("%a: %d events were dropped: %s", ae_title, tried, error)
                for _ in range(tried):
                    queue.popleft()
                attempt = 0

    @staticmethod
    async def _report(associations: Sequence[Association], event: UPSEvent) -> None:
        """Report an event on each association. Raises the failure if it was told on none of them."""
        failures: list[DimseError] = []
        for association in associations:
            scu = NormalizedSCU(association, context=uids.UPS_EVENT)
            try:
                await scu.event_report(uids.UPS_PUSH, event.sop_instance_uid, event.type, event.dataset)
            except StatusError as error:
                logger.info("%s: %s", association.peer_name, error)  # it was told; what it does is its own affair
            except DimseError as error:
                failures.append(error)
        if len(failures) == len(associations):
            raise failures[0]

    @asynccontextmanager
    async def _associations(self, ae_title: str) -> AsyncIterator[Sequence[Association]]:
        open_ones = self._open_associations(ae_title)
        if open_ones:
            yield open_ones
            return
        entity = await self._entity_of(ae_title)
        if entity is None:
            raise DimseError("the subscriber has no association, and no address")
        async with entity.connect(_CONTEXTS) as association:
            yield [association]

    def _open_associations(self, ae_title: str) -> list[Association]:
        """The associations of the subscriber on which it gets events: each program of this title has one."""
        return [
            association
            for association in self._server.associations
            if association.calling_ae_title == ae_title
            and any(context.abstract_syntax == uids.UPS_EVENT for context in association.contexts.values())
        ]
