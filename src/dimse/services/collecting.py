"""Finding the objects to send: files in folders and archives, of which only the File Meta Information is read."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

from dimse.dataset.discover import NotSent, discover
from dimse.dataset.sources import DatasetSource
from dimse.errors import DatasetError
from dimse.records import record
from dimse.services.given import Source, as_source, name_of
from dimse.status import Status
from dimse.uids import is_uid

_FILES_AT_ONCE: Final = 256
"""Files that a thread reads before the event loop continues."""


@record()
class SendResult:
    """The outcome for one source.

    It was stored if `status` is Success or a warning; otherwise `error` says why not. `skipped` means a file in a
    folder that is not DICOM: it has no status and is not a failure.
    """

    name: str
    sop_instance_uid: str | None = None
    status: Status | None = None
    error: Exception | None = None
    comment: str | None = None
    """The peer's Error Comment (0000,0902)."""
    skipped: bool = False
    sent_before: bool = False
    """Whether an earlier run of the job sent it, as its journal says."""
    attempts: int = 0
    bytes_sent: int = 0

    @property
    def stored(self) -> bool:
        """Whether the peer has stored it."""
        return self.error is None and self.status is not None


async def look_at(sources: Iterable[Source]) -> AsyncIterator[DatasetSource | SendResult]:
    """The objects to send in `sources`, in their order, and the results of those that cannot be sent.

    A thread reads the File Meta Information, some hundred files at a time.
    """
    paths: list[str | os.PathLike[str]] = []
    for source in sources:
        if isinstance(source, str | os.PathLike):
            paths.append(source)
            if len(paths) < _FILES_AT_ONCE:
                continue
        if paths:
            for found in await asyncio.to_thread(_found_at, paths):
                yield found
            paths = []
        if isinstance(source, DatasetSource):
            yield _checked(source)
        elif not isinstance(source, str | os.PathLike):
            yield await _looked_at(source)
    if paths:
        for found in await asyncio.to_thread(_found_at, paths):
            yield found


async def _looked_at(source: Source) -> DatasetSource | SendResult:
    try:
        return _checked(await as_source(source))
    except Exception as error:  # noqa: BLE001 - a user's stream may raise anything; only this item fails
        return SendResult(name_of(source), error=error)


def _checked(source: DatasetSource) -> DatasetSource | SendResult:
    if is_uid(source.sop_class_uid) and is_uid(source.transfer_syntax_uid):
        return source
    error = DatasetError(f"{source.name}: its SOP Class UID or Transfer Syntax UID is not a UID")
    return SendResult(source.name, source.sop_instance_uid, error=error)


def _found_at(paths: Sequence[str | os.PathLike[str]]) -> list[DatasetSource | SendResult]:
    return [
        SendResult(found.name, error=found.error, skipped=found.skipped)
        if isinstance(found, NotSent)
        else _checked(found)
        for found in discover(paths)
    ]
