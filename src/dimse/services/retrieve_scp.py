"""The common half of C-GET SCP and C-MOVE SCP: the outcome of each sub-operation, and the responses that report it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Final, cast

from dimse.dataset.codec import encode
from dimse.dataset.encoding import FAILED_SOP_INSTANCE_UID_LIST
from dimse.dataset.pydicom_names import IGNORE, DataElement, Dataset
from dimse.dataset.sources import DatasetSource
from dimse.errors import PresentationContextError, StatusError
from dimse.messages.message import C_GET_RQ, Response
from dimse.messages.suboperations import MAXIMUM_COUNT
from dimse.network.incoming_request import Answer, IncomingRequest
from dimse.services.collecting import SendResult, look_at
from dimse.services.given import Source
from dimse.services.query_request import QueryRequest
from dimse.status import Status, StatusCategory

logger = logging.getLogger("dimse.query_retrieve")

PENDING_PACE: Final = 0.1
"""Minimum seconds between two Pending responses, which are progress for people to read."""

_TURN: Final = 1000
"""Instances that are looked at in a row."""

_LONGEST_UI: Final = 0xFFFE


RetrieveHandler = Callable[[QueryRequest], AsyncIterator[Source]]
"""Answers C-GET and C-MOVE; see `Server.on_c_get` and `Server.on_c_move`."""


class Account:
    """The outcome of each instance of one operation."""

    def __init__(self, request: IncomingRequest) -> None:
        self.sources: list[DatasetSource] = []
        self.completed = self.warning = 0
        self.failed: list[str] = []
        """SOP Instance UIDs; empty for objects that could not be read."""
        self._comment: str | None = None
        """Why the first failed instance failed, as an Error Comment."""
        self._settled = 0
        """How many of the sources were sent or have failed."""
        self._request = request

    async def look_at(self, query: QueryRequest, handler: RetrieveHandler) -> None:
        """List the handler's instances, and identify them; of files, only the File Meta Information is read."""
        # An async generator, as `Server` has checked.
        async with aclosing(cast("AsyncGenerator[Source]", handler(query))) as given:
            sources = [source async for source in given]
        number = 0
        async for found in look_at(sources):
            number += 1
            if number % _TURN == 0:
                await asyncio.sleep(0)
            if not isinstance(found, SendResult):
                self.sources.append(found)
            elif not found.skipped:
                logger.warning("%s: cannot be sent: %s", found.name, found.error)
                self._note_failed(found)

    def note(self, result: SendResult) -> None:
        """Note that an instance was sent or failed."""
        self._settled += 1
        if not result.stored or result.status is None:
            logger.warning("%s: not sent: %s", result.name, result.error)
            self._note_failed(result)
        elif result.status.category is StatusCategory.WARNING:
            self.warning += 1
        else:
            self.completed += 1

    def _note_failed(self, result: SendResult) -> None:
        self.failed.append(result.sop_instance_uid or "")
        self._comment = self._comment or self._comment_on(result)

    def _comment_on(self, result: SendResult) -> str:
        """An Error Comment of at most 64 characters, without paths or values."""
        if isinstance(result.error, PresentationContextError):
            source = next(each for each in self.sources if each.sop_instance_uid == result.sop_instance_uid)
            is_get = isinstance(self._request.message, C_GET_RQ)
            if is_get and not self._request.exchange.agreement.proposes_scp(source.sop_class_uid):
                return "the requestor proposed no SCP role for a SOP class"
            return f"no context in {source.transfer_syntax_uid}"
        if isinstance(result.error, StatusError):
            return f"an instance was refused with {result.error.status}"
        return "an instance cannot be read or encoded"

    def not_sent(self) -> None:
        """Note that no source could be sent, as there was no association."""
        self._settled = len(self.sources)
        self.failed += [source.sop_instance_uid for source in self.sources]

    def pending(self) -> Answer[Response]:
        """A Pending response with the current counters."""
        return self._response(Status.PENDING, number_of_remaining_suboperations=self._remaining)

    def cancelled(self) -> Answer[Response]:
        """The final response after a C-CANCEL."""
        return self._response(Status.CANCEL, identifier=self._list(), number_of_remaining_suboperations=self._remaining)

    def final(self) -> Answer[Response]:
        """The final response (PS3.4 C.4.2.1.5, C.4.3.1.4)."""
        status = Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES
        if not self.failed and not self.warning:
            status = Status.SUCCESS
        elif not self.completed and not self.warning:
            status = Status.UNABLE_TO_PERFORM_SUBOPERATIONS
        return self._response(status, identifier=self._list(), error_comment=self._comment)

    @property
    def _remaining(self) -> int:
        return min(len(self.sources) - self._settled, MAXIMUM_COUNT)

    def _list(self) -> bytes | None:
        """Encode the identifier with the Failed SOP Instance UID List (0008,0058); None if it would be empty."""
        # Invalid UIDs (PS3.5 9.1) are listed too, unless a backslash would make one UID two.
        uids = [uid for uid in self.failed if uid and "\\" not in uid]
        if not uids:
            return None
        text = "\\".join(uids).encode("latin-1", "replace")
        text += b"\0" * (len(text) % 2)
        # UI has a 16-bit length in Explicit VR; UN has one of 32 bits (PS3.5 7.1.2).
        vr = "UI" if len(text) <= _LONGEST_UI else "UN"
        identifier = Dataset()
        identifier.add(DataElement(FAILED_SOP_INSTANCE_UID_LIST, vr, text, validation_mode=IGNORE))
        return encode(identifier, self._request.context.transfer_syntax)

    def _response(self, status: Status, **fields: Any) -> Answer[Response]:
        return self._request.response(
            status,
            number_of_completed_suboperations=min(self.completed, MAXIMUM_COUNT),
            number_of_failed_suboperations=min(len(self.failed), MAXIMUM_COUNT),
            number_of_warning_suboperations=min(self.warning, MAXIMUM_COUNT),
            **fields,
        )
