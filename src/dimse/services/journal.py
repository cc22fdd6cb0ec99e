"""The journal of a sending job: a file of what was stored, so that the same job can go on after it was interrupted.

    {"journal":1,"destination":"ARCHIVE@pacs:104","edits":null}
    {"path":"/study/1.dcm","size":532,"changed":1764470000000000000,"sop_class_uid":"1.2.840...", ...}
    {"committed":"1.2.3.4"}

Rules:

- A line is written when the peer has stored an object, or has said that it keeps it, and at no other time. A line that
  is lost, torn or cannot be read only causes its object to be sent, or asked for, again.
- Each line is with the operating system before the next response is read, so `kill -9` loses none. It is forced to the
  disk within `SYNC_SECONDS`; a loss of power loses what came later.
- The file is locked as long as a job uses it.
- If the disk is full, the job goes on, and what it sends meanwhile is not in the journal.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

from dimse.address import Address
from dimse.dataset import folders
from dimse.dataset.sources import DatasetSource
from dimse.dataset.threads import in_worker
from dimse.errors import JournalError
from dimse.services.collecting import SendResult
from dimse.status import Status

if TYPE_CHECKING:
    from dimse.dataset.edits import Edits

logger = logging.getLogger("dimse.storage")

SYNC_SECONDS: Final = 1.0
"""Seconds between the ends of two writes that reach the disk itself."""

_VERSION: Final = 1
_OPEN: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
_CLOSED: Final = -1
_MAX_HEADER: Final = 4096
"""Bytes that the first line has at most; of another file, no more are read."""
_UNREADABLE: Final = (KeyError, OverflowError, RecursionError, TypeError, ValueError)
"""What a line that is not one of ours raises."""


class _Stored(NamedTuple):
    """What the journal says about a file: its state when it was sent, and the response."""

    size: int
    changed: int
    status: Status
    comment: str | None


class Journal:
    """The file, from `open` to `close`."""

    def __init__(self, path: str | os.PathLike[str], destination: Address, edits: Edits | None) -> None:
        self._path = os.fspath(path)
        self._job = {
            "journal": _VERSION,
            "destination": str(destination),
            "edits": None if not edits else edits.digest(),
        }
        self._stored: dict[str, _Stored] = {}
        """By path: what earlier runs have sent."""
        self._committed: set[str] = set()
        """The instances that the peer is committed to store."""
        self._descriptor = _CLOSED
        self._end = 0
        """Bytes of whole lines."""
        self._synced = 0
        self._failure: OSError | None = None
        """Why it could not be written, the first time."""

    def earlier(self, source: DatasetSource) -> SendResult | None:
        """The result of an earlier run for a file; None if it was not stored, or has changed since."""
        if (identity := source.identity()) is None:
            return None
        path, size, changed = identity
        stored = self._stored.get(path)
        if stored is None or (stored.size, stored.changed) != (size, changed):
            return None
        name, uid = source.name, source.sop_instance_uid
        return SendResult(name, uid, stored.status, comment=stored.comment, sent_before=True)

    def note(self, source: DatasetSource, status: Status, comment: str | None) -> None:
        """Write that the peer has stored a file. Sources that are not files have no line."""
        if (identity := source.identity()) is None:
            return
        path, size, changed = identity
        line = {
            "path": path,
            "size": size,
            "changed": changed,
            "sop_class_uid": source.sop_class_uid,
            "sop_instance_uid": source.sop_instance_uid,
            "status": int(status),
            "comment": comment,
        }
        self._committed.discard(source.sop_instance_uid)
        self._note(line)

    def is_committed(self, sop_instance_uid: str) -> bool:
        """Whether the peer is committed to store what was last sent of an instance."""
        return sop_instance_uid in self._committed

    def note_committed(self, sop_instance_uid: str) -> None:
        """Write that the peer is committed to store an instance."""
        self._committed.add(sop_instance_uid)
        self._note({"committed": sop_instance_uid})

    def _note(self, line: Mapping[str, Any]) -> None:
        try:
            self._append(line)
        except OSError as error:
            self._failed(error)

    def _append(self, line: Mapping[str, Any]) -> None:
        """Write a line, or raise `OSError` and leave the file as it was."""
        encoded = _encoded(line)
        try:
            if os.write(self._descriptor, encoded) != len(encoded):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - both failures end alike
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._end)
            raise
        self._end += len(encoded)

    def _failed(self, error: OSError) -> None:
        if self._failure is None:
            self._failure = error
            text = "the journal %s cannot be written: %s; what it does not have would be sent again"
            logger.warning(text, self._path, error.strerror)

    def open(self) -> None:
        """Lock and read it. Raises `JournalError`."""
        try:
            self._descriptor = os.open(self._path, _OPEN, 0o600)
            if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                raise JournalError(f"{self._path} is not a file; name another one")  # a pipe could not be read
            if not folders.lock(self._descriptor):
                raise JournalError(f"the journal {self._path} is in use by another process")
            self._begin()
        except OSError as error:
            raise JournalError(f"the journal {self._path} cannot be used: {error.strerror}") from error

    def _begin(self) -> None:
        with open(self._descriptor, "rb", closefd=False) as file:
            self._read(file)
            if file.seek(0, os.SEEK_END) != self._end:  # a line is torn
                os.ftruncate(self._descriptor, self._end)
        if not self._end:
            self._append(self._job)
            folders.sync_path(str(Path(self._path).absolute().parent))

    def _read(self, file: BinaryIO) -> None:
        """Read the whole lines. Raises `JournalError` if the first is not that of this job."""
        first = file.readline(_MAX_HEADER)
        if _encoded(self._job).startswith(first) and not first.endswith(b"\n"):
            return  # it is new, or was torn when it was
        self._check(first)
        self._end, unread = len(first), 0
        for line in file:
            if not line.endswith(b"\n"):
                break
            self._end += len(line)
            try:
                self._take(json.loads(line))
            except _UNREADABLE:
                unread += 1
        if unread:
            text = "the journal %s has %d lines that cannot be read; their objects are sent again"
            logger.warning(text, self._path, unread)

    def _check(self, first: bytes) -> None:
        try:
            there = json.loads(first)
            version, destination, edits = (there[key] for key in self._job)
        except _UNREADABLE:
            raise JournalError(f"{self._path} is not a journal; name another file") from None
        if version != _VERSION:
            raise JournalError(f"the journal {self._path} is of another version of dimse; name another file")
        if destination != self._job["destination"]:
            ours = self._job["destination"]
            raise JournalError(f"the journal {self._path} is for {destination}, not for {ours}; name another file")
        if edits != self._job["edits"]:
            text = "is of a job with other edits: make the same as before, or name another file"
            raise JournalError(f"the journal {self._path} {text}")

    def _take(self, line: Mapping[str, Any]) -> None:
        if "committed" in line:
            self._committed.add(line["committed"])
            return
        self._committed.discard(line["sop_instance_uid"])
        stored = _Stored(line["size"], line["changed"], Status(line["status"]), line["comment"])
        self._stored[line["path"]] = stored

    def close(self) -> None:
        """Force it to the disk, and unlock it."""
        if self._descriptor != _CLOSED:
            self._sync()
            folders.close(self._descriptor)

    def _sync(self) -> None:
        end = self._end
        try:
            os.fsync(self._descriptor)
            self._synced = end
        except OSError as error:
            self._failed(error)

    async def keep_durable(self) -> None:
        """Force it to the disk again and again, until cancelled."""
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            if self._synced != self._end:
                await in_worker(self._sync)


@asynccontextmanager
async def opened(
    path: str | os.PathLike[str] | None, destination: Address, edits: Edits | None
) -> AsyncIterator[Journal | None]:
    """The journal at `path`, if there is one, read and locked inside the block. Raises as `Journal.open` does."""
    if path is None:
        yield None
        return
    journal = Journal(path, destination, edits)
    try:
        await in_worker(journal.open)
        syncing = asyncio.create_task(journal.keep_durable())
        try:
            yield journal
        finally:
            syncing.cancel()
            await asyncio.wait([syncing])
    finally:
        await in_worker(journal.close)


_encode: Final = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` would make an encoder for each line


def _encoded(line: Mapping[str, Any]) -> bytes:
    return _encode(line).encode() + b"\n"
