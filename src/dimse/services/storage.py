"""Storage (PS3.4 Annex B): C-STORE, sent and received as a stream."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias

from dimse import dataset as datasets
from dimse import uids
from dimse.ae import Malformed, RetryPolicy, ServerOptions, StoreMode, check_ae_title
from dimse.dataset import (
    DatasetSource,
    Disk,
    ElementScanner,
    FileSource,
    FileWriter,
    StreamSource,
    encode_file_meta,
    in_thread,
    is_dataset,
    safe_path,
    template_keywords,
)
from dimse.dataset.elements import (
    DEFLATED_SYNTAXES,
    NAMING_TAGS,
    PIXEL_DATA_TAGS,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    tag_name,
)
from dimse.errors import DatasetError, LocalProtocolError, PresentationContextError, StatusError
from dimse.messages.primitives import C_STORE_RQ, C_STORE_RSP, Response
from dimse.messages.status import Status, StatusCategory
from dimse.network.association import Association
from dimse.network.incoming import IncomingData
from dimse.network.requests import Answer, IncomingRequest
from dimse.upper_layer.negotiation import AcceptedContext

if TYPE_CHECKING:
    from dimse.dataset import Dataset, EncapsulatedFrames, NativePixels

logger = logging.getLogger("dimse.storage")

Source: TypeAlias = "str | os.PathLike[str] | BinaryIO | Dataset | DatasetSource"
"""What can be sent: a path, a binary stream, a pydicom data set, or a source made beforehand."""

DEFAULT_TEMPLATE: Final = "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"
"""Where `StoreRequest.save_under` puts an instance."""

_REPORT_INTERVAL: Final = 0.1

_SCAN_STEP: Final = 16 * 1024
"""How much is looked at at a time for the end of the metadata; no more than this of the bulk data is copied."""

_OUT_OF_RESOURCES: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
)


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """How far a transfer is. `total_bytes` is None where that shows only at the end."""

    bytes_transferred: int
    total_bytes: int | None
    bytes_per_second: float


ProgressCallback = Callable[[TransferProgress], object]


class ProgressReporter:
    """Calls a progress callback at the first byte and then at most ten times a second.

    It never lets it harm the transfer.
    """

    def __init__(self, callback: ProgressCallback | None, total: int | None) -> None:
        self._callback = callback
        self._total = total
        self._clock = asyncio.get_running_loop().time
        self._start = self._clock()
        self._last = -math.inf
        self._count = 0
        self._told: int | None = None

    def __call__(self, count: int) -> None:
        self._count = count
        if self._callback is not None and self._clock() - self._last >= _REPORT_INTERVAL:
            self._tell(count, self._callback)

    def final(self) -> None:
        """Call it with where the transfer has ended, unless it knows."""
        if self._callback is not None and self._told != self._count:
            self._tell(self._count, self._callback)

    def _tell(self, count: int, callback: ProgressCallback) -> None:
        self._last, self._told = self._clock(), count
        elapsed = self._last - self._start
        try:
            callback(TransferProgress(count, self._total, count / elapsed if elapsed > 0 else 0.0))
        except Exception:
            logger.exception("the progress callback failed; it is not called again")
            self._callback = None


async def as_source(source: Source, pixels: NativePixels | EncapsulatedFrames | None = None) -> DatasetSource:
    """Whatever can be sent, as a `DatasetSource`. Raises `DatasetError` or `OSError`, naming the file."""
    if pixels is not None:
        if not is_dataset(source):
            raise TypeError("a separate pixel source goes with a pydicom Dataset")
        return datasets.PixelSource(source, pixels)
    if isinstance(source, DatasetSource | str | os.PathLike) or is_dataset(source):
        return _as_source(source)
    return await in_thread(lambda: StreamSource(source, name_of_stream(source)))


def _as_source(source: str | os.PathLike[str] | Dataset | DatasetSource) -> DatasetSource:
    if isinstance(source, DatasetSource):
        return source
    if is_dataset(source):
        return datasets.from_dataset(source)
    return FileSource(source)


def name_of_stream(stream: object) -> str:
    """What to call it in messages: its name, if it has one that is not a file descriptor."""
    name = getattr(stream, "name", None)
    return name if isinstance(name, str) else "the stream"


async def fit(
    association: Association, source: DatasetSource, *, allow_decompression: bool = False
) -> tuple[AcceptedContext, DatasetSource]:
    """The accepted context on which `source` goes, and the source in that context's transfer syntax.

    As it is, if the peer accepted that; else between the little endian syntaxes, or decompressed where that
    is allowed. Data are never sent under the name of a syntax they are not in. Raises
    `PresentationContextError`, which names what was offered and accepted.
    """
    syntax = source.transfer_syntax_uid
    if len(source.sop_instance_uid) > 64:
        raise DatasetError(f"{source.name}: the SOP Instance UID has more than 64 characters (PS3.5 9.1)")
    try:
        context = association.context_for(source.sop_class_uid, [syntax])
    except PresentationContextError as error:
        try:
            context = association.context_for(source.sop_class_uid, uids.LITTLE_ENDIAN)
        except PresentationContextError:
            raise error from None
        return context, await _convert(source, context.transfer_syntax, error, allow_decompression)
    if source.length is not None and source.length % 2:
        source = await datasets.even(source)
    return context, source


async def _convert(
    source: DatasetSource, transfer_syntax_uid: str, error: PresentationContextError, allow_decompression: bool
) -> DatasetSource:
    if uids.is_compressed(source.transfer_syntax_uid):
        if not allow_decompression:
            raise PresentationContextError(f"{error}; decompression would make it fit, but was not allowed") from None
        source = await datasets.decompress(source)
    elif source.transfer_syntax_uid == uids.EXPLICIT_VR_BIG_ENDIAN:
        raise error
    if source.transfer_syntax_uid == transfer_syntax_uid:
        return source
    return await datasets.reencode(source, transfer_syntax_uid)


class CStoreSCU:
    """Sends SOP instances over an association (PS3.4 B.2).

    `retry` says what to do when the peer is out of resources (0xA7xx); `allow_decompression` whether compressed
    pixel data may be decompressed for a peer that takes it in no other way.
    """

    def __init__(
        self, association: Association, *, retry: RetryPolicy | None = None, allow_decompression: bool = False
    ) -> None:
        self._association = association
        self._retry = retry or RetryPolicy()
        self._allow_decompression = allow_decompression

    async def send(
        self,
        source: Source,
        progress: ProgressCallback | None = None,
        *,
        pixels: NativePixels | EncapsulatedFrames | None = None,
        move_originator: tuple[str, int] | None = None,
    ) -> C_STORE_RSP:
        """Send one SOP instance and wait until the peer has answered. Returns the response: Success or a warning.

        A file or stream goes out in slices as the socket takes them and is never whole in memory. `pixels`
        are the pixel data of a `Dataset` that has none. `move_originator` is the AE title and the message ID
        of the C-MOVE that this is part of.

        Raises `StatusError` for a failure status, after the retries that make sense; `DatasetError`, `OSError`
        or `PresentationContextError` for what could not be sent; `AssociationError` if the association ended.
        When it fails or is cancelled half way the association is aborted: a C-STORE cannot be taken back.

        >>> async def main(association):
        ...     response = await CStoreSCU(association).send("ct.dcm", progress=print)
        ...     assert response.status == 0x0000
        """
        context, fitted = await self._fit(await as_source(source, pixels))
        report = ProgressReporter(progress, fitted.length)
        response = await self._send(context, fitted, report, move_originator)
        report.final()
        return response

    async def send_source(
        self, source: DatasetSource, sent: Callable[[int], object], move_originator: tuple[str, int] | None = None
    ) -> C_STORE_RSP:
        """`send`; `sent` is told how many bytes of the data set have gone, whenever some have."""
        return await self._send(*await self._fit(source), sent, move_originator)

    async def _fit(self, source: DatasetSource) -> tuple[AcceptedContext, DatasetSource]:
        return await fit(self._association, source, allow_decompression=self._allow_decompression)

    async def _send(
        self,
        context: AcceptedContext,
        source: DatasetSource,
        sent: Callable[[int], object],
        move_originator: tuple[str, int] | None,
    ) -> C_STORE_RSP:
        title, message_id = move_originator or (None, None)
        title = None if title is None else check_ae_title(title)

        def request(number: int) -> C_STORE_RQ:
            return C_STORE_RQ(
                message_id=number,
                affected_sop_class_uid=source.sop_class_uid,
                affected_sop_instance_uid=source.sop_instance_uid,
                move_originator_application_entity_title=title,
                move_originator_message_id=message_id,
            )

        doing = f"C-STORE of {source.name}"
        for attempt in range(1, self._retry.retries + 2):
            response = await self._association.operate(
                context, request, C_STORE_RSP, doing=doing, source=source, progress=sent
            )
            if response.status.is_done:
                return response
            pause = self._retry.pause(attempt) if response.status.is_out_of_resources else None
            if pause is None or not source.repeatable:
                break
            logger.info("%s: %s; attempt %d in %g s", source.name, response.status, attempt + 1, pause)
            await asyncio.sleep(pause)
        error = StatusError(response.status, doing, response.error_comment)
        if response.status.is_out_of_resources and not source.repeatable and self._retry.retries:
            error.add_note("not tried again: its source can be read only once")
        raise error


def presentation_contexts(
    sources: Iterable[str | os.PathLike[str] | Dataset | DatasetSource],
) -> list[tuple[str, tuple[str]]]:
    """The contexts to propose for what is to be sent: one per SOP class and transfer syntax, then the fallbacks.

    Each SOP class is also proposed in the uncompressed little endian syntaxes (PS3.5 10.1), so that what can be
    re-encoded has somewhere to go. Every context has one syntax: the acceptor then cannot choose between them.
    """
    wanted: dict[tuple[str, str], None] = {}
    for given in sources:
        source = _as_source(given)
        wanted[source.sop_class_uid, source.transfer_syntax_uid] = None
    for sop_class in dict.fromkeys(sop_class for sop_class, _ in wanted):
        for syntax in uids.LITTLE_ENDIAN:
            wanted[sop_class, syntax] = None
    return [(sop_class, (syntax,)) for sop_class, syntax in wanted]


# The SCP


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
        self._dataset: Dataset | None = None
        self._read = False
        self._saved: asyncio.Future[None] | None = None
        """Done when `save` has ended, if it has begun."""
        self.path: Path | None = None
        """Where `save` has put it."""
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

        Raises `DatasetError` for one that pydicom can't read.
        """
        if self._dataset is None:
            if self._buffered is not None:
                self._dataset = datasets.decode(self._buffered, self.transfer_syntax_uid)
            else:
                bulk, metadata = self._scanner.bulk, self._scanner.metadata
                end = len(metadata) if bulk is None else bulk.header_offset
                self._dataset = datasets.decode(memoryview(metadata)[:end], _inflated(self.transfer_syntax_uid))
                self.is_taken = self.is_taken or bulk is None
        return self._dataset

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
            await writer.write([memoryview(first), *self._take_views()], is_last=self._data.exhausted)
            while not self._data.exhausted:
                views = await self._data.pull()
                await writer.write(views, is_last=self._data.exhausted)
            await self._data.pull()  # lets the connection go on, so that an A-ABORT is seen
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
        return None

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


