"""The reception of one C-STORE request, from its first byte to its response (PS3.4 Annex B).

The service owns the `Reception`, and the handler sees it through a `StoreRequest`. In this order:

1. `prepare` reads as far as the handler needs, or returns the status to refuse the request with.
2. The handler runs. It may decode the data set, read it, or write it to a file; `Reading` says how far it got.
3. `wait_for_save` waits for a file that the handler left to another task.
4. `check_whole` reads the rest, so that Success is never answered for half of a data set.
5. `status_for` is the status to answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dimse import uids
from dimse.dataset.completeness import IncompleteDataset
from dimse.dataset.encoding import (
    MAX_TEXT,
    PIXEL_DATA,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    tag_name,
)
from dimse.dataset.file_writer import Disk, FileWriter, Instance, Stored
from dimse.dataset.part10 import encode_file_meta
from dimse.dataset.scanner import NAMING_TAGS
from dimse.dataset.threads import beside_the_loop
from dimse.errors import DatasetError, LocalProtocolError, StatusError, without_frames
from dimse.messages.message import C_STORE_RQ
from dimse.network.incoming_data import IncomingData
from dimse.network.incoming_request import IncomingRequest
from dimse.options import Duplicates, StoreMode, StoreOptions
from dimse.services.audited_source import patient_id_of
from dimse.services.incoming_dataset import IncomingDataset
from dimse.status import Status

if TYPE_CHECKING:
    from dimse.dataset.edits import Edits
    from dimse.dataset.pydicom_names import Dataset

logger = logging.getLogger("dimse.storage")

_MAX_UID: Final = 64

CUT: Final = "its chunks were not read to their end"
"""The Error Comment that answers a handler which accepts an instance, but has left its copy cut."""

OUT_OF_MEMORY: Final = "out of memory"
"""The Error Comment that answers a MemoryError."""


class Reading(Enum):
    """How far the handler has read the data set. A streaming one can be read once, a buffered one again and again."""

    UNREAD = "the handler has not read it"
    DECODED = "the handler has the whole data set decoded, and may still read it"
    BEGUN = "the handler has begun to read it"
    COPYING = "the handler has begun to copy all of it, and must not leave the copy cut"
    COMPLETE = "the handler has read or saved all of it"


_ON_BEGIN: Final = {
    Reading.UNREAD: Reading.BEGUN,
    Reading.DECODED: Reading.COMPLETE,
    Reading.BEGUN: Reading.BEGUN,
    Reading.COPYING: Reading.COPYING,
    Reading.COMPLETE: Reading.COMPLETE,
}
_ON_WHOLE_DATASET: Final = {
    Reading.UNREAD: Reading.DECODED,
    Reading.DECODED: Reading.DECODED,
    Reading.BEGUN: Reading.COMPLETE,
    Reading.COPYING: Reading.COPYING,
    Reading.COMPLETE: Reading.COMPLETE,
}


class Habits:
    """What a handler has done with the requests so far, for preparing the next ones."""

    def __init__(self) -> None:
        self.decodes_large = False
        """Whether it has read the `dataset` of a large object while streaming."""


class Reception:
    """One C-STORE request while its data set arrives."""

    def __init__(
        self, request: IncomingRequest, data: IncomingData, options: StoreOptions, disk: Disk, habits: Habits
    ) -> None:
        message = request.message
        assert isinstance(message, C_STORE_RQ)  # noqa: S101 - the service is registered for no other
        self.association: Final = request.association
        self.command: Final = message
        self.transfer_syntax_uid = request.context.transfer_syntax
        """The negotiated transfer syntax, or the one that the data set shows if it differs."""
        self.path: Path | None = None
        """The file that was written."""
        self.stored: Stored | None = None
        """What was done if the instance was stored already."""
        self.file_error: OSError | None = None
        """Why the file could not be written."""
        self.results: object = None
        """The results to which it belongs; kept alive here, as results that nothing refers to are cancelled."""
        self._exchange = request.exchange
        self._options = options
        self._disk = disk
        self._habits = habits
        self._reading = Reading.UNREAD
        self._dataset: Dataset | DatasetError | None = None
        """The decoded data set, or why it cannot be decoded."""
        self._saved: asyncio.Future[None] | None = None
        """Done when `write` has ended, if it has begun."""
        is_strict = request.exchange.deviations.is_strict
        self.incoming: Final = IncomingDataset(data, self.transfer_syntax_uid, is_strict=is_strict)

    @property
    def sop_instance_uid(self) -> str:
        """Affected SOP Instance UID."""
        return self.command.affected_sop_instance_uid

    def sop_instance_uid_in(self, edits: Edits | None) -> str:
        """The SOP Instance UID after `edits`."""
        return edits.sop_instance_uid(self.sop_instance_uid) if edits else self.sop_instance_uid

    @property
    def study_instance_uid(self) -> str | None:
        """Study Instance UID, as far as the data set was read; None if it has none."""
        return self.incoming.scanner.text(STUDY_INSTANCE_UID) or None

    # Before the handler

    async def prepare(self) -> Status | None:
        """Read as far as the handler needs. Returns the status to refuse it with, or None."""
        try:
            await self._prepare()
        except StatusError as error:
            refusal = error.status.with_comment(error.comment)
        except IncompleteDataset as error:
            refusal = Status.CANNOT_UNDERSTAND.with_comment(str(error))
        except MemoryError:
            refusal = Status.OUT_OF_RESOURCES.with_comment(OUT_OF_MEMORY)
        else:
            return None
        logger.warning("C-STORE refused: %s", refusal.comment, extra=self._exchange.telling.fields)
        return refusal

    async def _prepare(self) -> None:
        incoming = self.incoming
        self._check_uid(self.sop_instance_uid)
        await incoming.read_metadata()
        self._check_same(SOP_CLASS_UID, self.command.affected_sop_class_uid)
        self._check_same(SOP_INSTANCE_UID, self.sop_instance_uid)
        await self._see_syntax()
        if self._options.mode is StoreMode.BUFFERED:
            await incoming.read_all(self._options.maximum_buffered, self._options.maximum_buffered_in_process)
        await self._decode_large()

    async def _decode_large(self) -> None:
        """Decode a large data set in a thread, as `dataset` cannot be awaited.

        While streaming, it is not done for a handler that only saves, which it would slow down: one that has decoded
        is expected to do so again.
        """
        incoming = self.incoming
        if not incoming.is_long_to_decode or not (incoming.is_buffered or self._habits.decodes_large):
            return
        try:
            self._dataset = await beside_the_loop(self._decode_if_wanted)
        except DatasetError as error:
            self._dataset = error

    def _decode_if_wanted(self) -> Dataset:
        if not self._exchange.is_open:
            raise DatasetError("the association has ended")
        return self.incoming.decode()

    def _check_uid(self, uid: str) -> None:
        """Refuse a UID that cannot be a file name. If lenient, accept characters that PS3.5 9.1 does not allow."""
        if not uid or len(uid) > _MAX_UID or uid in (".", "..") or not uid.isascii() or not uid.isprintable():
            raise StatusError(Status.INVALID_SOP_INSTANCE, "(0000,1000) is not a UID")
        if "/" in uid or "\\" in uid:
            raise StatusError(Status.INVALID_SOP_INSTANCE, "(0000,1000) is not a UID: it is a path")
        if not uids.has_uid_characters(uid):
            self._tolerate("(0000,1000) has other characters than digits and dots (PS3.5 9.1)", 0x0117)

    def _tolerate(self, violation: str, refusal: int) -> None:
        """Refuse the instance if strict, else warn of the violation once."""
        if self._exchange.deviations.is_strict:
            raise StatusError(Status(refusal), violation)
        self._exchange.deviations.tolerated(f"C-STORE: {violation}; accepted as received")

    def _check_same(self, tag: int, expected: str) -> None:
        """Refuse a data set whose SOP Class or Instance UID is not that of the command (PS3.4 B.2.3, 0xA900)."""
        scanner, malformed = self.incoming.scanner, self.incoming.structure.malformed
        found = scanner.text(tag)
        if found is None and malformed is not None and not scanner.passed(tag):
            raise StatusError(Status.CANNOT_UNDERSTAND, str(malformed))
        if not found:
            where = "" if scanner.metadata else ", as the data set is empty"
            raise StatusError(Status.DATASET_DOES_NOT_MATCH, f"{tag_name(tag)} is missing{where}")
        if found != expected:
            raise StatusError(Status.DATASET_DOES_NOT_MATCH, f"{tag_name(tag)} is not that of the command")

    async def _see_syntax(self) -> None:
        """Use the transfer syntax that the data set shows, if it is not the negotiated one."""
        incoming, scanner = self.incoming, self.incoming.scanner
        deviations, name = self._exchange.deviations, uids.name_of(self.transfer_syntax_uid)
        if incoming.has_mislabeled_pixels:
            form = "encapsulated" if scanner.bulk is not None and scanner.bulk.length is None else "native"
            self._tolerate(f"{tag_name(PIXEL_DATA)} is {form}, in {name}", Status.CANNOT_UNDERSTAND)
        shown = await incoming.shown_syntax()
        if shown is None:
            raise StatusError(Status.CANNOT_UNDERSTAND, f"{tag_name(PIXEL_DATA)} is encapsulated, in {name}")
        if scanner.is_mislabeled:
            form = "Implicit VR" if scanner.implicit else "Explicit VR"
            deviations.tolerated(f"C-STORE: a data set in {form}, not in {name}; read as {form}")
        if scanner.mislabeled_items is not None:
            where = tag_name(scanner.mislabeled_items)
            deviations.tolerated(f"C-STORE: items of {where} in the other VR form; read in that form")
        self.transfer_syntax_uid = shown

    # For the handler

    def decoded(self) -> Dataset:
        """The data set as far as it is kept, decoded once. Raises `DatasetError` if it cannot be decoded."""
        if self._dataset is None:
            self._habits.decodes_large |= self.incoming.is_long_to_decode
            try:
                self._dataset = self.incoming.decode()
            except DatasetError as error:
                self._dataset = error
        if isinstance(self._dataset, DatasetError):
            raise self._dataset
        if self.incoming.is_buffered or self.incoming.scanner.bulk is None:
            self._reading = _ON_WHOLE_DATASET[self._reading]
        return self._dataset

    def joined(self) -> memoryview:
        """The whole encoded data set, if it is buffered."""
        if not self.incoming.is_buffered:
            raise LocalProtocolError("the data set is streaming: use pixels() or save(), or StoreMode.BUFFERED")
        self._reading = _ON_WHOLE_DATASET[self._reading]
        return memoryview(self.incoming.joined())

    def text_of(self, tag: int) -> str:
        """The text of a data element, to name a file by. Raises `DatasetError` if it cannot be read."""
        scanner, malformed = self.incoming.scanner, self.incoming.structure.malformed
        found = scanner.text(tag)
        if found is not None and len(found) > MAX_TEXT:
            raise DatasetError(f"{tag_name(tag)} has more than {MAX_TEXT} bytes")
        # Text of other character sets is decoded.
        if found is not None and (tag in NAMING_TAGS or (found.isascii() and "\x1b" not in found)):
            return found
        if tag in NAMING_TAGS:
            if malformed is not None and not scanner.passed(tag):
                raise malformed
            return ""
        from dimse.dataset.codec import text_of  # imports pydicom

        return text_of(self.decoded(), tag)

    def begin_reading(self) -> None:
        """Note that the handler reads from the beginning. Raises `LocalProtocolError` if it cannot do so again."""
        if self._reading not in (Reading.UNREAD, Reading.DECODED) and not self.incoming.is_buffered:
            raise LocalProtocolError("a streaming data set can be read once")
        self.incoming.data.check_wanted()
        self._reading = _ON_BEGIN[self._reading]

    def end_reading(self) -> None:
        """Note that the handler has read to the end."""
        self._reading = Reading.COMPLETE

    async def chunks(self, edits: Edits | None, *, part10: bool) -> AsyncIterator[bytes]:
        """The data set as received or edited, after its preamble and File Meta Information if `part10`."""
        self.begin_reading()
        self._reading = Reading.COPYING
        beginning = await self._beginning(edits)
        if part10:
            yield self.file_meta(edits)
        async for chunk in self.incoming.everything(beginning):
            yield chunk
        self.end_reading()

    async def _beginning(self, edits: Edits | None) -> list[memoryview]:
        return await self.incoming.edited_beginning(edits) if edits else self.incoming.beginning()

    async def copy(self, write: Callable[[bytes], Awaitable[None]], edits: Edits | None) -> None:
        """Pass a Part 10 file to `write`, chunk by chunk."""
        saved = self._saved = asyncio.get_running_loop().create_future()
        try:
            async for chunk in self.chunks(edits, part10=True):
                await write(chunk)
        except OSError as error:
            self.file_error = error
            raise
        finally:
            saved.set_result(None)

    async def write(self, root: str, names: list[str], edits: Edits | None = None) -> Path:
        """Write a Part 10 file below `root`, by the first of `names` that no other instance has. Returns its path."""
        self.begin_reading()
        incoming, duplicates = self.incoming, self._options.duplicates
        writer = self._writer(root, names, edits)
        saved = self._saved = asyncio.get_running_loop().create_future()
        try:
            views = await self._beginning(edits)
            while not (is_last := incoming.data.exhausted):
                await incoming.data.use(writer.write(views, is_last=False))
                views = await incoming.pull()
            await incoming.data.use(writer.write(views, is_last=is_last))
            incoming.data.release()  # resumes reading from the connection, so that an A-ABORT is seen
        except BaseException as error:
            self.file_error = error if isinstance(error, OSError) else None
            await writer.discard()
            raise
        finally:
            saved.set_result(None)
        self.path, self.stored = Path(writer.path), writer.stored
        if self.stored is Stored.KEPT and duplicates is Duplicates.REFUSE:
            raise StatusError(Status.DUPLICATE_SOP_INSTANCE, "stored before with different content")
        self.end_reading()
        return self.path

    def _writer(self, root: str, names: list[str], edits: Edits | None) -> FileWriter:
        instance = Instance(self.sop_instance_uid_in(edits), self.transfer_syntax_uid)
        replaces = self._options.duplicates is Duplicates.REPLACE
        return FileWriter(
            root, names, self.file_meta(edits), self._disk, instance, fsync=self._options.fsync, replaces=replaces
        )

    def file_meta(self, edits: Edits | None) -> bytes:
        """The preamble and the File Meta Information of its file."""
        return encode_file_meta(
            sop_class_uid=self.command.affected_sop_class_uid,
            sop_instance_uid=self.sop_instance_uid_in(edits),
            transfer_syntax_uid=self.transfer_syntax_uid,
            source_ae_title=self.association.peer_ae_title,
            sending_ae_title=self.association.peer_ae_title,
            receiving_ae_title=self.association.own_ae_title,
        )

    # After the handler

    def audit(self, status: Status | None) -> None:
        """Note in the audit trail that the instance was stored, or why not: None is an exception."""
        audit = self._exchange.audit
        if audit is None:
            return
        audit.transferred(
            self.command.affected_sop_class_uid,
            self.study_instance_uid or "none",
            patient_id_of(self.incoming.scanner),
            is_stored=status is not None and status.is_done,
            by_requestor=not self._exchange.is_requestor,
        )

    def close(self) -> None:
        """The request is answered: what was received counts no longer, and no error of the reception keeps it alive.

        An error that is kept here, and whose traceback leads here, would be left to the garbage collector.
        """
        self.incoming.free()
        self.file_error = None
        for error in (self.incoming.fault, self.incoming.structure.malformed, self._dataset):
            if isinstance(error, DatasetError):
                without_frames(error)

    async def wait_for_save(self) -> None:
        """The handler has ended: wait for a file that it left to another task to write."""
        if self._reading in (Reading.UNREAD, Reading.DECODED) and not self.incoming.is_buffered:
            await asyncio.sleep(0)  # lets a task that the handler has just made begin
        if self._saved is not None and not self._saved.done():
            await asyncio.shield(self._saved)

    @property
    def is_consumed(self) -> bool:
        """Whether the handler has all of the data set: saved, read to its end, or decoded with nothing after it."""
        return self._reading in (Reading.DECODED, Reading.COMPLETE)

    @property
    def fault(self) -> DatasetError | None:
        """What is missing or malformed, as far as the data set was read."""
        return self.incoming.fault

    async def check_whole(self) -> None:
        """Read to the end, and raise `IncompleteDataset` if the data set is not whole (PS3.4 B.2.3)."""
        await self.incoming.read_to_end()
        structure, deviations = self.incoming.structure, self._exchange.deviations
        if structure.malformed is not None:
            fault = str(structure.malformed).partition(", byte")[0]
            deviations.tolerated(f"C-STORE: {fault}; accepted as received")
        if structure.has_surplus:
            deviations.harmless("C-STORE: zeros or delimiters after the last element")

    def status_for(self, status: Status) -> Status:
        """The handler's status; a failure instead if a copy was cut, or a warning if other content was kept."""
        if status.is_done and self._reading is Reading.COPYING:
            logger.warning("C-STORE of %s refused: %s", self.sop_instance_uid, CUT, extra=self._exchange.telling.fields)
            return Status.OUT_OF_RESOURCES.with_comment(CUT)
        if status != Status.SUCCESS or self.stored is not Stored.KEPT:
            return status
        logger.warning(
            "C-STORE of %s: stored before with different content; that is kept",
            self.sop_instance_uid,
            extra=self._exchange.telling.fields,
        )
        return Status.COERCION_OF_DATA_ELEMENTS.with_comment("stored before with different content; that is kept")
