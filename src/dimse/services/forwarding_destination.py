"""One destination of a `Forwarder`: its queue, what becomes of each instance, and when it is tried again.

The instances are sent in batches, each on associations of its own, as `dimse.send` sends them. What becomes of each:

    it was stored, also with a warning             it is removed from the queue
    it cannot be read, or is not DICOM             it is set aside
    another failure status, no context for it      it is tried again, and set aside after `RetryPolicy.retries`
    0x0110, or it ended its association            the same if others were stored beside it; else it waits
    0xA7xx, or it was not tried                    it waits, forever

A batch of which nothing was stored is followed by what is behind it, up to the end of the queue. So no instance can
block the others, and a destination that is down, or full, loses nothing. Before the next batch, the
destination rests if it could not be reached, is out of resources, or has stored nothing: for `RetryPolicy.delay`
seconds, and longer each time that nothing is stored, up to `ForwardDestination.maximum_pause`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Final

from dimse.address import Address
from dimse.callbacks import Callback
from dimse.dataset.sources import DatasetSource, FileSource
from dimse.dataset.spool import Contents, Count, Spool, Spooled
from dimse.dataset.threads import in_worker
from dimse.errors import AssociationError, DatasetError, DimseError, RemoteProtocolError, StatusError, without_frames
from dimse.network.application_entity import ApplicationEntity
from dimse.options import RetryPolicy
from dimse.services.collecting import SendResult
from dimse.services.sending_association import Destination
from dimse.services.sending_job import SendingJob
from dimse.status import Status

if TYPE_CHECKING:
    from dimse.dataset.edits import Edits

logger = logging.getLogger("dimse.storage")

BATCH: Final = 256
"""Instances of a batch."""

BATCH_BYTES: Final = 64 * 1024 * 1024
"""Bytes after which a batch has no further instance."""

_REMEMBERED: Final = 100 * BATCH
"""Instances whose refusals are counted."""

_ONCE: Final = RetryPolicy(retries=0)


@dataclass(frozen=True, slots=True)
class ForwardDestination:
    """Where a `Forwarder` sends instances, and how; most arguments are those of `dimse.send`."""

    peer: str | Address | ApplicationEntity
    """Its address, as TITLE@host:port, or with the options of its associations as an `ApplicationEntity`."""
    associations: int = 1
    """The number of associations at once."""
    transfer_syntaxes: Sequence[str] | None = None
    """The only transfer syntaxes to propose."""
    allow_decompression: bool = False
    """Whether to decompress an instance that the peer does not accept compressed."""
    edits: Edits | None = None
    """Edits to make in the header of each instance on the way; the spool has what was received."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    """How often a refused instance is sent again before it is set aside, and how the pauses grow."""
    maximum_pause: float = 60
    """The longest pause between two attempts to reach it, in seconds."""

    def __post_init__(self) -> None:
        if not isinstance(self.peer, ApplicationEntity):
            object.__setattr__(self, "peer", Address.parse(self.peer))
        if self.associations < 1:
            raise ValueError(f"associations must be at least 1, not {self.associations}")
        if not self.maximum_pause > 0:
            raise ValueError(f"maximum_pause must be a positive number of seconds, not {self.maximum_pause!r}")


class ForwardOutcome(StrEnum):
    """What became of an instance in an attempt to forward it."""

    DELIVERED = "delivered"
    """The destination has stored it."""
    WAITING = "waiting"
    """It stays in the queue, and is tried again."""
    FAILED = "failed"
    """It was set aside, with the reason."""


@dataclass(frozen=True, slots=True)
class ForwardResult:
    """The outcome of an attempt to forward an instance."""

    destination: str
    """The name of the destination."""
    outcome: ForwardOutcome
    sop_instance_uid: str | None
    """None if its file cannot be read."""
    status: Status | None
    """The status that the destination answered with; None if it did not."""
    error: Exception | None
    """Why it was not stored."""
    bytes: int
    """The size of its file."""


@dataclass(frozen=True, slots=True)
class ForwardState:
    """What a `Forwarder` has for one destination, and how that is doing."""

    waiting: int
    """Instances in the queue, also those in work."""
    waiting_bytes: int
    in_work: int
    """Instances of the batch that is being sent."""
    delivered: int
    """Instances that it has stored since the forwarder began."""
    failed: int
    """Instances that were set aside, and are there now."""
    failed_bytes: int
    reachable_since: datetime | None
    """Since when each attempt has led to an association; None if the last one did not, or there was none."""
    error: str | None
    """Why something of the last batch was not stored; None if all was."""
    next_attempt: datetime | None
    """When the next batch follows, while the destination rests."""


class _Fault(Enum):
    """Why an instance was not stored, by the table above."""

    TEMPORARY = "it may be stored later as it is"
    UNCLEAR = "the destination or the instance may be to blame"
    REFUSED = "it was refused"
    UNREADABLE = "it cannot be sent, whatever the destination does"


def _fault_of(result: SendResult) -> _Fault:
    error = result.error
    if isinstance(error, StatusError):
        if error.status.is_out_of_resources:
            return _Fault.TEMPORARY
        return _Fault.UNCLEAR if error.status == Status.PROCESSING_FAILURE else _Fault.REFUSED
    if isinstance(error, AssociationError | RemoteProtocolError):
        return _Fault.UNCLEAR if result.attempts else _Fault.TEMPORARY
    return _Fault.UNREADABLE if isinstance(error, DatasetError) else _Fault.REFUSED


class DestinationQueue:
    """The queue of one destination, and the task that empties it."""

    def __init__(
        self,
        name: str,
        destination: ForwardDestination,
        entity: ApplicationEntity,
        spool: Spool,
        on_result: Callback[ForwardResult],
    ) -> None:
        self.name = name
        self._given = destination
        # It learns from each batch whether the peer understands the operations window.
        self._destination = Destination(entity, destination.allow_decompression)
        self._spool = spool
        self._on_result = on_result
        self._counts = Contents(Count(), Count())
        self._arriving = 0
        """Files that are about to be in the queue; they are counted as if they were."""
        self._in_work = 0
        self._delivered = 0
        self._reachable_since: datetime | None = None
        self._error: str | None = None
        self._next_attempt: datetime | None = None
        self._pause = 0.0
        """Seconds of the last rest; 0 after an instance was stored."""
        self._refusals: dict[str, tuple[int, int]] = {}
        """By the path of the file of an instance: how often it was refused, and what was delivered by then."""
        self._behind = ""
        """The last file of a batch of which nothing was stored: what follows it is tried next."""
        self._added, self._urged, self._stopping = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @property
    def size(self) -> int:
        """Bytes in the queue and set aside from it."""
        return self._counts.waiting.size + self._counts.failed.size

    @property
    def state(self) -> ForwardState:
        """How it is doing."""
        waiting, failed = self._counts.waiting, self._counts.failed
        return ForwardState(
            waiting=waiting.files,
            waiting_bytes=waiting.size,
            in_work=self._in_work,
            delivered=self._delivered,
            failed=failed.files,
            failed_bytes=failed.size,
            reachable_since=self._reachable_since,
            error=self._error,
            next_attempt=self._next_attempt,
        )

    def begin(self, contents: Contents) -> None:
        """Note what the queue has from before."""
        self._counts = contents

    def arriving(self, size: int) -> None:
        """Count a file before it is put into the queue, as it may be sent before that is known."""
        self._arriving += 1
        self._counts.waiting.add(size)

    def arrived(self) -> None:
        """A file was put into the queue."""
        self._arriving -= 1
        self._added.set()

    def did_not_arrive(self, size: int) -> None:
        """A file could not be put into the queue."""
        self._arriving -= 1
        self._counts.waiting.add(-size, -1)

    def stop(self) -> None:
        """Send no further batch."""
        for event in (self._stopping, self._urged, self._added):
            event.set()

    async def retry(self) -> None:
        """Return what was set aside to the queue, and try the destination now."""
        moved = Count()

        def move() -> None:
            nonlocal moved
            moved = self._spool.retry(self.name)

        await in_worker(move)
        self._counts.failed.add(-moved.size, -moved.files)
        self._counts.waiting.add(moved.size, moved.files)
        self._refusals.clear()
        self._added.set()
        self._urged.set()

    async def run(self) -> None:
        """Send batch after batch, until `stop`."""
        while not self._stopping.is_set():
            self._added.clear()
            self._urged.clear()
            try:
                batch = await self._first()
                rests = await self._send(batch) if batch else False
            except Exception as error:
                logger.exception("forwarding to %s failed; trying again", self.name)
                self._error, rests = str(error), True
            if self._stopping.is_set():
                return
            if rests:
                await self._rest()
            elif not batch:
                await self._added.wait()

    async def _first(self) -> list[Spooled]:
        batch: list[Spooled] = []

        def find() -> None:
            batch.extend(self._spool.first(self.name, BATCH, BATCH_BYTES, behind=self._behind))
            if not batch and self._behind:
                batch.extend(self._spool.first(self.name, BATCH, BATCH_BYTES))

        await in_worker(find)
        if not batch and not self._arriving and not self._added.is_set():
            self._counts.waiting = Count()  # somebody may have removed files
        return batch

    async def _rest(self) -> None:
        """Wait before the next batch, unless `retry` wants it at once."""
        retry = self._given.retry
        self._pause = min(max(self._pause * retry.factor, retry.delay), self._given.maximum_pause)
        self._next_attempt = datetime.now(UTC) + timedelta(seconds=self._pause)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pause):
                await self._urged.wait()
        self._next_attempt = None

    async def _send(self, batch: Sequence[Spooled]) -> bool:
        """Send a batch. Returns whether the destination is to rest after it."""
        sizes = {each.path: each.size for each in batch}
        results, sources = list[SendResult](), list[DatasetSource]()
        job = SendingJob(self._destination, _ONCE, results.append, self._given.transfer_syntaxes, self._given.edits)
        self._in_work, failure = len(batch), None
        try:
            await in_worker(_open, batch, sources, results)
            await job.look_at(sources)
            await job.run(self._given.associations, None)
        except (DimseError, OSError) as error:
            failure = error
        finally:
            self._in_work = 0
            is_stored = any(result.stored for result in results)
            rests = await self._settle(results, sizes, is_stored=is_stored)
        self._note(failure, job, results)
        self._behind = "" if is_stored or failure is not None else batch[-1].path
        if is_stored:
            self._pause = 0.0
        return rests or failure is not None

    def _note(self, failure: Exception | None, job: SendingJob, results: Sequence[SendResult]) -> None:
        """Note whether the destination was reached, and log a change."""
        was_reachable, had_error = self._reachable_since, self._error
        if failure is not None:
            self._reachable_since, self._error = None, str(failure)
            if was_reachable is not None or had_error is None:
                logger.warning("%s cannot be reached: %s; what is for it waits", self.name, failure)
            return
        if job.operations_window is not None and was_reachable is None:
            self._reachable_since = datetime.now(UTC)
            logger.info("%s is reachable", self.name)
        errors = [result.error for result in results if result.error is not None]
        self._error = str(errors[-1]) if errors else None

    async def _settle(self, results: Sequence[SendResult], sizes: dict[str, int], *, is_stored: bool) -> bool:
        """Remove what was stored, and set aside what has failed. Returns whether the destination is to rest."""
        outcomes, rests = list[tuple[SendResult, ForwardOutcome]](), False
        for result in results:
            outcome = ForwardOutcome.DELIVERED
            if not result.stored:
                fault = _fault_of(result)
                outcome = self._judge(result.name, fault, is_stored=is_stored)
                rests |= outcome is ForwardOutcome.WAITING and (not is_stored or fault is _Fault.TEMPORARY)
            outcomes.append((result, outcome))
        if len(self._refusals) > _REMEMBERED:
            self._refusals.clear()
        moved = list[bool]()
        await in_worker(self._move, outcomes, moved)
        for (result, outcome), is_moved in zip(outcomes, moved, strict=True):
            self._tell(result, outcome if is_moved else ForwardOutcome.WAITING, sizes[result.name])
        return rests or not all(moved)

    def _judge(self, path: str, fault: _Fault, *, is_stored: bool) -> ForwardOutcome:
        """What becomes of an instance that was not stored."""
        refused, delivered = self._refusals.pop(path, (0, self._delivered))
        is_to_blame = is_stored or self._delivered > delivered
        refused += fault is _Fault.REFUSED or (fault is _Fault.UNCLEAR and is_to_blame)
        if fault is _Fault.UNREADABLE or refused > self._given.retry.retries:
            return ForwardOutcome.FAILED
        self._refusals[path] = refused, self._delivered
        return ForwardOutcome.WAITING

    def _move(self, outcomes: Sequence[tuple[SendResult, ForwardOutcome]], moved: list[bool]) -> None:
        """Remove or set aside the files; note of each whether that was done. Runs in a thread."""
        for result, outcome in outcomes:
            done = True
            if outcome is ForwardOutcome.DELIVERED:
                self._spool.remove(result.name)
            elif outcome is ForwardOutcome.FAILED:
                done = self._set_aside(result)
            moved.append(done)

    def _set_aside(self, result: SendResult) -> bool:
        reason = {
            "destination": self.name,
            "address": str(self._destination.entity.address),
            "sop_instance_uid": result.sop_instance_uid,
            "status": None if result.status is None else f"0x{result.status:04X}",
            "error": str(result.error),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            self._spool.fail(result.name, reason)
        except OSError as error:
            logger.warning("%s cannot be set aside: %s", result.name, error)
            return False
        return True

    def _tell(self, result: SendResult, outcome: ForwardOutcome, size: int) -> None:
        if outcome is not ForwardOutcome.WAITING:
            self._counts.waiting.add(-size, -1)
        if outcome is ForwardOutcome.DELIVERED:
            self._delivered += 1
        if outcome is ForwardOutcome.FAILED:
            self._counts.failed.add(size)
            logger.warning("%s: %s was set aside: %s", self.name, result.sop_instance_uid, result.error)
        if result.error is not None:
            without_frames(result.error)
        uid, status = result.sop_instance_uid, result.status
        self._on_result(ForwardResult(self.name, outcome, uid, status, result.error, size))


def _open(batch: Sequence[Spooled], sources: list[DatasetSource], results: list[SendResult]) -> None:
    """Read the File Meta Information of each file. Runs in a thread."""
    for each in batch:
        try:
            sources.append(FileSource(each.path))
        except FileNotFoundError:
            continue  # somebody has removed it
        except (DatasetError, OSError) as error:
            results.append(SendResult(each.path, error=error))
