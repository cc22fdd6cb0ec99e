"""The SCP of the Storage service class (PS3.4 Annex B): answers C-STORE."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Final

from dimse import uids
from dimse.dataset.completeness import IncompleteDataset
from dimse.dataset.file_writer import Disk, Stored
from dimse.errors import DatasetError
from dimse.messages.message import Response
from dimse.network.incoming_request import Answer, IncomingRequest
from dimse.options import StoreOptions
from dimse.services.handlers import answered
from dimse.services.store_reception import OUT_OF_MEMORY, Habits, Reception
from dimse.services.store_request import StoreRequest
from dimse.services.study_completion import Studies
from dimse.status import Status

logger = logging.getLogger("dimse.storage")

_STORAGE_FAILS: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOLCK}
    | {errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.EBUSY, errno.EMLINK, errno.EXDEV}
    | {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ELOOP}
)
"""Errors that the same object may not meet again: when there is room, or when the storage was mended."""

_NAME_FAILS: Final = frozenset(
    {errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}
)
"""Errors that the same object meets again: its name is taken, or cannot be."""

StoreHandler = Callable[[StoreRequest], Awaitable[int]]
"""Answers C-STORE; see `Server.on_c_store` and `CGetSCU.get`."""


class StoreService:
    """Answers C-STORE with the status of a handler, when the data set has been read to its end."""

    def __init__(self, handler: StoreHandler, options: StoreOptions, studies: Studies | None = None) -> None:
        self._handler = handler
        self._options = options
        self._studies = studies or Studies()
        self._disk = Disk()
        self._habits = Habits()

    def supports(self, abstract_syntax: str) -> bool:
        return uids.is_storage(abstract_syntax)

    def sends(self, abstract_syntax: str) -> bool:  # noqa: ARG002 - as `Service` has it
        return False

    async def serve(self, request: IncomingRequest) -> Answer[Response]:
        if request.data is None:
            return request.response(Status.CANNOT_UNDERSTAND)
        reception = Reception(request, request.data, self._options, self._disk, self._habits)
        status: Status | None = None
        try:
            answer = await self._serve(request, reception)
            status = answer.message.status
            return answer
        finally:
            reception.audit(status)
            reception.close()

    async def _serve(self, request: IncomingRequest, reception: Reception) -> Answer[Response]:
        status = await reception.prepare()
        if status is not None:
            return request.response(status)
        try:
            status = await handled(self._handler, reception)
            if status.is_done and self._studies.handler is not None:
                await self._note_arrival(reception)
            return request.response(status)
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            if isinstance(error, OSError):  # one that `save` did not raise may be a fault of the handler
                own = None if error is reception.file_error else error
                logger.warning("C-STORE refused: %s", refusal[1], exc_info=own, extra=request.fields)
            else:
                logger.warning("C-STORE refused: %s", error, extra=request.fields)
            return request.response(refusal[0], error_comment=refusal[1])

    async def _note_arrival(self, reception: Reception) -> None:
        """Count the instance as one of its study. Without a Study Instance UID that is one it belongs to none."""
        study = reception.study_instance_uid
        if study is not None and uids.has_uid_characters(study):
            title = reception.association.calling_ae_title
            is_new = reception.stored in (None, Stored.NEW, Stored.REPLACED)
            await self._studies.arrived(study, reception.sop_instance_uid, reception.path, title, is_new=is_new)


async def handled(handler: StoreHandler, reception: Reception) -> Status:
    """The status to answer with after calling `handler`.

    Raises the errors of `answered`, and `IncompleteDataset` if the data set is not whole.
    """
    try:
        status = await answered(handler(StoreRequest(reception)), "C-STORE")
    finally:
        await reception.wait_for_save()
    if status.is_done:
        await reception.check_whole()
    return reception.status_for(status)


def refusal_of(error: Exception) -> tuple[int, str] | None:
    """The status and Error Comment that answer an exception of a handler; None for Processing Failure.

    Neither a path nor a value is in the comment.
    """
    if isinstance(error, IncompleteDataset):
        return Status.CANNOT_UNDERSTAND, str(error)
    if isinstance(error, MemoryError):
        return Status.OUT_OF_RESOURCES, OUT_OF_MEMORY
    if isinstance(error, DatasetError):
        return Status.CANNOT_UNDERSTAND, "the data set cannot be read"
    if isinstance(error, OSError) and error.errno in _STORAGE_FAILS:
        return Status.OUT_OF_RESOURCES, _meaning(error.errno)
    if isinstance(error, OSError) and error.errno in _NAME_FAILS:
        return Status.PROCESSING_FAILURE, _meaning(error.errno)
    return None


def _meaning(number: int) -> str:
    return "a folder of the storage is a symbolic link" if number == errno.ELOOP else os.strerror(number)
