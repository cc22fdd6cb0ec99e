"""A C-STORE that the peer asks for, received as a stream (PS3.4 Annex B)."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dimse import uids
from dimse.dataset.completeness import IncompleteDataset
from dimse.dataset.encoding import PIXEL_DATA, PIXEL_DATA_TAGS, SOP_CLASS_UID, SOP_INSTANCE_UID, tag_name
from dimse.dataset.file_names import other_name, safe_path, template_keywords
from dimse.dataset.file_writer import Disk, FileWriter, Instance, Stored
from dimse.dataset.part10 import encode_file_meta
from dimse.dataset.scanner import NAMING_TAGS
from dimse.dataset.threads import beside_the_loop
from dimse.errors import DatasetError, LocalProtocolError, StatusError
from dimse.messages.message import C_STORE_RQ
from dimse.network.incoming_data import IncomingData
from dimse.network.incoming_request import IncomingRequest
from dimse.options import Duplicates, StoreMode, StoreOptions
from dimse.services.incoming_dataset import IncomingDataset
from dimse.status import Status

if TYPE_CHECKING:
    from dimse.dataset.pydicom_names import Dataset

logger = logging.getLogger("dimse.storage")

DEFAULT_TEMPLATE: Final = "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"
"""Where `StoreRequest.save_under` puts an instance."""

_MAX_UID: Final = 64


_BULK_TAGS: Final = PIXEL_DATA_TAGS | {0x00420011, 0x56000020}
"""Pixel Data, Encapsulated Document, Spectroscopy Data: bulk data even if it is short."""


class StoreRequest:
    """A C-STORE that the peer asks for, as its handler sees it (PS3.4 B.2.2).

    With `StoreMode.BUFFERED` the whole data set is there. With `STREAMING` everything before the pixel data is there,
    and the rest is on its way: read it with `pixels`, write all of it with `save`, or leave it.

    `transfer_syntax_uid` is the negotiated one, or the one that the data set shows if that is another.
    """

    def __init__(self, request: IncomingRequest, data: IncomingData, options: StoreOptions, disk: Disk) -> None:
        message = request.message
        assert isinstance(message, C_STORE_RQ)  # noqa: S101 - the service is registered for no other
        self.association = request.association
        self._exchange = request.exchange
        self.command = message
        self.transfer_syntax_uid = request.context.transfer_syntax
        is_strict = request.exchange.deviations.is_strict
        self._incoming = IncomingDataset(data, self.transfer_syntax_uid, is_strict=is_strict)
        self._options = options
        self._disk = disk
        self._dataset: Dataset | DatasetError | None = None
        """The decoded data set, or why it cannot be decoded."""
        self._read = False
        self._saved: asyncio.Future[None] | None = None
        """Done when `save` has ended, if it has begun."""
        self.path: Path | None = None
        """Where `save` has put it."""
        self.given_by: object = None
        """The results that it belongs to, kept alive by it: they are cancelled when nothing refers to them."""
        self.stored: Stored | None = None
        """What `save` did if the instance was stored already; see `Stored`."""
        self.consumed = False
        """Whether it was saved, or read to its end."""

    def __repr__(self) -> str:
        return f"<StoreRequest {uids.name_of(self.sop_class_uid)} {self.sop_instance_uid}>"

    @property
    def sop_class_uid(self) -> str:
        """Affected SOP Class UID."""
        return self.command.affected_sop_class_uid

    @property
    def sop_instance_uid(self) -> str:
        """Affected SOP Instance UID."""
        return self.command.affected_sop_instance_uid

    @property
    def dataset(self) -> Dataset:
        """The data set, decoded when first asked for; while streaming, what comes before the pixel data.

        With `StoreMode.BUFFERED` a large one is decoded in a thread before the handler is called. While streaming it is
        decoded on the event loop, so more than 100 000 elements or 20 000 items are refused.

        Raises `DatasetError` for a data set that pydicom can't read, or that is over a limit.
        """
        if self._dataset is None:
            self._dataset = self._incoming.decode()
            self.consumed = self.consumed or self._incoming.scanner.bulk is None
        if isinstance(self._dataset, DatasetError):
            raise self._dataset
        return self._dataset

    @property
    def data(self) -> memoryview:
        """The encoded data set as it came, whole: joined when it is asked for. Only with `StoreMode.BUFFERED`."""
        if not self._incoming.is_buffered:
            raise LocalProtocolError("the data set is streaming: use pixels() or save(), or StoreMode.BUFFERED")
        return memoryview(self._incoming.joined())

    async def pixels(self) -> AsyncIterator[bytes]:
        """The value of the pixel data as it comes, in pieces.

        Without pixel data it is the value of other bulk data, if there is any: of Encapsulated Document (0042,0011),
        Spectroscopy Data (5600,0020), or Waveform Data (5400,1010) of each multiplex group. Native pixel data has its
        exact length. Of encapsulated pixel data (PS3.5 A.4) it is the encoded items, up to the end of the data set; see
        `frames`. Raises what ended the association if it ended first, and `DatasetError` if the data set is not whole,
        or has too much before its pixel data.
        """
        bulk = self._incoming.scanner.bulk
        if bulk is None:
            for value in _other_bulk_data(self.dataset):
                yield value
            return
        if self._incoming.is_deflated:
            raise DatasetError("pixels() does not inflate: use dataset with StoreMode.BUFFERED, or save()")
        if bulk.tag not in _BULK_TAGS or (bulk.length is None and bulk.tag not in PIXEL_DATA_TAGS):
            raise DatasetError(f"the pixel data comes after {tag_name(bulk.tag)}, which is too long to hold in memory")
        self._begin_reading()
        async for view in self._incoming.value():
            yield bytes(view)
        self.consumed = True

    async def frames(self) -> AsyncIterator[bytes]:
        """The frames of the pixel data, one by one as they come; none without pixel data.

        Those of encapsulated pixel data are told apart by the Extended or Basic Offset Table; without one a frame is a
        fragment, or all of them if there is one frame. Raises what `pixels` raises, and `DatasetError` at the end where
        the fragments were not as many as the frames.
        """
        bulk = self._incoming.scanner.bulk
        if bulk is None or bulk.tag not in PIXEL_DATA_TAGS:
            return
        splitter = self._incoming.structure.frame_splitter()
        async for piece in self.pixels():
            for frame in splitter.feed(piece):
                yield frame
        splitter.finish()

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a Part 10 file (PS3.10 7) with the data set as it came, while it comes. Returns its path.

        The File Meta Information is made from the command, the negotiated syntax and the AE titles. When this
        returns the file is on the disk (`StoreOptions.fsync`) under its name; before, and if it fails, there
        is nothing under that name.

        If the instance is stored already, `stored` says what happened: the same content changes nothing; for different
        content `StoreOptions.duplicates` decides. Raises `StatusError` if it refuses the instance, `OSError` if the
        file can't be written, `FileExistsError` if another file has the name.
        """
        return await self._save([os.fspath(path)])

    async def _save(self, paths: list[str]) -> Path:
        self._begin_reading()
        agreement = self._exchange.agreement
        header = encode_file_meta(
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            transfer_syntax_uid=self.transfer_syntax_uid,
            source_ae_title=agreement.peer_ae_title,
            sending_ae_title=agreement.peer_ae_title,
            receiving_ae_title=agreement.own_ae_title,
        )
        incoming = self._incoming
        instance = Instance(self.sop_instance_uid, self.transfer_syntax_uid)
        duplicates, fsync = self._options.duplicates, self._options.fsync
        replaces = duplicates is Duplicates.REPLACE
        writer = FileWriter(paths, header, self._disk, instance, fsync=fsync, replaces=replaces)
        saved = self._saved = asyncio.get_running_loop().create_future()
        try:
            views = incoming.beginning()
            while not (is_last := incoming.data.exhausted):
                await incoming.data.use(writer.write(views, is_last=False))
                views = await incoming.pull()
            await incoming.data.use(writer.write(views, is_last=is_last))
            incoming.data.release()  # lets the connection go on, so that an A-ABORT is seen
        except BaseException:
            await writer.discard()
            raise
        finally:
            saved.set_result(None)
        self.path, self.stored = Path(writer.path), writer.stored
        if self.stored is Stored.KEPT and duplicates is Duplicates.REFUSE:
            raise StatusError(Status.DUPLICATE_SOP_INSTANCE, "stored before with different content")
        self.consumed = True
        return self.path

    async def save_under(self, folder: str | os.PathLike[str], template: str = DEFAULT_TEMPLATE) -> Path:
        """`save` under `folder`, with a name made from the data set's UIDs; nothing in them can leave the folder.

        `template` has keywords of data elements in braces. Raises `DatasetError` where the data set can't be
        read as far as its name needs.
        """
        values = {}
        for keyword, tag in template_keywords(template):
            values[keyword] = self.sop_instance_uid if tag == SOP_INSTANCE_UID else self._text(tag)
        path = safe_path(folder, template, values)
        return await self._save([path, other_name(path, self.sop_instance_uid)])

    def _text(self, tag: int) -> str:
        scanner, malformed = self._incoming.scanner, self._incoming.structure.malformed
        found = scanner.text(tag)
        if found is not None:
            return found
        if tag in NAMING_TAGS:
            if malformed is not None and not scanner.passed(tag):
                raise malformed
            return ""
        from dimse.dataset.codec import text_of  # imports pydicom

        return text_of(self.dataset, tag)

    def _begin_reading(self) -> None:
        if self._read and not self._incoming.is_buffered:
            raise LocalProtocolError("a streaming data set can be read once")
        self._incoming.data.check_wanted()
        self._read = True

    # What the service does before and after the handler

    async def left(self) -> None:
        """The handler has ended: wait for a `save` that it left to another task."""
        if not self._read and not self._incoming.is_buffered:
            await asyncio.sleep(0)  # the first turn of a task that was made for it
        if self._saved is not None and not self._saved.done():
            await asyncio.shield(self._saved)

    @property
    def fault(self) -> DatasetError | None:
        """What is missing or malformed, as far as the data set was read."""
        return self._incoming.fault

    def told(self, status: Status) -> Status:
        """The status to answer for the handler's: a warning in place of Success if other content was kept."""
        if status != Status.SUCCESS or self.stored is not Stored.KEPT:
            return status
        logger.warning("C-STORE of %s: stored before with different content; that is kept", self.sop_instance_uid)
        return Status.COERCION_OF_DATA_ELEMENTS.with_comment("stored before with different content; that is kept")

    async def check_whole(self) -> None:
        """Read to the end, and raise `IncompleteDataset` if the data set is not whole (PS3.4 B.2.3)."""
        await self._incoming.read_to_end()
        structure, deviations = self._incoming.structure, self._exchange.deviations
        if structure.malformed is not None:
            what = str(structure.malformed).partition(", byte")[0]
            deviations.tolerated(f"C-STORE: {what}; taken as it came")
        if structure.has_surplus:
            deviations.harmless("C-STORE: zeros or delimiters after the last element")

    async def prepare(self) -> Status | None:
        """Read as far as the handler needs. Returns the status to refuse it with, or None."""
        try:
            await self._prepare()
        except StatusError as error:
            refusal = error.status.with_comment(error.comment)
        except IncompleteDataset as error:
            refusal = Status.CANNOT_UNDERSTAND.with_comment(str(error))
        else:
            return None
        logger.warning("C-STORE refused: %s", refusal.comment)
        return refusal

    async def _prepare(self) -> None:
        incoming = self._incoming
        self._check_uid(self.sop_instance_uid)
        await incoming.read_metadata()
        self._check_same(SOP_CLASS_UID, self.sop_class_uid)
        self._check_same(SOP_INSTANCE_UID, self.sop_instance_uid)
        await self._see_syntax()
        maximum = self._options.maximum_buffered
        if self._options.mode is StoreMode.BUFFERED and not await incoming.read_all(maximum):
            raise StatusError(Status.OUT_OF_RESOURCES, f"the data set has more than {maximum} bytes")
        await self._decode_large()

    async def _decode_large(self) -> None:
        """Decode a large buffered data set in a thread, as `dataset` cannot be awaited."""
        if not self._incoming.is_long_to_decode:
            return
        try:
            self._dataset = await beside_the_loop(self._decode_if_wanted)
        except DatasetError as error:
            self._dataset = error

    def _decode_if_wanted(self) -> Dataset:
        if not self._exchange.is_open:
            raise DatasetError("the association has ended")
        return self._incoming.decode()

    def _check_uid(self, uid: str) -> None:
        """Refuse a UID that cannot be a file name. If lenient, keep other characters than those of PS3.5 9.1."""
        if not uid or len(uid) > _MAX_UID or uid in (".", "..") or not uid.isascii() or not uid.isprintable():
            raise StatusError(Status.INVALID_SOP_INSTANCE, "(0000,1000) is not a UID")
        if "/" in uid or "\\" in uid:
            raise StatusError(Status.INVALID_SOP_INSTANCE, "(0000,1000) is not a UID: it is a path")
        if not uids.has_uid_characters(uid):
            self._tolerate("(0000,1000) has other characters than digits and dots (PS3.5 9.1)", 0x0117)

    def _tolerate(self, what: str, refusal: int) -> None:
        """Refuse it if strict, else warn of it once."""
        if self._exchange.deviations.is_strict:
            raise StatusError(Status(refusal), what)
        self._exchange.deviations.tolerated(f"C-STORE: {what}; taken as it came")

    def _check_same(self, tag: int, expected: str) -> None:
        """The data set has the SOP Class and Instance UID of the command (PS3.4 B.2.3, 0xA900)."""
        scanner, malformed = self._incoming.scanner, self._incoming.structure.malformed
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
        incoming, scanner = self._incoming, self._incoming.scanner
        deviations, name = self._exchange.deviations, uids.name_of(self.transfer_syntax_uid)
        if incoming.has_mislabelled_pixels:
            form = "encapsulated" if scanner.bulk is not None and scanner.bulk.length is None else "native"
            self._tolerate(f"{tag_name(PIXEL_DATA)} is {form}, in {name}", Status.CANNOT_UNDERSTAND)
        shown = await incoming.shown_syntax()
        if shown is None:
            raise StatusError(Status.CANNOT_UNDERSTAND, f"{tag_name(PIXEL_DATA)} is encapsulated, in {name}")
        if scanner.is_mislabelled:
            form = "Implicit VR" if scanner.implicit else "Explicit VR"
            deviations.tolerated(f"C-STORE: a data set in {form}, not in {name}; read as {form}")
        if scanner.mislabelled_items is not None:
            where = tag_name(scanner.mislabelled_items)
            deviations.tolerated(f"C-STORE: items of {where} in the other VR form; read in that form")
        self.transfer_syntax_uid = shown


def _other_bulk_data(dataset: Dataset) -> Iterator[bytes]:
    for keyword in ("EncapsulatedDocument", "SpectroscopyData"):
        if keyword in dataset:
            yield dataset[keyword].value or b""
    for group in dataset.get("WaveformSequence") or ():
        if "WaveformData" in group:
            yield group.WaveformData or b""
