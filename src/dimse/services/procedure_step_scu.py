"""Procedure steps as SCU: a step that is started is also ended, or an error says that it is not (PS3.4 F.7)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from dimse import uids
from dimse.address import Address
from dimse.dataset.pydicom_names import Dataset
from dimse.errors import (
    AssociationError,
    DatasetError,
    DimseError,
    LocalProtocolError,
    PresentationContextError,
    RemoteProtocolError,
    StatusError,
    StepLeftOpen,
)
from dimse.network.application_entity import ApplicationEntity, entity_of
from dimse.options import ClientOptions
from dimse.services.given import Source
from dimse.services.normalized_scu import NormalizedResult, NormalizedSCU
from dimse.services.performed_series import PerformedSeries
from dimse.services.procedure_step import MAY_NO_LONGER_BE_UPDATED, UNSPECIFIED, StepStatus, final_step, set_values
from dimse.services.query import raw_identifier
from dimse.status import Status

logger = logging.getLogger("dimse.procedure_step")

END_SECONDS: Final = 30.0
"""Seconds in which the end of a step is reported, or an error says that it was not."""
_PAUSE: Final = 1.0

_Request = Callable[[NormalizedSCU], Awaitable[NormalizedResult]]
_WasReceived = Callable[[StatusError], bool]


def _never(_: StatusError) -> bool:
    return False


def _has_ended(error: StatusError) -> bool:
    """Whether the step may no longer be updated (PS3.4 Table F.7.2-2)."""
    return error.status == Status.PROCESSING_FAILURE and error.error_id == MAY_NO_LONGER_BE_UPDATED


class PerformedStep:
    """A procedure step at the peer: starts it, changes it and ends it; `dimse.performed_step` sees to the end.

    Each message has an association of its own, since a step may take hours. A message whose response was lost is sent
    again, and an answer that it was received before is Success.
    """

    def __init__(self, entity: ApplicationEntity, sop_instance_uid: str | None = None) -> None:
        self.sop_instance_uid = sop_instance_uid or uids.new_uid()
        """What names the step at the peer, and in Referenced Performed Procedure Step Sequence of its instances."""
        self.series = PerformedSeries()
        """What the step has made so far."""
        self.status = StepStatus.IN_PROGRESS
        self._entity = entity
        self._sent = 0
        """Requests that the peer may have received."""

    def add(self, *instances: Dataset) -> None:
        """Add instances that the step has made, by their attributes; see `PerformedSeries.add`."""
        self.series.add(*instances)

    async def add_files(self, sources: Iterable[Source] | Source) -> None:
        """Add instances that the step has made, from files, folders or other sources; see `PerformedSeries`."""
        await self.series.add_files(sources)

    async def start(self, dataset: Dataset) -> None:
        """Send the N-CREATE; `started_step` makes its data set.

        Raises `StatusError` for a failure status, `AssociationError` and `PresentationContextError`.
        """
        uid, dataset = self.sop_instance_uid, raw_identifier(None, dataset)
        try:
            await self._deliver(
                lambda scu: scu.create(uids.PERFORMED_PROCEDURE_STEP, dataset, sop_instance_uid=uid),
                lambda error: error.status == Status.DUPLICATE_SOP_INSTANCE,
            )
        except (AssociationError, RemoteProtocolError, asyncio.CancelledError):
            if self._sent:
                await self._withdraw()
            raise

    async def _withdraw(self) -> None:
        """Discontinue a step of which it is not known whether the peer has it."""
        try:
            await self.discontinue()
        except StepLeftOpen as error:
            cause = error.__cause__
            if not isinstance(cause, StatusError) or cause.status != Status.NO_SUCH_SOP_INSTANCE:
                raise

    async def update(self, /, **values: object) -> None:
        """Send an N-SET with these attributes, by keyword, and the series so far. The step stays in progress.

        Raises `StatusError` for a failure status, `AssociationError`, and `LocalProtocolError` if the step has ended.
        """
        self._check_in_progress()
        step = Dataset()
        if len(self.series):
            set_values(step, {"PerformedSeriesSequence": self.series.items()})
        set_values(step, values)
        await self._deliver(self._n_set(step))

    async def complete(self, /, **values: object) -> None:
        """Send the N-SET that ends the step as COMPLETED, with the series. Raises as `discontinue` does."""
        await self._end(StepStatus.COMPLETED, None, values)

    async def discontinue(self, reason: tuple[str, str, str] = UNSPECIFIED, /, **values: object) -> None:
        """Send the N-SET that ends the step as DISCONTINUED, with the series.

        `values` set further attributes by keyword. `reason` is a code of PS3.16 CID 9300: its value, coding scheme
        designator and meaning. For `END_SECONDS` a peer that cannot be reached is tried again.

        Raises `StepLeftOpen` if the peer did not confirm it, and `LocalProtocolError` if the step has ended.
        """
        await self._end(StepStatus.DISCONTINUED, reason, values)

    async def _end(self, status: StepStatus, reason: tuple[str, str, str] | None, values: Mapping[str, object]) -> None:
        self._check_in_progress()
        step = final_step(status, self.series.items(), reason)
        set_values(step, values)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._deliver(self._n_set(step), _has_ended, loop.time() + END_SECONDS)
        except BaseException as error:
            why = f"the peer did not answer within {END_SECONDS:g} s" if type(error) is TimeoutError else str(error)
            why = why or type(error).__name__
            raise StepLeftOpen(self.sop_instance_uid, status.value, why).at(str(self._entity.address)) from error
        self.status = status

    def _n_set(self, step: Dataset) -> _Request:
        step = raw_identifier(None, step)
        return lambda scu: scu.set(uids.PERFORMED_PROCEDURE_STEP, self.sop_instance_uid, step)

    def _check_in_progress(self) -> None:
        if self.status.is_final:
            raise LocalProtocolError(f"the procedure step {self.sop_instance_uid} is {self.status} already")

    async def _deliver(self, request: _Request, was_received: _WasReceived = _never, until: float = 0) -> None:
        """Send a request on an association of its own; again if its response was lost, or until a time of the loop.

        `was_received` says of the failure of a repeated request that the peer had received it before.
        """
        loop, first = asyncio.get_running_loop(), self._sent
        while True:
            sent = self._sent
            try:
                await self._send(request)
            except StatusError as error:
                if sent == first or not was_received(error):
                    raise
            except (AssociationError, RemoteProtocolError) as error:
                response_was_lost = sent == first and self._sent > sent
                if loop.time() + _PAUSE >= until and not response_was_lost:
                    raise
                logger.warning("procedure step %s: %s; trying again", self.sop_instance_uid, error)
                await asyncio.sleep(0 if response_was_lost else _PAUSE)
                continue
            return

    async def _send(self, request: _Request) -> None:
        """Send it on an association. The release may fail: the request was answered before."""
        outcome: NormalizedResult | DimseError | None = None
        try:
            async with self._entity.connect([(uids.PERFORMED_PROCEDURE_STEP, uids.LITTLE_ENDIAN)]) as association:
                self._sent += 1
                try:
                    outcome = await request(NormalizedSCU(association))
                except (StatusError, PresentationContextError, DatasetError) as error:
                    outcome = error
        except AssociationError as error:
            if outcome is None:
                raise
            logger.info("procedure step %s: %s", self.sop_instance_uid, error)
        if isinstance(outcome, DimseError):
            raise outcome


@asynccontextmanager
async def performed_step(
    address: str | Address | ApplicationEntity,
    dataset: Dataset,
    *,
    sop_instance_uid: str | None = None,
    calling_ae_title: str | None = None,
    options: ClientOptions | None = None,
    timeout: float | None = None,
) -> AsyncIterator[PerformedStep]:
    """A Modality Performed Procedure Step that is reported to the application entity at `address`, for an `async with`.

    Entering sends the N-CREATE with `dataset`, which `started_step` makes of worklist matches. Leaving the block sends
    COMPLETED with the series that were added; leaving it by an exception or a cancellation sends DISCONTINUED, unless
    the block has ended the step itself. `sop_instance_uid` is a new UID unless it is given. `timeout` is short for
    `ClientOptions(timeouts=Timeouts.all(timeout))`, in seconds.

    Raises `StatusError` if the peer refuses the step, `AssociationError` or `PresentationContextError` if it cannot be
    asked, and `StepLeftOpen` if it did not confirm the end within `END_SECONDS`; its cause is then what left the block.

    >>> async def main(match):
    ...     async with performed_step("RIS@localhost:11112", started_step(match)) as step:
    ...         await step.add_files("acquired/")
    """
    step = PerformedStep(entity_of(address, options, calling_ae_title, timeout), sop_instance_uid)
    await step.start(dataset)
    try:
        yield step
    except StepLeftOpen:
        raise
    except BaseException as error:
        if not step.status.is_final:
            try:
                await step.discontinue()
            except StepLeftOpen as left:
                raise left from error
        raise
    if not step.status.is_final:
        await step.complete()
