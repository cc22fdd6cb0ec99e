"""Sources of data sets, read while they are sent (PS3.7 9.1.1), without group 0002."""

from __future__ import annotations

import logging
import os
import sys
import threading
from abc import ABC, abstractmethod
from contextlib import contextmanager
from io import FileIO, RawIOBase
from typing import IO, TYPE_CHECKING, BinaryIO, Final, Protocol, TypeVar

from dimse.dataset.encoding import (
    PLAIN_SIZE,
    SEQUENCE_END_HEADER,
    UNDEFINED_LENGTH,
    Buffer,
    Encoding,
    fragment_length,
    item_header,
)
from dimse.dataset.part10 import FileMeta, Readable, read_file_meta
from dimse.dataset.scanner import check_not_cut_short
from dimse.dataset.threads import in_thread
from dimse.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
    from os import PathLike

    from pydicom import Dataset
    from typing_extensions import TypeIs

logger = logging.getLogger("dimse.storage")

T = TypeVar("T")

_MAX_FOLLOWED: Final = 10_000
"""Fragments of a file that are followed to its end; a file with more of them is checked by its receiver only."""

_SKIPPED_AT_ONCE: Final = 64 * 1024
"""Bytes that are read at a time where a stream cannot seek."""

_LEFT_BEHIND: Final = 10.0
"""Seconds that a pass waits for a read left behind by a cancelled one, as both use the same stream."""


class Reader(ABC):
    """One pass over an encoded data set."""

    may_wait = True
    """Whether `read_into` may suspend, for an unbounded time."""
    stops_at_once = False
    """Whether a cancelled `read_into` leaves nothing running, such as a thread, that could disturb the next pass."""

    @abstractmethod
    async def read_into(self, buffer: memoryview) -> int:
        """Fill `buffer`. Returns the number of bytes, fewer than its size only at the end, so that PDVs are full.

        Raises `DatasetError` if the data do not match the source's announced length.
        """

    async def skip(self, length: int) -> int:
        """Leave out the next bytes. Returns how many there were: fewer than `length` at the end only."""
        buffer, left = memoryview(bytearray(min(length, _SKIPPED_AT_ONCE))), length
        while left and (count := await self.read_into(buffer[:left])):
            left -= count
        return length - left

    @abstractmethod
    def close(self) -> None:
        """Release resources. May be called twice."""


