"""One association of a sending job: the objects sent on it, and the reason for its end."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace

from dimse.errors import AssociationError, ConnectionLost, DimseError, RemoteProtocolError
from dimse.network.application_entity import ApplicationEntity
from dimse.network.association import Association, exchange_of
from dimse.services.sending_queue import Item, Outcomes, SendQueue
from dimse.services.store_scu import ObjectSender

logger = logging.getLogger("dimse.storage")


@dataclass(slots=True)
class Destination:
    """The peer of a job, and how to send to it."""

    entity: ApplicationEntity
    allow_decompression: bool
    move_originator: tuple[str, int] | None = None


class SendingAssociation:
    """One association of a job, from the attempt to open it on."""

    __slots__ = ("_destination", "_outcomes", "_queue", "association", "has_settled")

    def __init__(self, destination: Destination, queue: SendQueue, outcomes: Outcomes) -> None:
        self.association: Association | None = None
        self.has_settled = False
        """Whether any object was stored or has failed on it, so that the next association may follow at once."""
        self._destination = destination
        self._queue = queue
        self._outcomes = outcomes

    @property
    def is_open(self) -> bool:
        """Whether it is established and can still be used."""
        return self.association is not None and self.association.is_open

    async def send(self, association: Association) -> None:
        """Send until the queue is empty: the suspects one at a time, then as many at once as were negotiated.

        One more object is read meanwhile.
        """
        is_tried = bool(self._queue) and association.is_open
        if self._queue.begins_with_suspect:
            await self._side_by_side(association, 1)
        await self._side_by_side(association, association.operations_window + 1)
        if self._queue and not is_tried:
            raise AssociationError("the peer ended the association before anything could be sent")

    async def _side_by_side(self, association: Association, most: int) -> None:
        """Send `most` objects at a time; if it is one, only the suspects."""
        queue, cut_off = self._queue, list[tuple[Item, DimseError]]()
        sender = ObjectSender(association, allow_decompression=self._destination.allow_decompression)

        async def send_in_turn() -> None:
            while queue and self.is_open and (most > 1 or queue.begins_with_suspect):
                item = queue.pop()
                try:
                    await self._send_one(sender, item)
                except (AssociationError, RemoteProtocolError) as error:
                    cut_off.append((item, error))
                    continue
                except Exception as error:  # noqa: BLE001 - a user's source may raise anything; only its object fails
                    self._outcomes.failed(item, error)
                    await asyncio.sleep(0)  # it may have failed at once, as thousands after it
                self.has_settled = True

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(len(queue), most)):
                tasks.create_task(send_in_turn())
        if cut_off:
            error = cut_off[0][1]
            window_is_to_blame = self._may_be_the_window(association, error)
            self.has_settled |= queue.take_back(cut_off, window_is_to_blame=window_is_to_blame)
            raise error

    async def _send_one(self, sender: ObjectSender, item: Item) -> None:
        originator = self._destination.move_originator
        item.attempts.begin()
        item.progress.restart()
        response = await sender.send(*await sender.fit(item.source), item.progress, item.attempts, originator)
        self._outcomes.stored(item, response)

    def _may_be_the_window(self, association: Association, error: DimseError) -> bool:
        """Whether the peer may have closed the association because of the window; if so, propose none from now on."""
        exchange = exchange_of(association)
        is_proposed = exchange.agreement.request.user_information.asynchronous_operations_window is not None
        is_first = not exchange.responses and not self._outcomes.has_responses
        if not (is_proposed and is_first and isinstance(error, ConnectionLost)):
            return False
        entity = self._destination.entity
        if entity.options.operations_window > 1:
            text = "%s: %s, at the first message; trying without an asynchronous operations window from now on"
            logger.warning(text, association.peer_name, error)
        self._destination.entity = entity.with_options(replace(entity.options, operations_window=1))
        return True
