"""Reads DICOM files as arrivals: what they are, whether they are whole, and the digest of their data set.

1. A short file is checked as `dimse send` checks it; a long one, or one with fragments, as a data set that is received.
2. A file that is copied is read once: what is described and digested is what the copy has.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from io import BytesIO, FileIO
from pathlib import Path
from typing import Final, NamedTuple

from dimse.dataset.completeness import StreamedDataset
from dimse.dataset.encoding import Buffer, Encoding
from dimse.dataset.part10 import MAX_FILE_META, read_file_meta, read_transfer_syntax
from dimse.dataset.recognizing import NotDicom
from dimse.dataset.scanner import check_not_cut_short
from dimse.dataset.structure import shows_implicit
from dimse.errors import DatasetError
from dimse.node.arrival import Arrival, new_digest
from dimse.node.headers import Header
from dimse.node.keys import description_of, header_of
from dimse.node.opening import NotAFile, open_file

PIECE: Final = MAX_FILE_META
"""Bytes of a file that are in memory at a time."""


class Content(NamedTuple):
    """What a file has."""

    header: Header
    transfer_syntax_uid: str
    size: int
    """Length of the file."""
    offset: int
    """Where the data set begins in it."""
    digest: bytes
    changed_at: float
    """When it was changed last, in seconds since 1970."""


def examine(path: Path, source: str, *, copy: str | Path | None = None, received_at: float | None = None) -> Arrival:
    """Read a whole file, and copy it into the new file `copy`; without one, the arrival is the file where it is.

    `received_at` is by default the present moment. Raises `DatasetError` for a file that is not of an instance, or is
    truncated, and `OSError`; then there is no copy.
    """
    content = read(path, copy)
    try:
        description = description_of(content.header)
    except DatasetError:
        if copy is not None:
            Path(copy).unlink()
        raise
    return Arrival(
        description=description,
        transfer_syntax_uid=content.transfer_syntax_uid,
        path=str(path if copy is None else copy),
        is_in_place=copy is None,
        size=content.size,
        offset=content.offset,
        digest=content.digest,
        source=source,
        received_at=time.time() if received_at is None else received_at,
    )


def read(path: str | Path, copy: str | Path | None = None) -> Content:
    """Read a whole file, and copy it into the new file `copy`. Raises as `examine` does."""
    with ExitStack() as undo, ExitStack() as open_files:
        try:
            file = open_files.enter_context(open_file(path))
        except NotAFile:
            raise NotDicom("not a file") from None
        status = os.fstat(file.fileno())
        first = file.read(min(status.st_size + 1, PIECE))
        syntax, offset = _begins(first)
        digest = new_digest(memoryview(first)[offset:])
        target = None
        if copy is not None:
            target = open_files.enter_context(FileIO(copy, "x"))
            undo.callback(os.unlink, copy)
            write_all(target, first)
        size = len(first)
        header = _header_of_all(first[offset:], syntax) if size < PIECE else None
        if header is None:
            followed = StreamedDataset(syntax)
            followed.feed(memoryview(first)[offset:])
            while piece := file.read(PIECE):
                followed.feed(memoryview(piece))
                digest.update(piece)
                size += len(piece)
                if target is not None:
                    write_all(target, piece)
            header = header_of(_metadata(followed), syntax)
        undo.pop_all()
    return Content(header, syntax, size, offset, digest.digest(), status.st_mtime)


def _begins(beginning: bytes) -> tuple[str, int]:
    """The transfer syntax, as the data set shows it, and where it begins."""
    syntax, offset = read_transfer_syntax(BytesIO(beginning))
    encoding = Encoding.of(syntax)
    if encoding.deflated or shows_implicit(beginning, offset) == encoding.implicit:
        return syntax, offset
    meta = read_file_meta(BytesIO(beginning))
    return meta.transfer_syntax_uid, meta.length


def _header_of_all(data: bytes, syntax: str) -> Header | None:
    """The header of a data set that is whole; None if it must be followed. Raises `DatasetError` if it is truncated."""
    encoding = Encoding.of(syntax)
    if encoding.deflated or encoding.encapsulated:
        return None
    header = header_of(data, syntax)
    if not header.end:
        return None
    check_not_cut_short(memoryview(data)[header.end :], len(data) - header.end, syntax)
    return header


def _metadata(followed: StreamedDataset) -> bytes:
    """The elements before the pixel data. Raises `DatasetError` if the data set is truncated."""
    followed.finish()
    scanner = followed.scanner
    return bytes(scanner.metadata if scanner.bulk is None else scanner.metadata[: scanner.bulk.header_offset])


def write_all(file: FileIO, data: Buffer) -> None:
    """Write all of it: a disk that is nearly full may take a part."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def has_content(path: Path, file: Path, digest: bytes) -> bool:
    """Whether there is a file `path` with the data set of `file`, which has this digest. Raises `OSError`."""
    with suppress(FileNotFoundError, DatasetError):
        return path.samefile(file) or read(path).digest == digest
    return False


def data_set_begins(beginning: Buffer) -> int:
    """Where the data set begins in a file with this beginning; 0 if it is not DICOM."""
    with suppress(DatasetError):
        return read_file_meta(BytesIO(beginning)).length
    return 0