class DatasetSource(ABC):
    """A data set to send: its UIDs, and a way to read it."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    length: int | None
    """Bytes of the encoded data set, None if unknown until its end."""
    repeatable: bool
    """Whether it can be opened more than once, so that sending can be retried."""
    name: str
    """Its name in messages: a path or a UID."""
    is_mislabeled = False
    """Whether it is in Implicit VR although its transfer syntax has Explicit VR. `mend` corrects it."""

    def identity(self) -> tuple[str, int, int] | None:
        """What a journal knows it by: path, size in bytes, and the time of the last change in ns, or a checksum.

        None for a source that is not a file.
        """
        return None

    @abstractmethod
    def open(self) -> Reader:
        """Begin a pass."""


class Part10Source(DatasetSource):
    """A DICOM file (PS3.10), on disk, in memory or in a stream."""

    def _read_file_meta(self, file: Readable) -> FileMeta:
        with named(self.name):
            meta = read_file_meta(file)
        if meta.warning is not None:
            logger.warning("%s: %s", self.name, meta.warning)
        self.is_mislabeled = meta.is_mislabeled
        self.sop_class_uid = meta.sop_class_uid
        self.sop_instance_uid = meta.sop_instance_uid
        self.transfer_syntax_uid = meta.transfer_syntax_uid
        return meta


class FileSource(Part10Source):
    """A DICOM file on disk. The constructor reads its File Meta Information; its data set is read while it is sent."""

    repeatable = True

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.name = self.path
        with FileIO(self.path) as file:
            meta = self._read_file_meta(file)
            self._identity = _identity(file.fileno())
        self.length: int = self._identity[1] - meta.length
        self.offset = meta.length
        """Where the data set begins."""

    def identity(self) -> tuple[str, int, int]:
        """What a journal knows it by."""
        path = os.path.abspath(self.path)  # noqa: PTH100 - a Path would take longer than writing the line
        return path, *self._identity[1:]

    def open(self) -> Reader:
        """Begin a pass. Raises `DatasetError` if the file has changed since its File Meta Information was read."""
        file = FileIO(self.path)
        if _identity(file.fileno()) != self._identity:
            file.close()
            raise DatasetError(f"{self.name}: the file has changed since its File Meta Information was read")
        file.seek(self.offset)
        return _FileReader(file, self)


class StreamSource(Part10Source):
    """A DICOM file in a binary stream, from its position on. It is read in a thread; the caller closes the stream.

    The constructor reads the File Meta Information. The source is repeatable if the stream can seek.
    """

    def __init__(self, stream: BinaryIO, name: str = "a stream") -> None:
        self.name = name
        self._stream = stream
        self.repeatable = hasattr(stream, "seekable") and stream.seekable()
        start = stream.tell() if self.repeatable else 0
        meta = self._read_file_meta(stream)
        self.length = None
        self._offset = start + meta.length
        self._peeked: bytes | None = meta.peeked
        """The beginning of the data set; None once the only pass over a stream that cannot seek has it."""
        self._lock = threading.Lock()
        if self.repeatable:
            self.length = stream.seek(0, os.SEEK_END) - self._offset

    def open(self) -> Reader:
        """Begin a pass. Only one pass at a time is possible, as all share the stream."""
        if self.repeatable:
            reader = StreamReader(self._stream, b"", self.length, self.name, self.transfer_syntax_uid)
            reader.share(self._lock, self._offset)
            return reader
        peeked, self._peeked = self._peeked, None
        if peeked is None:
            raise DatasetError(f"{self.name}: can be read only once")
        return StreamReader(self._stream, peeked, None, self.name, self.transfer_syntax_uid)


class PiecesSource(DatasetSource):
    """A data set that is produced in pieces, while it is sent."""

    def __init__(
        self,
        pieces: Callable[[], AsyncIterator[Buffer]],
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        length: int | None,
        repeatable: bool,
        name: str,
    ) -> None:
        self.sop_class_uid = sop_class_uid
        self.sop_instance_uid = sop_instance_uid
        self.transfer_syntax_uid = transfer_syntax_uid
        self.length = length
        self.repeatable = repeatable
        self.name = name
        self._pieces: Callable[[], AsyncIterator[Buffer]] | None = pieces
        """None once the only pass over a source that is not repeatable has begun."""

    def open(self) -> Reader:
        """Begin a pass."""
        pieces = self._pieces
        if pieces is None:
            raise DatasetError(f"{self.name}: can be read only once")
        if not self.repeatable:
            self._pieces = None
        return PiecesReader(pieces())


class MemorySource(PiecesSource):
    """An encoded data set in memory, as one or more buffers."""

    def __init__(
        self,
        buffers: Sequence[Buffer],
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        name: str | None = None,
    ) -> None:
        super().__init__(
            lambda: in_order(buffers),
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            length=sum(memoryview(buffer).nbytes for buffer in buffers),
            repeatable=True,
            name=name or sop_instance_uid,
        )


class PiecesReader(Reader):
    """Reads the buffers of an iterator. `close` also calls `on_close`."""

    stops_at_once = True

    def __init__(self, pieces: AsyncIterator[Buffer], on_close: Callable[[], None] | None = None) -> None:
        self._pieces: AsyncIterator[Buffer] | None = pieces
        self._piece = memoryview(b"")
        self._on_close = on_close

    async def read_into(self, buffer: memoryview) -> int:
        filled, wanted = 0, len(buffer)
        while filled < wanted and self._pieces is not None:
            if not self._piece:
                try:
                    self._piece = memoryview(await anext(self._pieces)).cast("B")
                except StopAsyncIteration:
                    self._pieces = None
                continue
            part = self._piece[: wanted - filled]
            buffer[filled : filled + len(part)] = part
            filled += len(part)
            self._piece = self._piece[len(part) :]
        return filled

    def close(self) -> None:
        self._pieces = None
        self._piece = memoryview(b"")
        if self._on_close is not None:
            self._on_close()


class _FileReader(Reader):
    """Reads a local file synchronously: one system call, usually answered from the page cache."""

    may_wait = False

    def __init__(self, file: FileIO, source: FileSource) -> None:
        self._file = file
        self._source = source
        self._remaining = source.length

    async def read_into(self, buffer: memoryview) -> int:
        is_first = self._remaining == self._source.length
        wanted = min(len(buffer), self._remaining)
        filled = 0
        while filled < wanted:
            count = self._file.readinto(buffer[filled:wanted])
            if not count:
                raise DatasetError(f"{self._source.name}: truncated: {self._remaining - filled} bytes missing")
            filled += count
        self._remaining -= filled
        if is_first:
            check_complete(self._source, buffer[:filled], self._file, self._source.offset)
        return filled

    async def skip(self, length: int) -> int:
        count = min(length, self._remaining)
        self._file.seek(count, os.SEEK_CUR)
        self._remaining -= count
        return count

    def close(self) -> None:
        self._file.close()


class _Complete(Protocol):
    """A source of known length."""

    name: str
    length: int
    transfer_syntax_uid: str


def check_complete(source: _Complete, beginning: memoryview, file: RawIOBase, start: int) -> None:
    """Detect that the data set from `start` of `file` on is truncated, before its first byte is sent."""
    with named(source.name):
        bulk = check_not_cut_short(beginning, source.length, source.transfer_syntax_uid)
        if bulk is not None and bulk.length is None and Encoding.of(source.transfer_syntax_uid).encapsulated:
            position = file.tell()
            _check_fragments(file, start + bulk.value_offset)
            file.seek(position)


def _check_fragments(file: RawIOBase, position: int) -> None:
    """Follow the fragments of encapsulated pixel data (PS3.5 A.4) from `position` to their end, unless too many."""
    size = file.seek(0, os.SEEK_END)
    file.seek(size - PLAIN_SIZE)
    if file.read(PLAIN_SIZE) == SEQUENCE_END_HEADER:
        return
    for _ in range(_MAX_FOLLOWED):
        if position >= size - PLAIN_SIZE:
            break
        file.seek(position)
        header = file.read(PLAIN_SIZE) or b""
        if header == item_header(UNDEFINED_LENGTH):
            raise DatasetError("truncated: a fragment of pixel data has an undefined length")
        try:
            length = fragment_length(header)
        except DatasetError:
            return  # the receiver decides what to do with it
        if length is None:
            return
        position += PLAIN_SIZE + length
    if position > size:
        raise DatasetError("truncated: its last fragment of pixel data is incomplete")


class StreamReader(Reader):
    """Reads any stream, in a thread as it may block. The peeked bytes are returned first.

    A read whose caller is cancelled continues in its thread. The next read waits for it, and the stream is closed only
    after it has ended.
    """

    stops_at_once = True

    def __init__(
        self,
        stream: IO[bytes],
        peeked: bytes,
        length: int | None,
        name: str,
        transfer_syntax_uid: str,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._stream: IO[bytes] | None = stream
        """None once this is closed."""
        self._on_close = on_close
        self._peeked = peeked
        self._remaining = length
        self._name = name
        self._transfer_syntax_uid = transfer_syntax_uid
        self._total = 0
        self._promised: int | None = None
        """The least number of bytes of the data set, known once its beginning has been read."""
        self._lock = threading.Lock()
        """Held by the thread that is reading."""
        self._position: int | None = None

    def share(self, lock: threading.Lock, position: int) -> None:
        """Begin at `position` of a stream that several passes share. Each holds `lock` while it reads."""
        self._lock, self._position = lock, position

    async def read_into(self, buffer: memoryview) -> int:
        # The thread fills its own memory: after a cancellation it must not write into the caller's buffer.
        data = await in_thread(lambda: self._read(len(buffer)))
        buffer[: len(data)] = data
        self._check(buffer[: len(data)], is_end=len(data) < len(buffer))
        return len(data)

    def _check(self, data: memoryview, *, is_end: bool) -> None:
        """Detect truncation: by the beginning if the length is known, else at the end of the stream."""
        known = None if self._remaining is None else self._total + len(data) + self._remaining
        with named(self._name):
            if self._promised is None:
                length = known if known is not None else len(data) if is_end else sys.maxsize
                bulk = check_not_cut_short(data, length, self._transfer_syntax_uid)
                self._promised = 0 if bulk is None or bulk.length is None else bulk.value_offset + bulk.length
            self._total += len(data)
            if is_end and self._total < self._promised:
                raise DatasetError(f"truncated: {self._promised - self._total} bytes missing")

    def _read(self, size: int) -> bytes:
        if not self._lock.acquire(timeout=_LEFT_BEHIND):
            raise DatasetError(f"{self._name}: an earlier read of the stream has not ended in {_LEFT_BEHIND:g} s")
        try:
            stream = self._stream
            return b"" if stream is None else self._read_locked(stream, size)
        finally:
            self._lock.release()
            if self._stream is None:
                self._run_on_close()

    def _read_locked(self, stream: IO[bytes], size: int) -> bytes:
        if self._position is not None:
            stream.seek(self._position)
        if self._remaining is not None:
            size = min(size, self._remaining)
        pieces, missing = [self._peeked[:size]], size - len(self._peeked[:size])
        self._peeked = self._peeked[size:]
        while missing and (piece := stream.read(missing)):
            pieces.append(piece)
            missing -= len(piece)
        if self._remaining is not None:
            if missing:
                raise DatasetError(f"{self._name}: truncated: {self._remaining - size + missing} bytes missing")
            self._remaining -= size
        if self._position is not None:
            self._position += size
        return b"".join(pieces)

    def close(self) -> None:
        """Run `on_close`. The stream itself is closed by the caller."""
        self._stream = None
        self._run_on_close()

    def _run_on_close(self) -> None:
        """Run `on_close`, unless a thread is still reading; then the thread does it afterwards."""
        if self._on_close is not None and self._lock.acquire(blocking=False):
            try:
                self._on_close()
            finally:
                self._lock.release()


@contextmanager
def named(name: str) -> Iterator[None]:
    """Prefix errors with the name of their source."""
    try:
        yield
    except DatasetError as error:
        raise type(error)(f"{name}: {error}") from None


def is_dataset(value: object) -> TypeIs[Dataset]:
    """Whether `value` is a pydicom data set. Does not import pydicom: its owner has already done so."""
    return "pydicom" in sys.modules and isinstance(value, sys.modules["pydicom"].Dataset)


async def in_order(buffers: Iterable[Buffer]) -> AsyncIterator[Buffer]:
    """The buffers, as an asynchronous iterator."""
    for buffer in buffers:
        yield buffer


def _identity(descriptor: int) -> tuple[int, int, int]:
    """Values that differ if a file is replaced or changed."""
    status = os.fstat(descriptor)
    return status.st_ino, status.st_size, status.st_mtime_ns
