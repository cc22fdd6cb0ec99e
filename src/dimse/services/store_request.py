"""A C-STORE request as its handler sees it (PS3.4 Annex B)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final, overload

from dimse import uids
from dimse.dataset.encoding import PIXEL_DATA_TAGS, SOP_INSTANCE_UID, tag_name
from dimse.dataset.file_names import other_name, safe_name, template_keywords
from dimse.dataset.file_objects import Writable, writer_to
from dimse.dataset.file_writer import Stored
from dimse.errors import DatasetError
from dimse.messages.message import C_STORE_RQ
from dimse.network.association import Association
from dimse.services.incoming_dataset import TURN
from dimse.services.store_reception import Reception

if TYPE_CHECKING:
    from dimse.dataset.edits import Edits
    from dimse.dataset.pydicom_names import Dataset

DEFAULT_TEMPLATE: Final = "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"
"""Where `StoreRequest.save_under` puts an instance."""

_BULK_TAGS: Final = PIXEL_DATA_TAGS | {0x00420011, 0x56000020}
"""Pixel Data, Encapsulated Document, Spectroscopy Data: bulk data even if it is short."""


class StoreRequest:
    """A received C-STORE, as its handler sees it (PS3.4 B.2.2).

    With `StoreMode.BUFFERED` the whole data set has arrived. With `STREAMING` everything before the pixel data has
    arrived: read the rest with `pixels`, pass all of it on with `chunks` or `save`, or leave it unread.
    """

    def __init__(self, reception: Reception) -> None:
        self._reception = reception

    def __repr__(self) -> str:
        return f"<StoreRequest {uids.name_of(self.sop_class_uid)} {self.sop_instance_uid}>"

    @property
    def association(self) -> Association:
        """The association on which it arrived."""
        return self._reception.association

    @property
    def command(self) -> C_STORE_RQ:
        """The C-STORE-RQ."""
        return self._reception.command

    @property
    def sop_class_uid(self) -> str:
        """Affected SOP Class UID."""
        return self.command.affected_sop_class_uid

    @property
    def sop_instance_uid(self) -> str:
        """Affected SOP Instance UID."""
        return self.command.affected_sop_instance_uid

    @property
    def study_instance_uid(self) -> str | None:
        """Study Instance UID of the data set; None if it has none."""
        return self._reception.study_instance_uid

    @property
    def transfer_syntax_uid(self) -> str:
        """The negotiated transfer syntax, or the one that the data set shows if it differs."""
        return self._reception.transfer_syntax_uid

    @property
    def path(self) -> Path | None:
        """The file that `save` wrote; None before."""
        return self._reception.path

    @property
    def stored(self) -> Stored | None:
        """What `save` did if the instance was stored already; see `Stored`."""
        return self._reception.stored

    @property
    def dataset(self) -> Dataset:
        """The data set, decoded on first access; while streaming, the part before the pixel data.

        It can also be read after `save`, so that an index need not read the file again. While streaming, it has at most
        16 MiB, and costs nothing until it is accessed.

        A large one is decoded in a thread before the handler is called: with `StoreMode.BUFFERED`, and while streaming
        from the second one that the handler reads on. The first is decoded on the event loop, so more than 100 000
        elements or 20 000 items are refused while streaming.

        Raises `DatasetError` for a data set that pydicom cannot read, or that is over a limit.
        """
        return self._reception.decoded()

    @property
    def data(self) -> memoryview:
        """The whole encoded data set as received, joined on each access. Only with `StoreMode.BUFFERED`."""
        return self._reception.joined()

    @property
    def header(self) -> bytes:
        """The encoded elements before the pixel data, inflated if the data set is deflated.

        It can also be read after `save`; for programs that decode only some of them.
        """
        return self._reception.incoming.header()

    @property
    def file_meta(self) -> bytes:
        """The preamble and the File Meta Information (PS3.10 7.1) of the file that `save` writes."""
        return self._reception.file_meta(None)

    async def pixels(self) -> AsyncIterator[bytes]:
        """The value of the pixel data as it arrives, in pieces.

        Without pixel data it is the value of other bulk data, if there is any: of Encapsulated Document (0042,0011),
        Spectroscopy Data (5600,0020), or Waveform Data (5400,1010) of each multiplex group. Native pixel data has its
        exact length. Of encapsulated pixel data (PS3.5 A.4) it is the encoded items, up to the end of the data set; see
        `frames`. If the association ends first, its error is raised; `DatasetError` is raised if the data set is
        truncated, or has too much before its pixel data.
        """
        incoming = self._reception.incoming
        bulk = incoming.scanner.bulk
        if bulk is None:
            for value in _other_bulk_data(self.dataset):
                yield value
            return
        if incoming.is_deflated:
            raise DatasetError("pixels() does not inflate: use dataset with StoreMode.BUFFERED, or save()")
        if bulk.tag not in _BULK_TAGS or (bulk.length is None and bulk.tag not in PIXEL_DATA_TAGS):
            raise DatasetError(f"the pixel data comes after {tag_name(bulk.tag)}, which is too long to hold in memory")
        self._reception.begin_reading()
        async for view in incoming.value():
            yield bytes(view)
        self._reception.end_reading()

    async def frames(self) -> AsyncIterator[bytes]:
        """The frames of the pixel data, one by one as they arrive; none without pixel data.

        The Extended or Basic Offset Table separates the frames of encapsulated pixel data. Without a table each
        fragment is a frame, or all of them are if there is one frame. Raises what `pixels` raises, and `DatasetError`
        at the end if the number of fragments is not that of the frames.
        """
        incoming = self._reception.incoming
        bulk = incoming.scanner.bulk
        if bulk is None or bulk.tag not in PIXEL_DATA_TAGS:
            return
        splitter, begun = incoming.structure.frame_splitter(), perf_counter()
        async for piece in self.pixels():
            for frame in splitter.feed(piece):
                yield frame
                if perf_counter() - begun > TURN:
                    await asyncio.sleep(0)
                    begun = perf_counter()
            if perf_counter() - begun > TURN:
                await asyncio.sleep(0)
                begun = perf_counter()
        splitter.finish()

    def chunks(self, *, edits: Edits | None = None) -> AsyncIterator[bytes]:
        """The Part 10 file (PS3.10 7) that `save` would write, chunk by chunk while it arrives.

        It begins with the preamble and the File Meta Information; the data set follows as received. No chunk is empty,
        and the peer sends no faster than they are taken: memory does not depend on the size of the instance.

        Read them to the end. If the data set is truncated, `DatasetError` is raised at the end, and if the association
        ends first, its error, so that a loop that ends without an error has seen all of it. An instance whose chunks
        were not read to the end is refused with 0xA700, even if the handler returns Success.
        """
        return self._reception.chunks(edits, part10=True)

    def dataset_chunks(self, *, edits: Edits | None = None) -> AsyncIterator[bytes]:
        """The data set alone, as received, chunk by chunk; otherwise like `chunks`."""
        return self._reception.chunks(edits, part10=False)

    @overload
    async def save(self, to: str | os.PathLike[str], *, edits: Edits | None = None) -> Path: ...
    @overload
    async def save(self, to: Writable, *, edits: Edits | None = None) -> None: ...
    async def save(self, to: str | os.PathLike[str] | Writable, *, edits: Edits | None = None) -> Path | None:
        """Write a Part 10 file (PS3.10 7) with the data set as received, while it arrives, to a path or a file object.

        The File Meta Information is made from the command, the negotiated syntax and the AE titles. `edits` are made in
        the header on the way: the file has them, while `dataset` is as received. They cannot be made in a deflated data
        set, for which `DatasetError` is raised.

        Of a path, the path is returned. The file is then on the disk (`StoreOptions.fsync`) under its name; before, and
        if it fails, there is nothing under that name. If the instance is stored already, `stored` says what was done:
        the same content changes nothing; for different content `StoreOptions.duplicates` decides. Raises `StatusError`
        if it refuses the instance, `OSError` if the file cannot be written, `FileExistsError` if another file has the
        name.

        A file object has a `write` that takes bytes, plain or asynchronous: `io.BytesIO`, a temporary file, a pipe, an
        `asyncio.StreamWriter`. A plain one is called in a thread. What it raises is raised here. It is neither flushed
        nor closed, and after an error it has the beginning of a file.
        """
        if not isinstance(to, str | os.PathLike):
            await self._reception.copy(writer_to(to), edits)
            return None
        folder, name = os.path.split(os.fspath(to))
        if not name:
            raise ValueError(f"path must be that of a file, not {os.fspath(to)!r}")
        return await self._reception.write(folder or os.curdir, [name], edits)

    async def save_under(
        self, folder: str | os.PathLike[str], template: str = DEFAULT_TEMPLATE, *, edits: Edits | None = None
    ) -> Path:
        """`save` under `folder`, with a name made from the data set's UIDs; nothing in them can leave the folder.

        `template` has keywords of data elements in braces, whose values are those after `edits`. Raises `DatasetError`
        if the data set cannot be read as far as its name needs.
        """
        uid = self._reception.sop_instance_uid_in(edits)
        values = {}
        for keyword, tag in template_keywords(template):
            text = edits.text_of(tag) if edits else None
            values[keyword] = uid if tag == SOP_INSTANCE_UID else self._reception.text_of(tag) if text is None else text
        name = safe_name(template, values)
        return await self._reception.write(os.fspath(folder), [name, other_name(name, uid)], edits)


def _other_bulk_data(dataset: Dataset) -> Iterator[bytes]:
    for keyword in ("EncapsulatedDocument", "SpectroscopyData"):
        if keyword in dataset:
            yield dataset[keyword].value or b""
    for group in dataset.get("WaveformSequence") or ():
        if "WaveformData" in group:
            yield group.WaveformData or b""
