"""The reports that wait for one requestor of Storage Commitment, and when each is tried.

1. A transaction is tried when it comes, and again after pauses that grow while the requestor cannot be reached.
2. While it cannot be reached, the others wait as well, but one that has just come is tried at once: it may have an
   association that is open.
3. A report that was refused delays no other.
4. After the last retry of the `RetryPolicy` the report is given up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from dimse.errors import AssociationError, DimseError
from dimse.options import RetryPolicy

logger = logging.getLogger("dimse.storage")


class DeliveryQueue:
    """The open transactions of one requestor.

    `settle` decides and delivers one, or raises; `surrender` is called with one that is given up.
    """

    def __init__(
        self,
        requestor: str,
        retry: RetryPolicy,
        maximum_pause: float,
        settle: Callable[[str], Awaitable[None]],
        surrender: Callable[[str], Awaitable[None]],
    ) -> None:
        self.requestor = requestor
        self._retry = retry
        self._maximum_pause = maximum_pause
        self._settle = settle
        self._surrender = surrender
        self._attempts: dict[str, int] = {}
        """The failed attempts of each open transaction."""
        self._ready: deque[str] = deque()
        """What is tried before the next pause."""
        self._added = asyncio.Event()

    def __len__(self) -> int:
        return len(self._attempts)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to settle."""
        return not self._attempts

    def add(self, transaction_uid: str, *, attempts: int = 0) -> None:
        """Add a transaction, with the number of its failed attempts. One that is there already is tried at once."""
        if transaction_uid not in self._attempts or transaction_uid not in self._ready:
            self._attempts.setdefault(transaction_uid, attempts)
            self._ready.append(transaction_uid)
            self._added.set()

    async def run(self) -> None:
        """Settle all of them, and end when there is none."""
        while self._attempts:
            if not self._ready:
                await self._rest()
            else:
                await self._try(self._ready.popleft())

    async def _rest(self) -> None:
        """Wait until something is to be tried again, or another transaction comes."""
        least = min(self._attempts.values())
        self._added.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pause(least)):
                await self._added.wait()
                return
        self._ready.extend(self._attempts)

    def _pause(self, attempts: int) -> float:
        growth = self._retry.factor ** min(max(attempts - 1, 0), 64)
        return min(self._retry.delay * growth, self._maximum_pause)

    async def _try(self, transaction_uid: str) -> None:
        failed = [transaction_uid]
        try:
            await self._settle(transaction_uid)
        except DimseError as error:
            self._tell(transaction_uid, error)
            if isinstance(error, AssociationError):
                self._ready = deque(uid for uid in self._ready if not self._attempts[uid])
                others = {transaction_uid, *self._ready}
                failed += [uid for uid in self._attempts if uid not in others]
        except Exception:
            logger.exception("the report of storage commitment for %a failed; trying again", self.requestor)
        else:
            del self._attempts[transaction_uid]
            if transaction_uid in self._ready:  # it was requested again meanwhile
                self._attempts[transaction_uid] = 0
            return
        for uid in failed:
            self._attempts[uid] += 1
            if self._attempts[uid] > self._retry.retries:
                await self._give_up(uid)

    def _tell(self, transaction_uid: str, error: DimseError) -> None:
        level = logging.INFO if self._attempts[transaction_uid] else logging.WARNING
        text = "the report of storage commitment for %a, transaction %s, was not delivered; it waits: %s"
        logger.log(level, text, self.requestor, transaction_uid, error)

    async def _give_up(self, transaction_uid: str) -> None:
        try:
            await self._surrender(transaction_uid)
        except Exception:
            logger.exception("the report of storage commitment for %a cannot be given up", self.requestor)
        else:
            logger.warning(
                "the report of storage commitment for %a, transaction %s, is given up after %d attempts",
                self.requestor,
                transaction_uid,
                self._attempts.pop(transaction_uid),
            )
            with suppress(ValueError):
                self._ready.remove(transaction_uid)
