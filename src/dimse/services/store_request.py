"""A C-STORE that the peer asks for, received as a stream (PS3.4 Annex B)."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dimse import dataset as datasets
from dimse import uids
from dimse.ae import Malformed, ServerOptions, StoreMode
from dimse.dataset import Disk, ElementScanner, FileWriter, encode_file_meta, safe_path, template_keywords
from dimse.dataset.elements import (
    DEFLATED_SYNTAXES,
    NAMING_TAGS,
    PIXEL_DATA_TAGS,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    tag_name,
)
from dimse.dataset.structure import Limits, check_structure
from dimse.dataset.threads import beside_the_loop
from dimse.errors import DatasetError, LocalProtocolError
from dimse.messages.primitives import C_STORE_RQ
from dimse.messages.status import Status
from dimse.network.incoming import IncomingData
from dimse.network.requests import IncomingRequest

if TYPE_CHECKING:
    from dimse.dataset import Dataset

logger = logging.getLogger("dimse.storage")

DEFAULT_TEMPLATE: Final = "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"
"""Where `StoreRequest.save_under` puts an instance."""

_SCAN_STEP: Final = 16 * 1024
"""How much is looked at at a time for the end of the metadata; no more than this of the bulk data is copied."""

STREAMED_LIMITS: Final = Limits(elements=100_000, items=20_000)
"""Of what is decoded on the event loop, as `StoreRequest.dataset` while streaming: it takes half a second at most."""

_LARGE: Final = 32 * 1024
"""Metadata that is decoded beside the event loop where it is buffered: the smallest elements take 8 bytes each."""

_FEW: Final = Limits(elements=1000, items=1000)
"""What may come from the pixel data on, its fragments too, in a data set that is not large."""


class StoreRequest:
    """A C-STORE that the peer asks for, as its handler sees it (PS3.4 B.2.2).

    With `StoreMode.BUFFERED` the whole data set is there. With `STREAMING` what comes before the pixel data is
    there, and the rest is on its way: read it with `pixels`, write all of it with `save`, or leave it.
    """

    def __init__(self, request: IncomingRequest, data: IncomingData, options: ServerOptions, disk: Disk) -> None:
        message = request.message
        assert isinstance(message, C_STORE_RQ)  # noqa: S101 - the service is registered for no other
        self.association = request.association
        self.command = message
        self.transfer_syntax_uid = request.context.transfer_syntax
        self._data = data
        self._options = options
        self._disk = disk
        self._scanner = ElementScanner(self.transfer_syntax_uid)
        self._scan_error: DatasetError | None = None
        self._views: list[memoryview] = []
        """What was pulled and is neither in the scanner nor read by the handler."""
        self._buffered: bytearray | None = None
        self._dataset: Dataset | DatasetError | None = None
        """When it is decoded, or why it cannot be."""
        self._read = False
        self._saved: asyncio.Future[None] | None = None
        """Done when `save` has ended, if it has begun."""
        self.path: Path | None = None
        """Where `save` has put it."""
        self.given_by: object = None
        """The results that it is one of: they end when nobody has them any more, nor this."""
        self.is_taken = False
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

        With `StoreMode.BUFFERED` a large one is decoded beside the event loop before the handler is called. While
        streaming there is no time for that, so one of more than 100 000 elements or 20 000 items is not decoded.

        Raises `DatasetError` for one that pydicom can't read, or with more elements than there may be.
        """
        if self._dataset is None:
            if self._buffered is not None:
                self._dataset = datasets.decode(self._buffered, self.transfer_syntax_uid)
            else:
                syntax = _inflated(self.transfer_syntax_uid)
                self._dataset = datasets.decode(self._metadata, syntax, limits=STREAMED_LIMITS)
                self.is_taken = self.is_taken or self._scanner.bulk is None
        if isinstance(self._dataset, DatasetError):
            raise self._dataset
        return self._dataset

    @property
    def _metadata(self) -> memoryview:
        """What comes before the pixel data, inflated."""
        bulk = self._scanner.bulk
        return memoryview(self._scanner.metadata)[: None if bulk is None else bulk.header_offset]

    @property
    def data(self) -> memoryview:
        """The encoded data set as it came, whole. Only with `StoreMode.BUFFERED`."""
        if self._buffered is None:
            raise LocalProtocolError("the data set is streaming: use pixels() or save(), or StoreMode.BUFFERED")
        return memoryview(self._buffered)

    async def pixels(self) -> AsyncIterator[bytes]:
        """The value of the pixel data as it comes, in pieces; nothing where there is none.

        Native pixel data has its exact length. Of encapsulated pixel data (PS3.5 A.4) it is the items, as
        they are encoded, up to the end of the data set. Raises what ended the association if it ended first,
        and `DatasetError` where native pixel data ends too early or so much stands before it that it was not found.
        """
        bulk = self._scanner.bulk
        if _inflated(self.transfer_syntax_uid) != self.transfer_syntax_uid:
            raise DatasetError("pixels() does not inflate: use dataset with StoreMode.BUFFERED, or save()")
        if bulk is None:
            return
        if bulk.tag not in PIXEL_DATA_TAGS:
            raise DatasetError(f"the pixel data is behind {tag_name(bulk.tag)}, which is too long to be held in memory")
        self._begin_reading()
        left = bulk.length
        beginning = self._scanner.metadata if self._buffered is None else self._buffered
        views = [memoryview(beginning)[bulk.value_offset :], *self._take_views()]
        while True:
            for view in views:
                self._data.check_wanted()
                piece = bytes(view if left is None else view[:left])
                if piece:
                    yield piece
                if left is not None:
                    left -= len(piece)
            if self._data.exhausted:
                break
            views = await self._data.pull()
        await self._data.pull()  # lets the connection go on, so that an A-ABORT is seen
        if left:
            raise DatasetError(f"the pixel data ends {left} bytes too early")
        self.is_taken = True

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a Part 10 file (PS3.10 7) with the data set as it came, while it comes. Returns its path.

        The File Meta Information is made from the command, the negotiated syntax and the AE titles. When this
        returns the file is on the disk (`ServerOptions.fsync`) under its name; before, and if it fails, there
        is nothing under that name. Raises `OSError` where it can't be written.
        """
        self._begin_reading()
        header = encode_file_meta(
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            transfer_syntax_uid=self.transfer_syntax_uid,
            source_ae_title=self.association.peer_ae_title,
            sending_ae_title=self.association.peer_ae_title,
            receiving_ae_title=self.association.own_ae_title,
        )
        first = self._scanner.raw if self._buffered is None else self._buffered
        writer = FileWriter(path, header, self._disk, fsync=self._options.fsync)
        saved = self._saved = asyncio.get_running_loop().create_future()
        try:
            views = [memoryview(first), *self._take_views()]
            while not (is_last := self._data.exhausted):
                await self._data.use(writer.write(views, is_last=False))
                views = await self._data.pull()
            await self._data.use(writer.write(views, is_last=is_last))
            self._data.release()  # lets the connection go on, so that an A-ABORT is seen
        except BaseException:
            await writer.discard()
            raise
        finally:
            saved.set_result(None)
        self.path, self.is_taken = Path(path), True
        return self.path

    async def save_under(self, folder: str | os.PathLike[str], template: str = DEFAULT_TEMPLATE) -> Path:
        """`save` under `folder`, with a name made from the data set's UIDs; nothing in them can leave the folder.

        `template` has keywords of data elements in braces. Raises `DatasetError` where the data set can't be
        read as far as its name needs.
        """
        values = {}
        for keyword, tag in template_keywords(template):
            values[keyword] = self.sop_instance_uid if tag == SOP_INSTANCE_UID else self._text(tag)
        return await self.save(safe_path(folder, template, values))

    def _text(self, tag: int) -> str:
        found = self._scanner.text(tag)
        if found is not None:
            return found
        if tag in NAMING_TAGS:
            if self._scan_error is not None and not self._scanner.passed(tag):
                raise self._scan_error
            return ""
        return datasets.text_of(self.dataset, tag)

    # What the service does before and after the handler

    async def left(self) -> None:
        """The handler has ended: wait for a `save` that it left to another task, which writes what is received here."""
        if not self._read and self._buffered is None:
            await asyncio.sleep(0)  # the first turn of a task that was made for it
        if self._saved is not None and not self._saved.done():
            await asyncio.shield(self._saved)

    async def prepare(self) -> int | None:
        """Read as far as the handler needs. Returns the status to refuse it with, or None."""
        refusal = await (self._stream() if self._options.store_mode is StoreMode.STREAMING else self._buffer())
        if refusal is not None:
            return refusal
        if self._scan_error is not None and self._options.malformed is Malformed.STRICT:
            logger.warning("C-STORE refused: %s", self._scan_error)
            return Status.CANNOT_UNDERSTAND
        for tag, expected in ((SOP_CLASS_UID, self.sop_class_uid), (SOP_INSTANCE_UID, self.sop_instance_uid)):
            found = self._scanner.text(tag)
            if found is not None and found != expected:
                logger.warning("C-STORE refused: the command and the data set differ in (%04X,%04X)", 8, tag & 0xFFFF)
                return Status.DATASET_DOES_NOT_MATCH
        await self._decode_large()
        return None

    async def _decode_large(self) -> None:
        """Decode a large buffered data set beside the event loop, as `dataset` cannot be awaited."""
        if self._buffered is None or not self._is_large(self._buffered):
            return
        try:
            self._dataset = await beside_the_loop(self._decode_if_wanted)
        except DatasetError as error:
            self._dataset = error

    def _decode_if_wanted(self) -> Dataset:
        if not self.association.is_open:
            raise DatasetError("the association has ended")
        return datasets.decode(self._buffered or b"", self.transfer_syntax_uid)

    def _is_large(self, buffered: bytearray) -> bool:
        """Whether there may be many elements, before the pixel data or behind it."""
        bulk = self._scanner.bulk
        if bulk is None or len(self._metadata) > _LARGE or self.transfer_syntax_uid in DEFLATED_SYNTAXES:
            return len(buffered) > _LARGE
        try:
            check_structure(memoryview(buffered)[bulk.header_offset :], self.transfer_syntax_uid, _FEW)
        except DatasetError:
            return True
        return False

    async def _stream(self) -> None:
        while views := await self._data.pull():
            for index, view in enumerate(views):
                for start in range(0, len(view), _SCAN_STEP):
                    end = start + _SCAN_STEP
                    if not self._scan(view[start:end]):
                        self._views = [view[end:], *views[index + 1 :]]
                        return
        self._finish_scan()

    async def _buffer(self) -> int | None:
        buffered = bytearray()
        while views := await self._data.pull():
            if len(buffered) + sum(map(len, views)) > self._options.maximum_buffered:
                logger.warning("C-STORE refused: the data set is over %d bytes", self._options.maximum_buffered)
                return Status.OUT_OF_RESOURCES
            for view in views:
                buffered += view
        self._buffered = buffered
        whole = memoryview(buffered)
        for start in range(0, len(whole), _SCAN_STEP):
            if not self._scan(whole[start : start + _SCAN_STEP]):
                return None
        self._finish_scan()
        return None

    def _scan(self, view: memoryview) -> bool:
        """Whether there is more metadata to come."""
        try:
            self._scanner.feed(view)
        except DatasetError as error:
            self._scan_error = error
            return False
        return self._scanner.bulk is None

    def _finish_scan(self) -> None:
        try:
            self._scanner.finish()
        except DatasetError as error:
            self._scan_error = error

    def _begin_reading(self) -> None:
        if self._read and self._buffered is None:
            raise LocalProtocolError("a streaming data set can be read once")
        self._data.check_wanted()
        self._read = True

    def _take_views(self) -> list[memoryview]:
        views, self._views = self._views, []
        return views


def _inflated(transfer_syntax_uid: str) -> str:
    """The syntax of what a scanner gives back."""
    return uids.EXPLICIT_VR_LITTLE_ENDIAN if transfer_syntax_uid in DEFLATED_SYNTAXES else transfer_syntax_uid