StoreHandler = Callable[[StoreRequest], Awaitable[int]]


class StoreService:
    """Answers C-STORE with what a handler says, once the data set is read to its end."""

    def __init__(self, handler: StoreHandler, options: ServerOptions) -> None:
        self._handler = handler
        self._options = options
        self._disk = Disk()

    def supports(self, abstract_syntax: str) -> bool:
        return uids.is_storage(abstract_syntax)

    def sends(self, abstract_syntax: str) -> bool:  # noqa: ARG002 - as `Service` has it
        return False

    async def serve(self, request: IncomingRequest) -> Answer[Response]:
        if request.data is None:
            return request.response(Status.CANNOT_UNDERSTAND)
        store = StoreRequest(request, request.data, self._options, self._disk)
        status = await store.prepare()
        if status is not None:
            return request.response(status)
        try:
            return request.response(await handled(self._handler, store))
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            logger.warning("C-STORE refused: %s", error)
            return request.response(refusal[0], error_comment=refusal[1])


async def handled(handler: StoreHandler, store: StoreRequest) -> int:
    """The status that `handler` gives. Raises what it raises, and for what is no status of C-STORE."""
    try:
        status = await handler(store)
    finally:
        await store.left()
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f"the C-STORE handler returned {type(status).__name__}, not a status")
    if status and Status(status).category in (StatusCategory.PENDING, StatusCategory.CANCEL):
        raise ValueError(f"the C-STORE handler returned {Status(status)}, which C-STORE does not have")
    return status


def refusal_of(error: Exception) -> tuple[int, str] | None:
    """Status and Error Comment for what a handler raised, where that is more than a failure to process."""
    if isinstance(error, DatasetError):
        return Status.CANNOT_UNDERSTAND, "the data set cannot be read"
    if isinstance(error, OSError) and error.errno in _OUT_OF_RESOURCES:
        return Status.OUT_OF_RESOURCES, os.strerror(error.errno or 0)
    return None
