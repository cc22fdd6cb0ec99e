"""One sending job: the number of its associations, and when it gives up.

Objects are sent in groups that need at most 128 presentation contexts. The associations of a group are opened one after
the other, each when the one before is established, so that a peer that refuses one gets no further requests. Each has a
worker. If it ends early, `sending_queue` has the rules for the objects on it, and these are the rules for the worker:

1. If the association settled anything, the worker opens the next one at once.
2. Otherwise it leaves the rest to the other workers. If it is the only one, it waits as `RetryPolicy` says, and in the
   end gives up: the remaining objects have failed.
3. After a timeout it ends if there are other workers. If it is the only one, it tries once more, and only if the peer
   has stored something before: one object may have silenced it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, cast

from dimse.dataset.edited_source import EditedSource
from dimse.dataset.sources import DatasetSource
from dimse.errors import AssociationError, AssociationRejected, AssociationTimeout, DimseError, RemoteProtocolError
from dimse.network.association import Association, exchange_of
from dimse.options import RetryPolicy
from dimse.services.collecting import SendResult, look_at
from dimse.services.given import Source, each
from dimse.services.sending_association import Destination, SendingAssociation
from dimse.services.sending_queue import Item, Outcomes, SendQueue
from dimse.services.store_scu import Contexts, in_groups
from dimse.services.transfer_progress import ObjectProgress, ProgressCallback, ProgressReporter

if TYPE_CHECKING:
    from dimse.dataset.edits import Edits
    from dimse.services.journal import Journal

logger = logging.getLogger("dimse.storage")

_MEASURED: Final = 8
"""Responses to wait for before deciding how many associations are worthwhile."""


class SendingJob:
    """Everything that the associations of one `send` share."""

    def __init__(
        self,
        destination: Destination,
        retry: RetryPolicy,
        on_result: Callable[[SendResult], object] | None,
        transfer_syntaxes: Sequence[str] | None = None,
        edits: Edits | None = None,
        journal: Journal | None = None,
        on_opened: Callable[[Association], object] | None = None,
    ) -> None:
        self.destination = destination
        self.retry = retry
        self.outcomes = Outcomes(on_result, journal)
        self.sources: list[DatasetSource] = []
        self.associations = 1
        """The largest number that were open at once."""
        self.operations_window: int | None = None
        """The window of the newest association; None before the first one is established."""
        self._transfer_syntaxes = transfer_syntaxes
        self._edits = edits
        self._journal = journal
        self._on_opened = on_opened

    async def look_at(self, sources: Iterable[Source] | Source) -> None:
        """Find the objects to send."""
        async for found in look_at(each(sources)):
            if isinstance(found, SendResult):
                self.outcomes.note(found)
                continue
            source = EditedSource(found, self._edits) if self._edits else found
            if self._journal is not None and (earlier := self._journal.earlier(source)):
                self.outcomes.note(earlier)
            else:
                self.sources.append(source)

    async def run(
        self, associations: int, progress: ProgressCallback | None, *, auto_associations: bool = False
    ) -> None:
        """Send everything, one group after another."""
        lengths = [expected_length(source) for source in self.sources]
        total = None if None in lengths else sum(length or 0 for length in lengths)
        reporter = ProgressReporter(progress, total)
        try:
            for contexts, members in in_groups(self.sources, self._transfer_syntaxes):
                items = (
                    Item(number, source, ObjectProgress(reporter, expected_length(source)), self.retry)
                    for number, source in enumerate(members)
                )
                queue = SendQueue(items, self.outcomes)
                await _Group(self, contexts, queue).send(associations, auto_associations=auto_associations)
        except ExceptionGroup as group:
            raise group.exceptions[0] from None  # no association could be made, as every worker reports
        finally:
            reporter.final()

    def note_opened(self, count: int, association: Association) -> None:
        """Note that `association` is established, the newest of `count` open ones."""
        self.associations = max(self.associations, count)
        self.operations_window = association.operations_window
        if self._on_opened is not None:
            self._on_opened(association)

    async def wait_or_give_up(self, error: DimseError, in_vain: int, queue: SendQueue) -> None:
        """Wait before the next association, or let the remaining objects fail because of `error`."""
        pause = None if self._is_hopeless(error, in_vain) else self.retry.pause(in_vain)
        if pause is not None:
            logger.info("%s; a new association in %g s", error, pause)
            await asyncio.sleep(pause)
        elif self.operations_window is not None:
            queue.give_up(error)
        else:
            raise error

    def _is_hopeless(self, error: DimseError, in_vain: int) -> bool:
        """Whether another association would end like the last `in_vain` ones."""
        if isinstance(error, AssociationRejected):
            return not error.transient
        if isinstance(error, AssociationTimeout) and (in_vain > 1 or not self.outcomes.bytes_done):
            return True
        return self.operations_window is None


def expected_length(source: DatasetSource) -> int | None:
    """The bytes of its data set, as far as they are known before it is sent."""
    return source.length_before if isinstance(source, EditedSource) else source.length


class _Group:
    """Objects that share their presentation contexts, and the associations on which they are sent."""

    def __init__(self, job: SendingJob, contexts: Contexts, queue: SendQueue) -> None:
        self._job = job
        self._contexts = contexts
        self._queue = queue
        self._tasks = asyncio.TaskGroup()
        self._workers: dict[asyncio.Task[None], SendingAssociation] = {}
        """The association that each worker has, or is opening."""
        self._more = 0
        """How many more associations may be opened."""
        self._tuning = _Tuning()

    async def send(self, associations: int, *, auto_associations: bool) -> None:
        """Send all objects over `associations`, or with `auto_associations` over as many as are worthwhile."""
        most = min(associations, len(self._queue))
        async with self._tasks:
            self._open_another(1 if auto_associations else most)
            if auto_associations and most > 1:
                self._open_another(min(await self._others_worthwhile(), most - 1))

    async def _others_worthwhile(self) -> int:
        changed = self._job.outcomes.changed
        while True:
            changed.clear()
            await changed.wait()
            if not self._queue or not self._workers:
                return 0
            if (others := self._tuning.others_worthwhile()) is not None:
                return others

    def _open_another(self, most: int) -> None:
        if most > 0 and self._queue:
            self._more = most - 1
            task = self._tasks.create_task(self._work())
            self._workers[task] = self._new()
            task.add_done_callback(self._has_ended)

    def _new(self) -> SendingAssociation:
        return SendingAssociation(self._job.destination, self._queue, self._job.outcomes)

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        """Note the end of a worker. If nothing is left to send, cancel those still waiting for an association."""
        del self._workers[task]
        self._job.outcomes.changed.set()
        if not self._queue and not any(sending.is_open for sending in self._workers.values()):
            for other, sending in self._workers.items():
                if sending.association is None:
                    other.cancel()

    async def _work(self) -> None:
        """Keep one association going until the queue is empty, by the rules above."""
        task, in_vain = cast("asyncio.Task[None]", asyncio.current_task()), 0
        while self._queue:
            sending = self._workers[task] = self._new()
            try:
                async with self._job.destination.entity.connect(self._contexts) as association:
                    sending.association = association
                    self._tuning.begin(association)
                    self._job.note_opened(sum(each.is_open for each in self._workers.values()), association)
                    self._open_another(self._more)
                    await sending.send(association)
            except (AssociationError, RemoteProtocolError) as error:
                in_vain = 0 if sending.has_settled else in_vain + 1
                if len(self._workers) > 1 and (in_vain or isinstance(error, AssociationTimeout)):
                    self._more = 0
                    return
                if in_vain:
                    await self._job.wait_or_give_up(error, in_vain, self._queue)


class _Tuning:
    """How many associations keep this side busy, measured on the newest one.

    While one object waits for its response, this side can send others: as many as it can prepare in that time.
    """

    def __init__(self) -> None:
        self._association: Association | None = None
        self._busy_before = 0.0
        """The process time when it was opened."""

    def begin(self, association: Association) -> None:
        """Measure this association from now on."""
        self._association, self._busy_before = association, time.process_time()

    def others_worthwhile(self) -> int | None:
        """How many more associations to open; None if too few responses were measured."""
        if self._association is None or (exchange := exchange_of(self._association)).responses < _MEASURED:
            return None
        busy = max((time.process_time() - self._busy_before) / exchange.responses, 1e-6)
        at_once = 1 + exchange.response_seconds / exchange.responses / busy
        return math.ceil(at_once / self._association.operations_window) - 1
