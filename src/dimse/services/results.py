"""The results of an operation with many responses, while it is under way (PS3.4 C.4)."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from dimse.dataset.codec import wrong_form
from dimse.errors import (
    AssociationError,
    DatasetError,
    DimseError,
    NothingRetrieved,
    OperationCancelled,
    OperationTimeout,
    RemoteProtocolError,
    StatusError,
)
from dimse.messages.message import Request, Response
from dimse.network.association import Association, exchange_of
from dimse.network.incoming_request import Answer, IncomingRequest
from dimse.network.operations import Operation, Stage
from dimse.status import Status, StatusCategory
from dimse.upper_layer.negotiation import AcceptedContext

logger = logging.getLogger("dimse.query_retrieve")

T = TypeVar("T")
R = TypeVar("R", bound=Response)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with its identifier, on its context, and how long it may take."""

    context: AcceptedContext
    message: Request
    identifier: bytes
    seconds: float | None = None
    """In all; None is for as long as responses come."""
    raise_failures: bool = True


class _Account(Enum):
    """Which failures are known, and whether they were raised."""

    OPEN = "more may come"
    NOTED = "those of the final response are noted"
    RAISED = "they were raised"


class Results(ABC, Generic[T, R]):
    """The results of one operation: an asynchronous iterator, and a context manager that cancels what is left.

    Leaving the `async with` early, cancelling the task, or `cancel()` sends a C-CANCEL and reads to the
    operation's end, for which the peer has `Timeouts.cancel`; then the association can be used again. Leaving an `async
    for` that is in no `async with` does the same, in the background: the next operation waits for it.

    If another task cancels the operation, the iterating task gets an `OperationCancelled`: answers are missing. For the
    task that cancelled it, the iteration just ends. Earlier failures come along in an `ExceptionGroup`.

    When the iteration ends, one `ExceptionGroup` has all that failed on the way; with `raise_failures=False` it is
    in `failures` instead, as a lone `NothingRetrieved` always is. A failure status alone is raised as a `StatusError`.
    If the association ends, the reason is raised at once.
    """

    doing = "the operation"
    timer = "find"
    response_type: type[R]
    has_matches = False
    has_suboperations = False
    final_warnings: frozenset[int] = frozenset()
    """The warnings with which such an operation may end."""

    def __init__(self, association: Association, asked: Asked) -> None:
        self.failures: list[Exception] = []
        """What has failed so far."""
        self._association = association
        self._exchange = exchange_of(association)
        self._asked = asked
        self._operation: Operation[R] = Operation(
            association,
            asked.context,
            asked.message,
            self.response_type,
            timer=self.timer,
            doing=self.doing,
            has_matches=self.has_matches,
            has_suboperations=self.has_suboperations,
        )
        self._deadline: float | None = None
        self._account = _Account.OPEN
        self._takers = 0
        """How many `async with` and `async for` are using it."""
        self._cancelled_by: asyncio.Task[Any] | None = None

    @property
    def message_id(self) -> int:
        """The request's. With the calling AE title it identifies the sub-operations of a C-MOVE."""
        return self._asked.message.message_id

    @property
    def status(self) -> Status | None:
        """The final status; None while there is none."""
        return None if self._operation.final is None else self._operation.final.message.status

    @property
    def error_comment(self) -> str | None:
        """The Error Comment of the final response."""
        return None if self._operation.final is None else self._operation.final.message.error_comment

    @abstractmethod
    async def _pending(self, answer: Answer[R]) -> T | None:
        """The result that a Pending response brings, if any."""

    async def _ready(self) -> None:
        """Called before the next result: the one before has been used."""

    def _final(self, answer: Answer[R]) -> T | None:  # noqa: ARG002 - subclasses use it
        """The result that the final response brings, if any. Notes failures."""
        return None

    async def _suboperation(self, request: IncomingRequest) -> T | None:
        """Answer a sub-operation. Returns the result that it brings, if any."""
        raise NotImplementedError

    # Iterating

    def __aiter__(self) -> AsyncIterator[T]:
        return _Iteration(self)

    async def __anext__(self) -> T:
        if self._asked.seconds is not None and self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._asked.seconds
        try:
            if self._deadline is None:
                async with self._operation.reading:
                    return await self._next()
            return await self._next_in_time(self._deadline)
        except asyncio.CancelledError:
            await self._stop()
            raise

    async def _next_in_time(self, deadline: float) -> T:
        limit = asyncio.timeout_at(deadline)
        try:
            async with limit, self._operation.reading:
                return await self._next()
        except TimeoutError as error:
            if isinstance(error, AssociationError) or not limit.expired():
                raise
            await self.cancel()
            raise OperationTimeout(self.doing, self._asked.seconds or 0) from None

    async def _next(self) -> T:
        while self._operation.stage not in (Stage.LEFT, Stage.CANCELLED, Stage.ENDED):
            try:
                await self._begin()
                await self._ready()
                event = await self._operation.next()
                item = await self._use(event)
            except (AssociationError, RemoteProtocolError) as error:
                if self._association.is_open:
                    raise  # the error of another association
                self._operation.end()
                raise self._incomplete(error) from None
            if item is not None:
                return item
        raise self._end()

    def _end(self) -> Exception:
        """What to raise when nothing more comes."""
        if not self._operation.is_complete and self._cancelled_by is not asyncio.current_task():
            return self._incomplete(self._operation.error or OperationCancelled(self.doing))
        failures = self._to_raise()
        if not failures:
            return StopAsyncIteration()
        if len(failures) == 1 and isinstance(failures[0], StatusError):
            return failures[0]
        return ExceptionGroup(f"{self.doing}: {len(failures)} failed", failures)

    def _incomplete(self, error: Exception) -> Exception:
        """`error`, because of which answers are missing, together with earlier failures."""
        failures = self._to_raise()
        return ExceptionGroup(f"{self.doing}: incomplete", [error, *failures]) if failures else error

    def _to_raise(self) -> list[Exception]:
        """The failures that are still to be raised. A lone `NothingRetrieved` is not.

        A Success without instances is also how an archive says that nothing matches.
        """
        if not self._asked.raise_failures or self._account is _Account.RAISED:
            return []
        if all(isinstance(failure, NothingRetrieved) for failure in self.failures):
            return []
        self._account = _Account.RAISED
        return self.failures

    async def _use(self, event: Answer[R] | IncomingRequest) -> T | None:
        if isinstance(event, IncomingRequest):
            if self._operation.cancelling:
                await self._operation.serve_cancelled(event)
                return None
            return await self._suboperation(event)
        if event.message.status.category is StatusCategory.PENDING:
            return await self._pending(event)
        self._operation.end()
        return self._conclude(event)

    def _check_form(self, identifier: bytes) -> None:
        """Raise `DatasetError` if strict and `identifier` is in another VR form than was agreed on."""
        error, deviations = wrong_form(identifier, self._asked.context.transfer_syntax), self._exchange.deviations
        if error is not None and deviations.is_strict:
            error = DatasetError(f"{error}; it can be read with Strictness.LENIENT, or --lenient")
        if error is not None:
            deviations.malformed(error)

    def _conclude(self, answer: Answer[R]) -> T | None:
        """Note the outcome that the final response brings, once."""
        if self._account is not _Account.OPEN:
            return None
        self._account = _Account.NOTED
        item = self._final(answer)
        status = answer.message.status
        cancelled = self._operation.cancelling and status.category is StatusCategory.CANCEL
        if status.category in (StatusCategory.FAILURE, StatusCategory.CANCEL) and not cancelled:
            self.failures.append(StatusError(status, self.doing, answer.message.error_comment))
        if status.category is StatusCategory.WARNING and status not in self.final_warnings:
            peer = self._exchange.peer_name
            logger.warning(
                "%s: %s ended with %s, a warning that %s does not define", peer, self.doing, status, self.doing
            )
        return item

    async def _begin(self) -> None:
        if self._operation.stage is Stage.NEW:
            await self._operation.begin(self._asked.identifier)

    # Ending early

    async def cancel(self) -> None:
        """Stop the operation (PS3.7 9.3.2.3), and wait for its end. What was given stays valid.

        Raises `AssociationTimeout` where the peer does not end it in `Timeouts.cancel` seconds.
        """
        self._cancelled_by = asyncio.current_task()
        if self._operation.stage is Stage.NEW:
            self._operation.end()
        if not self._operation.is_over:
            await self._operation.cancel()
        if self._operation.final is not None:
            self._conclude(self._operation.final)

    async def aclose(self) -> None:
        """`cancel`, as `contextlib.aclosing` calls it."""
        await self.cancel()

    async def _stop(self) -> None:
        """`cancel` without raising, as another exception is on its way."""
        try:
            await self.cancel()
        except (DimseError, OSError) as error:
            logger.info("%s: %s", self._exchange.peer_name, error)

    async def __aenter__(self) -> Self:
        try:
            async with self._operation.reading:
                await self._begin()
        except asyncio.CancelledError:
            await self._stop()
            raise
        self._takers += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._takers -= 1
        if kind is None:
            await self.cancel()
        else:
            await self._stop()

    def _let_go(self) -> None:
        """Cancel the operation if no `async with` or `async for` uses it any more."""
        if self._takers == 0 and self._operation.leave():
            self._exchange.cancellations.begin(self._stop)

    def __del__(self) -> None:
        self._let_go()


class _Iteration(AsyncIterator[T]):
    """One `async for`."""

    def __init__(self, results: Results[T, Any]) -> None:
        self._results = results
        results._takers += 1

    def __anext__(self) -> Awaitable[T]:
        return self._results.__anext__()

    def __del__(self) -> None:
        self._results._takers -= 1
        self._results._let_go()
