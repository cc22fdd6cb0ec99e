"""The results of an operation with many responses, while it is under way (PS3.4 C.4)."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from enum import Enum
from types import TracebackType
from typing import Generic, Self, TypeVar

from dimse.dataset.codec import wrong_form
from dimse.errors import DatasetError, DimseError, NothingRetrieved, StatusError
from dimse.messages.message import Response
from dimse.network.association import Association, exchange_of
from dimse.network.incoming_request import Answer, IncomingRequest
from dimse.network.operations import Operation, OperationKind, OperationRequest
from dimse.status import Status, StatusCategory

logger = logging.getLogger("dimse.query_retrieve")

T = TypeVar("T")
R = TypeVar("R", bound=Response)


class Leavable(ABC, Generic[T]):
    """An asynchronous iterator that is ended when no `async with` and no `async for` uses it any more."""

    _users = 0
    """How many `async with` and `async for` are using it."""

    @abstractmethod
    async def __anext__(self) -> T: ...

    @abstractmethod
    def _abandon(self) -> None:
        """End it in the background. Called in any thread, and perhaps more than once."""

    def __aiter__(self) -> AsyncIterator[T]:
        return _Iteration(self)

    def _let_go(self) -> None:
        if self._users == 0:
            self._abandon()

    def __del__(self) -> None:
        self._let_go()


class _Iteration(AsyncIterator[T]):
    """One `async for`."""

    def __init__(self, items: Leavable[T]) -> None:
        self._items = items
        items._users += 1

    def __anext__(self) -> Awaitable[T]:
        return self._items.__anext__()

    def __del__(self) -> None:
        self._items._users -= 1
        self._items._let_go()


class _Account(Enum):
    """Which failures are known, and whether they were raised."""

    OPEN = "more may follow"
    NOTED = "those of the final response are noted"
    RAISED = "they were raised"


class Results(Leavable[T], Generic[T, R]):
    """The results of one operation: an asynchronous iterator, and a context manager that cancels the rest.

    Leaving the `async with` early, cancelling the task, or `cancel()` sends a C-CANCEL and reads to the
    operation's end, for which the peer has `Timeouts.cancel`; then the association can be used again. Leaving an `async
    for` that is in no `async with` does the same, in the background: the next operation waits for it.

    If another task cancels the operation, the iterating task gets an `OperationCancelled`: responses are missing. For
    the task that cancelled it, the iteration just ends. Earlier failures are raised with it in an `ExceptionGroup`.

    When the iteration ends, one `ExceptionGroup` has everything that failed on the way; with `raise_failures=False` it
    is in `failures` instead, as a lone `NothingRetrieved` always is. A failure status alone is raised as a
    `StatusError`. If the association ends, the reason is raised at once.
    """

    _kind: OperationKind
    final_warnings: frozenset[int] = frozenset()
    """The warnings with which such an operation may end."""

    def __init__(
        self,
        association: Association,
        request: OperationRequest,
        *,
        raise_failures: bool,
        complete: Callable[[IncomingRequest], Awaitable[None]] | None = None,
    ) -> None:
        self.failures: list[Exception] = []
        """The failures so far."""
        self._exchange = exchange_of(association)
        self._request = request
        self._raise_failures = raise_failures
        self._operation: Operation[R] = Operation(association, self._kind, request, complete)
        self._account = _Account.OPEN

    @property
    def message_id(self) -> int:
        """The Message ID of the request. With the calling AE title it identifies the sub-operations of a C-MOVE."""
        return self._request.message.message_id

    @property
    def status(self) -> Status | None:
        """The final status; None before the final response."""
        return None if self._operation.final is None else self._operation.final.message.status

    @property
    def error_comment(self) -> str | None:
        """The Error Comment of the final response."""
        return None if self._operation.final is None else self._operation.final.message.error_comment

    # From events to items

    @abstractmethod
    async def _pending(self, answer: Answer[R]) -> T | None:
        """The result that a Pending response brings, if any."""

    async def _final(self, answer: Answer[R]) -> T | None:  # noqa: ARG002 - subclasses use it
        """The result that the final response brings, if any. Notes failures."""
        return None

    async def _suboperation(self, request: IncomingRequest) -> T | None:
        """Answer a sub-operation. Returns the result that it brings, if any."""
        raise NotImplementedError

    async def _ready(self) -> None:
        """Called before the next event is taken: the caller is done with the result before."""

    async def _step(self) -> T | None:
        await self._ready()
        event = await self._operation.next()
        if isinstance(event, IncomingRequest):
            if not self._operation.is_cancelling:
                return await self._suboperation(event)
            await self._operation.serve_in_flight(event)
            return None
        if event.message.status.category is StatusCategory.PENDING:
            return await self._pending(event)
        self._operation.end()
        return await self._conclude(event)

    def _check_form(self, identifier: bytes) -> None:
        """Raise `DatasetError` if strict and `identifier` is in the other VR form than was accepted."""
        error, deviations = wrong_form(identifier, self._request.context.transfer_syntax), self._exchange.deviations
        if error is not None and deviations.is_strict:
            error = DatasetError(f"{error}; it can be read with Strictness.LENIENT, or --lenient")
        if error is not None:
            deviations.malformed(error)

    # The account of failures

    def _advice(self, status: Status) -> Iterable[str]:  # noqa: ARG002 - subclasses use it
        """What to do about a failure, where archives do not say it."""
        return ()

    async def _conclude(self, answer: Answer[R]) -> T | None:
        """Note the outcome of the final response, once."""
        if self._account is not _Account.OPEN:
            return None
        self._account = _Account.NOTED
        item = await self._final(answer)
        name, status = self._kind.name, answer.message.status
        cancelled = self._operation.is_cancelling and status.category is StatusCategory.CANCEL
        if status.category in (StatusCategory.FAILURE, StatusCategory.CANCEL) and not cancelled:
            offending = answer.message.offending_element or ()
            refusal = StatusError(status, name, answer.message.error_comment, offending)
            for advice in self._advice(status):
                refusal.add_note(advice)
            self._note(refusal)
        if status.category is StatusCategory.WARNING and status not in self.final_warnings:
            text = "%s: %s ended with %s, a warning that %s does not define"
            logger.warning(text, self._exchange.peer_name, name, status, name, extra=self._exchange.telling.fields)
        return item

    def _note(self, failure: DimseError) -> None:
        """Add a failure, which names the peer."""
        self.failures.append(failure.at(self._exchange.address, self._kind.name))

    def _end(self) -> Exception:
        """The exception to raise when there are no more items."""
        missing = self._operation.shortfall
        operation = f"{self._exchange.address}: {self._kind.name}"
        failures = self._to_raise()
        if missing is not None:
            return ExceptionGroup(f"{operation}: incomplete", [missing, *failures]) if failures else missing
        if not failures:
            return StopAsyncIteration()
        if len(failures) == 1 and isinstance(failures[0], StatusError):
            return failures[0]
        return ExceptionGroup(f"{operation}: {len(failures)} failed", failures)

    def _to_raise(self) -> list[Exception]:
        """The failures that are still to be raised. A lone `NothingRetrieved` is not.

        A Success without instances is also how an archive says that nothing matches.
        """
        if not self._raise_failures or self._account is _Account.RAISED:
            return []
        if all(isinstance(failure, NothingRetrieved) for failure in self.failures):
            return []
        self._account = _Account.RAISED
        return self.failures

    # Iterating, and ending early

    async def __anext__(self) -> T:
        item = await self._operation.take(self._step, self.cancel)
        if item is None:
            raise self._end()
        return item

    async def cancel(self) -> None:
        """Stop the operation (PS3.7 9.3.2.3), and wait for its end. Results that were returned stay valid.

        Raises `AssociationTimeout` if the peer does not end it in `Timeouts.cancel` seconds.
        """
        await self._operation.cancel(by=asyncio.current_task())
        if self._operation.final is not None:
            await self._conclude(self._operation.final)

    async def aclose(self) -> None:
        """`cancel`, as `contextlib.aclosing` calls it."""
        await self.cancel()

    async def __aenter__(self) -> Self:
        try:
            await self._operation.begin()
        except asyncio.CancelledError:
            await self._stop()
            raise
        self._users += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._users -= 1
        if kind is None:
            await self.cancel()
        else:
            await self._stop()

    async def _stop(self) -> None:
        await self._operation.stop(self.cancel)

    def _abandon(self) -> None:
        if self._operation.leave():
            self._exchange.cancellations.begin(self._stop)
