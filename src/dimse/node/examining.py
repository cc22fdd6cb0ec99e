"""Reads DICOM files as arrivals: what they are, whether they are whole, and the digest of their data set.

1. A short file is checked as `dimse send` checks it; a long one, or one with fragments, as a data set that is received.
2. A file that is copied is read once: what is described and digested is what the copy has.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from hashlib import blake2b
from io import BytesIO, FileIO
from pathlib import Path
from typing import Final

from dimse.dataset.completeness import StreamedDataset
from dimse.dataset.encoding import Encoding
from dimse.dataset.part10 import MAX_FILE_META, FileMeta, read_file_meta
from dimse.dataset.scanner import check_not_cut_short
from dimse.errors import DatasetError
from dimse.node.arrival import Arrival
from dimse.node.keys import describe
from dimse.uids import MEDIA_STORAGE_DIRECTORY_STORAGE

PIECE: Final = MAX_FILE_META
"""Bytes of a file that are in memory at a time."""


def examine(path: Path, source: str, *, copy: Path | None = None, received_at: float | None = None) -> Arrival:
    """Read a whole file, and copy it into the new file `copy`; without one, the arrival is the file where it is.

    `received_at` is by default the present moment. Raises `DatasetError` for a file that is not of an instance, or is
    truncated, and `OSError`.
    """
    with ExitStack() as undo, ExitStack() as open_files:
        file = open_files.enter_context(FileIO(path))
        length = os.fstat(file.fileno()).st_size
        first = file.read(min(length + 1, PIECE))
        meta = read_file_meta(BytesIO(first))
        if meta.sop_class_uid == MEDIA_STORAGE_DIRECTORY_STORAGE:
            raise DatasetError("a DICOMDIR is not an instance")
        digest = blake2b(memoryview(first)[meta.length :], digest_size=16)
        target = None
        if copy is not None:
            target = open_files.enter_context(FileIO(copy, "x"))
            undo.callback(copy.unlink)
            write_all(target, first)
        size, header = len(first), first[meta.length :]
        if size == PIECE or not _is_whole(header, meta):
            followed = StreamedDataset(meta.transfer_syntax_uid)
            followed.feed(memoryview(header))
            while piece := file.read(PIECE):
                followed.feed(memoryview(piece))
                digest.update(piece)
                size += len(piece)
                if target is not None:
                    write_all(target, piece)
            header = _header(followed)
        description = describe(header, meta.transfer_syntax_uid)
        undo.pop_all()
    return Arrival(
        description=description,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        path=path if copy is None else copy,
        is_in_place=copy is None,
        size=size,
        offset=meta.length,
        digest=digest.digest(),
        source=source,
        received_at=time.time() if received_at is None else received_at,
    )


def _is_whole(data: bytes, meta: FileMeta) -> bool:
    """Whether a data set is whole; False if it must be followed to know. Raises `DatasetError` if it is truncated."""
    encoding = Encoding.of(meta.transfer_syntax_uid)
    if encoding.deflated or encoding.encapsulated:
        return False
    check_not_cut_short(memoryview(data), len(data), meta.transfer_syntax_uid)
    return True


def _header(followed: StreamedDataset) -> bytes:
    """The elements before the pixel data. Raises `DatasetError` if the data set is truncated."""
    followed.finish()
    scanner = followed.scanner
    return bytes(scanner.metadata if scanner.bulk is None else scanner.metadata[: scanner.bulk.header_offset])


def write_all(file: FileIO, data: bytes) -> None:
    """Write all of it: a disk that is nearly full may take a part."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def data_set_begins(path: Path) -> int:
    """Where the data set begins in a file; 0 if it is not DICOM. Raises `OSError`."""
    with suppress(DatasetError), FileIO(path) as file:
        return read_file_meta(file).length
    return 0
