"""The data set of a C-STORE while it arrives: scanned as it is pulled, then kept or passed on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from time import perf_counter
from typing import TYPE_CHECKING, Final

from dimse import uids
from dimse.dataset.codestreams import shown_syntax
from dimse.dataset.completeness import IncompleteDataset, StreamedDataset
from dimse.dataset.encoding import DEFLATED_SYNTAXES, ITEM_TAG, PIXEL_DATA, PIXEL_DATA_TAGS
from dimse.dataset.structure import Limits
from dimse.dataset.threads import in_worker
from dimse.errors import DatasetError, StatusError
from dimse.network.incoming_data import IncomingData
from dimse.services.buffered import Claim
from dimse.status import Status

if TYPE_CHECKING:
    from dimse.dataset.edits import Edits
    from dimse.dataset.pydicom_names import Dataset
    from dimse.dataset.scanner import ElementScanner

STREAMED_LIMITS: Final = Limits(elements=100_000, items=20_000)
"""For decoding what is before the bulk data, by `StoreRequest.dataset` while streaming."""

_LARGE: Final = 32 * 1024
"""Bytes of elements above which a data set is decoded in a thread; the smallest element has 8."""

_PIECE: Final = 1024 * 1024
"""Bytes that are yielded at a time."""

_COPIED: Final = 256 * 1024
"""Bytes that are copied at a time: each association that stores has a copy, besides its receive buffers."""

_STEP: Final = 16 * 1024
"""Bytes that are scanned at a time: 2000 of the smallest elements, which take about 3 ms."""

TURN: Final = 0.005
"""Seconds of scanning after which other tasks run."""

_LOOK: Final = 256 * 1024
"""Bytes of encapsulated pixel data that are searched for its transfer syntax."""


class IncomingDataset:
    """The data set of one C-STORE request, in the order of its bytes. Pulled data is scanned before it is used.

    If something is missing or, if strict, malformed, `IncompleteDataset` is raised and is then the `fault`.
    """

    def __init__(self, data: IncomingData, transfer_syntax_uid: str, *, is_strict: bool) -> None:
        self.structure: Final = StreamedDataset(transfer_syntax_uid)
        self.scanner: Final[ElementScanner] = self.structure.scanner
        self.is_deflated: Final = transfer_syntax_uid in DEFLATED_SYNTAXES
        self.fault: IncompleteDataset | None = None
        self.data: Final = data
        self._is_strict = is_strict
        self._negotiated = transfer_syntax_uid
        self._views: list[memoryview] = []
        """Pulled data that is neither in the scanner nor passed on yet."""
        self._rest: tuple[bytes, bytes] | None = None
        """Of a buffered data set, the bytes after the scanner's `raw`: to the end of the bulk data, and after it."""
        self._claim = Claim()

    @property
    def is_buffered(self) -> bool:
        """Whether the whole data set is in memory."""
        return self._rest is not None

    async def pull(self) -> list[memoryview]:
        """Pull the next views, as `IncomingData.pull` does, and scan them. Returns what the scanner does not keep."""
        if self.fault is not None:
            raise self.fault
        try:
            left = await self._feed(await self.data.pull())
            self._check()
        except IncompleteDataset as error:
            self.fault = error
            raise
        return left

    def _check(self) -> None:
        if self.data.exhausted:
            self.structure.finish()
        if self._is_strict and self.structure.malformed is not None:
            raise IncompleteDataset(str(self.structure.malformed))

    async def _feed(self, views: list[memoryview]) -> list[memoryview]:
        """Scan views. Returns what the scanner does not keep."""
        kept: list[int] = []
        if self.is_deflated:
            # In a thread, as a few bytes may inflate to a thousand times as many.
            await self.data.use(in_worker(lambda: kept.extend(map(self.structure.feed, views))))
        else:
            await self._feed_in_turns(views, kept)
        return [view[count:] for view, count in zip(views, kept, strict=True) if count < len(view)]

    async def _feed_in_turns(self, views: list[memoryview], kept: list[int]) -> None:
        """Scan in steps, between which other tasks run: many small elements, or small views, take long."""
        structure, begun = self.structure, perf_counter()
        for view in views:
            count, position = 0, 0
            while True:
                end = position + max(structure.to_pass, _STEP)
                count += structure.feed(view[position:end])
                if perf_counter() - begun > TURN:
                    await asyncio.sleep(0)
                    begun = perf_counter()
                if end >= len(view):
                    break
                position = end
            kept.append(count)

    async def read_metadata(self) -> None:
        """Read up to the bulk data."""
        while True:
            self._views = await self.pull()
            if self.data.exhausted or self.scanner.bulk is not None or self.structure.malformed is not None:
                break

    async def read_all(self, maximum: int, in_process: int) -> None:
        """Read the whole data set into memory.

        Raises `StatusError` if it has more than `maximum` bytes, or with those that the process has already more than
        `in_process`. Then nothing stays in memory.
        """
        try:
            await self._read_all(maximum, in_process)
        except BaseException:
            self._views = []
            self.free()
            raise

    def free(self) -> None:
        """No longer count the data set among those in memory, as it is answered."""
        self._claim.free()

    async def _read_all(self, maximum: int, in_process: int) -> None:
        rest, bulk, raw = BytesIO(), self.scanner.bulk, self.scanner.raw
        if bulk is not None and not self.is_deflated:
            rest.write(raw[bulk.value_offset :])
            del raw[bulk.value_offset :]
        while True:
            size = len(raw) + rest.tell() + sum(map(len, self._views))
            if size > maximum:
                raise StatusError(Status.OUT_OF_RESOURCES, f"the data set has more than {maximum} bytes")
            if not self._claim.grow(size, in_process):
                raise StatusError(Status.OUT_OF_RESOURCES, "too many data sets are being received; try again later")
            for view in self._views:
                rest.write(view)
            if self.data.exhausted:
                break
            self._views = await self.pull()
        await self.data.pull()  # resumes reading from the connection
        end, self._views, tail = self.structure.value_end, [], b""
        if end is not None and not self.is_deflated:
            rest.seek(end)
            tail = rest.read()
            rest.truncate(end)
        self._rest = rest.getvalue(), tail

    async def read_to_end(self) -> None:
        """Scan the rest."""
        while not self.data.exhausted and not self.data.waiting:
            await self.pull()
        if self.fault is not None:
            raise self.fault

    def beginning(self) -> list[memoryview]:
        """The bytes that have arrived, from the first on; the rest is to be pulled."""
        return [memoryview(self.scanner.raw), *self._behind()]

    async def edited_beginning(self, edits: Edits) -> list[memoryview]:
        """The `beginning` with `edits` in the elements before the bulk data. Raises `DatasetError`."""
        from dimse.dataset.editing import edited_beside_the_loop  # imports pydicom

        if self.is_deflated:
            raise DatasetError("a deflated data set cannot be edited while it is received")
        scanner = self.scanner
        bulk = scanner.bulk
        head = scanner.surplus if bulk is None else bulk.header_offset
        elements = await edited_beside_the_loop(bytes(scanner.metadata[:head]), edits, scanner, self._negotiated)
        rest = [] if bulk is None else [memoryview(scanner.metadata)[head:], *self._behind()]
        return [memoryview(elements), *rest]

    def _behind(self) -> list[memoryview]:
        if self._rest is not None:
            return [memoryview(part) for part in self._rest if part]
        views, self._views = self._views, []
        return views

    async def value(self) -> AsyncIterator[memoryview]:
        """The bulk data as it arrives; if its length is undefined, the rest of the data set follows.

        Each view is valid until the next one is requested.
        """
        bulk = self.scanner.bulk
        assert bulk is not None  # noqa: S101 - the caller has checked
        left = bulk.length
        async for views in self._arriving([memoryview(self.scanner.metadata)[bulk.value_offset :], *self._behind()]):
            for view in views:
                end = len(view) if left is None else min(left, len(view))
                for start in range(0, end, _PIECE):
                    self.data.check_wanted()
                    yield view[start : min(start + _PIECE, end)]
                if left is not None:
                    left -= end

    async def everything(self, beginning: list[memoryview]) -> AsyncIterator[bytes]:
        """`beginning`, then what arrives: in pieces of at most `_COPIED` bytes, none of them empty."""
        async for views in self._arriving(beginning):
            for piece in _pieces(views):
                self.data.check_wanted()
                yield piece

    async def _arriving(self, views: list[memoryview]) -> AsyncIterator[list[memoryview]]:
        """`views`, then those that arrive, valid until the next ones are requested."""
        while True:
            yield views
            views.clear()  # which would keep their receive buffer, while others are filled
            if self.data.exhausted:
                break
            views = await self.pull()
        await self.data.pull()  # resumes reading from the connection, so that an A-ABORT is seen

    # Its transfer syntax

    @property
    def has_mislabeled_pixels(self) -> bool:
        """Whether Pixel Data is native but must be encapsulated, or the reverse (PS3.5 A.1 to A.4)."""
        bulk = self.scanner.bulk
        if bulk is None or bulk.tag != PIXEL_DATA or bulk.length == 0:
            return False
        if bulk.length is None:
            return not uids.is_compressed(self._negotiated)
        return uids.is_always_encapsulated(self._negotiated)

    async def shown_syntax(self) -> str | None:
        """The transfer syntax that the data set shows, usually the negotiated one; None if unknown.

        The first header shows the VR form, the header of Pixel Data whether it is encapsulated.
        """
        implicit, bulk, negotiated = self.scanner.implicit, self.scanner.bulk, self._negotiated
        native = uids.IMPLICIT_VR_LITTLE_ENDIAN if implicit else uids.EXPLICIT_VR_LITTLE_ENDIAN
        if bulk is not None and self.has_mislabeled_pixels:
            if bulk.length is None:
                return None if negotiated not in uids.LITTLE_ENDIAN else await self._syntax_of_fragments()
            has_items = self.scanner.metadata.startswith(ITEM_TAG, bulk.value_offset)
            return negotiated if has_items else native
        return native if negotiated in uids.LITTLE_ENDIAN else negotiated

    async def _syntax_of_fragments(self) -> str | None:
        bulk, metadata = self.scanner.bulk, self.scanner.metadata
        assert bulk is not None  # noqa: S101 - the caller has checked
        while True:
            for view in self._behind():
                metadata += view
            value = bytes(metadata[bulk.value_offset :])
            syntax = shown_syntax(value)
            if syntax is not None or len(value) >= _LOOK or self.data.exhausted:
                return syntax
            self._views = await self.pull()

    # Decoding

    def joined(self) -> bytes:
        """All received bytes, joined."""
        return b"".join(self.beginning())

    @property
    def is_long_to_decode(self) -> bool:
        """Whether what `decode` decodes may have many elements."""
        if self._rest is None:
            return len(self.scanner.metadata) > _LARGE
        value, tail = self._rest
        if not self._is_assembled:
            return len(self.scanner.raw) + len(value) + len(tail) > _LARGE
        return len(self.scanner.raw) > _LARGE or len(tail) > _LARGE

    @property
    def _is_assembled(self) -> bool:
        """Whether the rest is decoded first, and the bulk data inserted afterwards."""
        bulk = self.scanner.bulk
        return bulk is not None and not self.is_deflated and (bulk.length is not None or bulk.tag in PIXEL_DATA_TAGS)

    def header(self) -> bytes:
        """The elements before the bulk data, inflated."""
        return bytes(self._head())

    def _head(self) -> memoryview:
        scanner, bulk = self.scanner, self.scanner.bulk
        return memoryview(scanner.metadata)[: scanner.surplus if bulk is None else bulk.header_offset]

    def decode(self) -> Dataset:
        """Decode the whole data set if it is buffered, else the part before the bulk data. Raises `DatasetError`."""
        from dimse.dataset.assembling import assemble  # imports pydicom
        from dimse.dataset.codec import decode

        bulk = self.scanner.bulk
        encoding = uids.IMPLICIT_VR_LITTLE_ENDIAN if self.scanner.implicit else uids.EXPLICIT_VR_LITTLE_ENDIAN
        if self._negotiated == uids.EXPLICIT_VR_BIG_ENDIAN:
            encoding = uids.EXPLICIT_VR_BIG_ENDIAN
        head = self._head()
        if self._rest is None:
            return decode(head, encoding, limits=STREAMED_LIMITS)
        if bulk is None or not self._is_assembled:
            return decode(self.joined(), self._negotiated if self.is_deflated else encoding)
        value, tail = self._rest
        return assemble(head, bulk, value, tail[8:] if bulk.length is None else tail, encoding)


def _pieces(views: list[memoryview]) -> Iterator[bytes]:
    """Copies of the views, as few and as large as may be."""
    joined, size = list[memoryview](), 0
    for view in views:
        for start in range(0, len(view), _COPIED):
            part = view[start : start + _COPIED]
            if size + len(part) > _COPIED:
                yield b"".join(joined)
                joined, size = [], 0
            joined.append(part)
            size += len(part)
    if joined:
        yield b"".join(joined)
