"""Objects of which the caller knows what they are and where: nothing is read before they are sent."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable, iscoroutinefunction
from io import BufferedReader, FileIO, RawIOBase
from stat import S_ISREG
from struct import pack
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias, cast

from dimse.dataset.encoding import SOP_CLASS_UID, SOP_INSTANCE_UID, tag_name
from dimse.dataset.scanner import ElementScanner
from dimse.dataset.sources import DatasetSource, PiecesReader, Reader, StreamReader, check_complete, named
from dimse.dataset.streams import AsyncReadable, pieces_of
from dimse.errors import DatasetError

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from dimse.dataset.encoding import Buffer

_LOOKED_AT: Final = 4096
"""Bytes at the beginning of a data set in which its UIDs must be."""

_Arriving: TypeAlias = "AsyncReadable | AsyncIterable[bytes]"


@dataclass(frozen=True, slots=True)
class Located:
    """An object of an archive whose index knows it: retrieval handlers yield it, and `dimse.send` takes it.

    Nothing is read to find out what it is: `open` is called when it is sent, and again if sending is retried. It
    returns a binary stream, which is closed afterwards, or an asynchronous stream or iterator of bytes, or a coroutine
    that returns such a one. The stream begins at the first byte of the encoded data set, behind the File Meta
    Information; `length` is the number of bytes of the data set.

    What is sent is checked on the way. An object that is shorter or longer, or has other UIDs, raises `DatasetError`:
    in a C-GET or C-MOVE, a failed sub-operation. That is found before the first byte is sent if the object is a file
    or has at most 64 KiB; otherwise the association is aborted, as a C-STORE cannot be taken back.

    >>> def at(path, offset):
    ...     file = open(path, "rb")
    ...     file.seek(offset)
    ...     return file
    >>> ct = Located("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2.840.10008.1.2.1", 38_012, lambda: at("ct.dcm", 382))
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    length: int
    open: Callable[
        [], BinaryIO | AsyncReadable | AsyncIterable[bytes] | Awaitable[AsyncReadable | AsyncIterable[bytes]]
    ]


class LocatedSource(DatasetSource):
    """A `Located` object as a source."""

    repeatable = True

    def __init__(self, located: Located) -> None:
        self.sop_class_uid = located.sop_class_uid
        self.sop_instance_uid = located.sop_instance_uid
        self.transfer_syntax_uid = located.transfer_syntax_uid
        self.length: int = located.length
        self.name = located.sop_instance_uid
        self._open = located.open

    def open(self) -> Reader:
        """Begin a pass. Raises what `Located.open` raises, and `DatasetError` for a file that is too short."""
        opened = self._open()
        if _is_local(opened):
            return _Checked(_LocalReader(opened, self), self)
        if isawaitable(opened) or isinstance(opened, AsyncIterable) or iscoroutinefunction(opened.read):
            return _Checked(PiecesReader(_pieces(cast("_Arriving | Awaitable[_Arriving]", opened))), self)
        stream = cast("BinaryIO", opened)
        reader = StreamReader(stream, b"", self.length, self.name, self.transfer_syntax_uid, stream.close)
        return _Checked(reader, self)


def _is_local(stream: object) -> TypeIs[FileIO | BufferedReader]:
    """Whether it is a regular file: not a pipe, nor a stream that decompresses one."""
    raw = stream.raw if isinstance(stream, BufferedReader) else stream
    return isinstance(raw, FileIO) and S_ISREG(os.fstat(raw.fileno()).st_mode)


class _LocalReader(Reader):
    """Reads a local file synchronously, as its pages are usually in memory."""

    may_wait = False

    def __init__(self, file: FileIO | BufferedReader, source: LocatedSource) -> None:
        self._file, self._source, self._start = file, source, file.tell()
        missing = self._start + source.length - os.fstat(file.fileno()).st_size
        if missing > 0:
            file.close()
            raise DatasetError(f"{source.name}: truncated: {missing} bytes missing")

    async def read_into(self, buffer: memoryview) -> int:
        is_first = self._file.tell() == self._start
        buffer, filled = buffer[: self._start + self._source.length - self._file.tell()], 0
        while filled < len(buffer) and (count := self._file.readinto(buffer[filled:])):
            filled += count
        if is_first:
            check_complete(self._source, buffer[:filled], cast("RawIOBase", self._file), self._start)
        return filled

    async def skip(self, length: int) -> int:
        count = min(length, self._start + self._source.length - self._file.tell())
        self._file.seek(count, os.SEEK_CUR)
        return count

    def close(self) -> None:
        self._file.close()


class _Checked(Reader):
    """Compares the UIDs at the beginning of a data set with those of its source."""

    def __init__(self, reader: Reader, source: LocatedSource) -> None:
        self.may_wait, self.stops_at_once = reader.may_wait, reader.stops_at_once
        self._reader = reader
        self._source: LocatedSource | None = source
        """None once the beginning has been read."""

    async def read_into(self, buffer: memoryview) -> int:
        count = await self._reader.read_into(buffer)
        source, self._source = self._source, None
        if source is not None:
            with named(source.name):
                _check_uids(buffer[:count], source)
        return count

    async def skip(self, length: int) -> int:
        return await (self._reader.skip(length) if self._source is None else super().skip(length))

    def close(self) -> None:
        self._reader.close()


def _check_uids(beginning: memoryview, source: LocatedSource) -> None:
    """Raise `DatasetError` for a data set with other UIDs. What cannot be read is left to the receiver."""
    start = bytes(beginning[:_LOOKED_AT])
    expected = {SOP_CLASS_UID: source.sop_class_uid, SOP_INSTANCE_UID: source.sop_instance_uid}
    if all(_is_plainly_in(start, tag, uid) for tag, uid in expected.items()):
        return
    scanner = ElementScanner(source.transfer_syntax_uid, wanted=expected)
    try:
        scanner.feed(start)
    except DatasetError:
        return
    for tag, uid in expected.items():
        found = scanner.text(tag)
        if found != uid and (found is not None or scanner.passed(tag)):
            raise DatasetError(f"{tag_name(tag)} of the data set is not that of the located object")


def _is_plainly_in(start: bytes, tag: int, uid: str) -> bool:
    """Whether the element is in a data set in Little Endian: a quick look, before the data set is scanned."""
    value = uid.encode("ascii", "replace")
    value += b"\0" * (len(value) % 2)
    header = pack("<HH", tag >> 16, tag & 0xFFFF)
    return header + pack("<2sH", b"UI", len(value)) + value in start or header + pack("<I", len(value)) + value in start


async def _pieces(opened: _Arriving | Awaitable[_Arriving]) -> AsyncIterator[Buffer]:
    stream = await opened if isawaitable(opened) else opened
    async for piece in pieces_of(stream):
        yield piece
