"""The objects that a job still has to send, their outcomes, and retries.

When an association ends early, the objects on it return to the front of the queue, in their order:

    sent before the end        other objects            the attempt     the object is then
    nothing                    -                        does not count  as before, not a suspect
    some or all, no response   some were sent, too      is excused      a suspect, `SHARED`
    some or all, no response   none                     counts          a suspect, `ALONE`

1. A suspect may be the object at which the peer ends associations. Suspects are sent first on the
   next association, one at a time: this finds the one that ends it, and the others are stored.
2. An excused attempt uses up no retry. After one that counts, `RetryPolicy` says whether there is another.
3. A suspect that is sent alone and leaves the peer silent has failed.
4. If the association had an operations window and the peer closed it at the first message, the peer may not understand
   the window. All attempts are excused, no object is a suspect, and no window is proposed from then on.
5. A source that can be read only once is sent again only if nothing of it was sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import TYPE_CHECKING

from dimse.callbacks import Callback
from dimse.dataset.sources import DatasetSource
from dimse.errors import (
    AssociationError,
    AssociationTimeout,
    DimseError,
    PresentationContextError,
    RemoteProtocolError,
)
from dimse.messages.message import C_STORE_RSP
from dimse.options import RetryPolicy
from dimse.services.collecting import SendResult
from dimse.services.store_scu import Attempts
from dimse.services.transfer_progress import ObjectProgress
from dimse.status import StatusCategory

if TYPE_CHECKING:
    from dimse.services.journal import Journal

logger = logging.getLogger("dimse.storage")


class Suspicion(Enum):
    """Whether the end of its last association casts suspicion on an object."""

    NONE = "something else ended it"
    SHARED = "this object or another one may have ended it"
    ALONE = "only this object was being sent"


class Item:
    """One object to send."""

    __slots__ = ("attempts", "number", "progress", "source", "suspicion")

    def __init__(self, number: int, source: DatasetSource, progress: ObjectProgress, retry: RetryPolicy) -> None:
        self.number = number
        self.source = source
        self.progress = progress
        self.attempts = Attempts(retry)
        self.suspicion = Suspicion.NONE

    @property
    def is_suspect(self) -> bool:
        """Whether it may be the object at which the peer ends associations."""
        return self.suspicion is not Suspicion.NONE


class Outcomes:
    """The results of a job so far."""

    def __init__(self, on_result: Callable[[SendResult], object] | None, journal: Journal | None = None) -> None:
        self.results: list[SendResult] = []
        self.bytes_done = 0
        """Bytes of the data sets that were stored."""
        self.changed = asyncio.Event()
        """Set when there is a new result, or an association has ended."""
        self._on_result = Callback("on_result", on_result, logger)
        self._journal = journal

    @property
    def has_responses(self) -> bool:
        """Whether the peer has responded to any C-STORE of this run."""
        return any(result.status is not None and not result.sent_before for result in self.results)

    def note(self, result: SendResult) -> None:
        """Report a result to the caller."""
        self.results.append(result)
        self.changed.set()
        self._on_result(result)

    def stored(self, item: Item, response: C_STORE_RSP) -> None:
        """Note that the peer has stored an object."""
        self.bytes_done += item.progress.transferred
        name, status = item.source.name, response.status
        if self._journal is not None:
            self._journal.note(item.source, status, response.error_comment)
        if status.category is StatusCategory.WARNING and not self._on_result.is_wanted:
            logger.warning("%s: stored with a warning, %s", name, status)
        self.note(
            SendResult(
                name,
                item.source.sop_instance_uid,
                status,
                comment=response.error_comment,
                attempts=item.attempts.made,
                bytes_sent=item.progress.transferred,
            )
        )

    def failed(self, item: Item, error: Exception) -> None:
        """Note that an object was not stored and is not retried."""
        name = item.source.name
        if isinstance(error, AssociationError | PresentationContextError | RemoteProtocolError):
            error.add_note(f"while sending {name}")
        is_lost = isinstance(error, AssociationError | RemoteProtocolError)
        if is_lost and not item.source.repeatable and item.attempts.pause is not None:
            error.add_note("not retried: its source can be read only once")
        self.note(
            SendResult(
                name,
                item.source.sop_instance_uid,
                getattr(error, "status", None),
                error,
                comment=getattr(error, "comment", None),
                attempts=item.attempts.made,
            )
        )


class SendQueue:
    """The objects of one group that are still to be sent."""

    def __init__(self, items: Iterable[Item], outcomes: Outcomes) -> None:
        self._items = deque(items)
        self._outcomes = outcomes

    def __len__(self) -> int:
        return len(self._items)

    @property
    def begins_with_suspect(self) -> bool:
        """Whether the next object is a suspect; all suspects precede the others."""
        return bool(self._items) and self._items[0].is_suspect

    def pop(self) -> Item:
        """The next object."""
        return self._items.popleft()

    def take_back(self, cut_off: Sequence[tuple[Item, DimseError]], *, window_is_to_blame: bool) -> bool:
        """Requeue the objects of an association that ended early, by the rules above, or let them fail.

        Returns whether the job made progress, so that the next association may follow at once.
        """
        begun = sum(item.progress.begun for item, _ in cut_off)
        has_settled = window_is_to_blame or (begun > 1 and not isinstance(cut_off[0][1], AssociationTimeout))
        for item, error in sorted(cut_off, key=lambda each: each[0].number, reverse=True):
            is_silent = isinstance(error, AssociationTimeout)
            silences = is_silent and item.progress.begun and item.is_suspect
            _judge(item, begun, window_is_to_blame=window_is_to_blame)
            can_be_read = item.source.repeatable or not item.progress.begun
            if can_be_read and not silences and item.attempts.pause is not None:
                self._items.appendleft(item)
            else:
                self._outcomes.failed(item, error)
                has_settled |= not is_silent
        return has_settled

    def give_up(self, error: DimseError) -> None:
        """Let all remaining objects fail because of `error`."""
        while self._items:
            item = self.pop()
            was_tried = item.attempts.made or item.is_suspect
            self._outcomes.failed(item, error if was_tried else _not_tried(item, error))


def _judge(item: Item, begun: int, *, window_is_to_blame: bool) -> None:
    """Decide whether an object is a suspect, and whether its attempt counts: by the table and rule 4 above.

    `begun` is the number of objects of which something was sent.
    """
    if not item.progress.begun:
        item.suspicion = Suspicion.NONE
        item.attempts.withdraw()
    elif window_is_to_blame:
        item.suspicion = Suspicion.NONE
        item.attempts.excuse()
    elif begun > 1:
        item.suspicion = Suspicion.SHARED
        item.attempts.excuse()
    else:
        item.suspicion = Suspicion.ALONE


def _not_tried(item: Item, reason: Exception) -> AssociationError:
    error = AssociationError(f"{item.source.name}: not attempted: {reason}")
    error.__cause__ = reason
    return error
