"""The objects that a caller passes to be sent, as sources."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from io import TextIOBase
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias, cast

from dimse.dataset.located import Located, LocatedSource
from dimse.dataset.sources import DatasetSource, FileSource, StreamSource, is_dataset
from dimse.dataset.streams import AsyncReadable, BytesSource, from_async
from dimse.dataset.threads import in_thread

if TYPE_CHECKING:
    from dimse.dataset.pydicom_names import Dataset
    from dimse.dataset.pydicom_source import EncapsulatedFrames, NativePixels

InMemory: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | Dataset | DatasetSource | Located"
"""Sources that can be opened without reading a stream."""

Source: TypeAlias = "InMemory | BinaryIO | AsyncReadable | AsyncIterable[bytes]"
"""An object to send: a path, a DICOM file in memory, a binary stream, an asynchronous stream or iterator of bytes, a
pydicom data set, a located object of an archive, or a source made beforehand."""

_ACCEPTED: Final = (
    "a path, bytes, a binary stream, an asynchronous stream or iterator of bytes, a pydicom Dataset, a Located or a "
    "DatasetSource"
)


def each(sources: Iterable[Source] | Source) -> Iterator[Source]:
    """Each of `sources`, which may be a single one: many sources are iterable themselves.

    Raises `TypeError` for an object that cannot be a source.
    """
    if is_source(sources):
        yield cast("Source", sources)
        return
    if not isinstance(sources, Iterable) or isinstance(sources, Mapping | TextIOBase):
        raise _refusal(sources)
    for source in sources:
        if not is_source(source):
            raise _refusal(source)
        yield cast("Source", source)


def is_source(value: object) -> bool:
    """Whether a value is a single source."""
    if is_in_memory(value):
        return True
    return not isinstance(value, TextIOBase) and (hasattr(value, "read") or isinstance(value, AsyncIterable))


def is_in_memory(value: object) -> bool:
    """Whether a value is a source that can be opened without reading a stream."""
    if isinstance(value, DatasetSource | Located):
        return True
    return isinstance(value, str | os.PathLike | bytes | bytearray | memoryview) or is_dataset(value)


def _refusal(value: object) -> TypeError:
    if isinstance(value, TextIOBase):
        return TypeError(f"a source must be {_ACCEPTED}; this is a text stream: open the file in binary mode")
    return TypeError(f"a source must be {_ACCEPTED}, not {type(value).__name__}")


async def as_source(source: Source, pixels: NativePixels | EncapsulatedFrames | None = None) -> DatasetSource:
    """`source` as a `DatasetSource`.

    Raises `TypeError` for an object that cannot be a source, and `DatasetError` or `OSError`, which name the file.
    """
    if pixels is not None:
        if not is_dataset(source):
            raise TypeError(f"`pixels` requires a pydicom Dataset, not {type(source).__name__}")
        from dimse.dataset.pydicom_source import PixelSource

        return PixelSource(source, pixels)
    if is_in_memory(source):
        return of_memory(cast("InMemory", source))
    if not is_source(source):
        raise _refusal(source)
    name = name_of(source)
    if isinstance(source, AsyncIterable) or inspect.iscoroutinefunction(getattr(source, "read", None)):
        return await from_async(cast("AsyncReadable", source), name)
    return await in_thread(lambda: StreamSource(cast("BinaryIO", source), name))


def of_memory(source: InMemory) -> DatasetSource:
    """`source` as a `DatasetSource`, without reading a stream. Raises `TypeError` for a stream."""
    if isinstance(source, DatasetSource):
        return source
    if isinstance(source, Located):
        return LocatedSource(source)
    if is_dataset(source):
        from dimse.dataset.pydicom_source import from_dataset

        return from_dataset(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return BytesSource(source)
    if isinstance(source, str | os.PathLike):
        return FileSource(source)
    raise TypeError(
        f"a source must be a path, bytes, a pydicom Dataset or a DatasetSource here, not {type(source).__name__}"
    )


def name_of(source: object) -> str:
    """The name of `source` in messages: its own name, unless that is a file descriptor."""
    if isinstance(source, bytes | bytearray | memoryview):
        return "the bytes"
    name = getattr(source, "name", None)
    if isinstance(name, str):
        return name
    return "the stream" if is_source(source) else type(source).__name__
