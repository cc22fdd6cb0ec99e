"""Finding what to send: files, folders, DICOMDIRs (PS3.3 F, PS3.10 8.6) and zip archives."""

from __future__ import annotations

import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from dimse.dataset.part10 import read_file_meta
from dimse.dataset.sources import DatasetSource, FileSource, Reader, StreamReader, named
from dimse.errors import DatasetError
from dimse.uids import MEDIA_STORAGE_DIRECTORY_STORAGE

_HEAD: Final = 132

_ZIP_ERRORS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
)
"""What `zipfile` raises for an archive that is damaged, encrypted or of another kind."""


@dataclass(frozen=True, slots=True)
class NotSent:
    """A path that gives nothing to send. `skipped` where nobody asked for just this one, and it is not DICOM."""

    name: str
    error: Exception
    skipped: bool


def discover(paths: Iterable[str | os.PathLike[str]]) -> Iterator[DatasetSource | NotSent]:
    """The SOP instances at and under `paths`, in order; of each file only its File Meta Information is read.

    Folders are searched whole, by name; zip archives and DICOMDIRs stand for what they hold or refer to.
    """
    for path in map(Path, paths):
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where it may not look
            yield from _folder(path)
        else:
            yield from _file(path, named=True)


def _folder(folder: Path) -> Iterator[DatasetSource | NotSent]:
    unreadable: list[NotSent] = []

    def note(error: OSError) -> None:
        unreadable.append(NotSent(str(error.filename), error, skipped=False))

    for root, folders, files in os.walk(folder, onerror=note):
        folders.sort()
        for name in sorted(files):
            yield from _file(Path(root, name), named=False)
    yield from unreadable


def _file(path: Path, *, named: bool) -> Iterator[DatasetSource | NotSent]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
            yield NotSent(str(path), DatasetError(f"{path}: not a file"), not named)
            return
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if head[128:] != b"DICM":
            if zipfile.is_zipfile(path):
                yield from _archive(path)
            else:
                yield NotSent(str(path), DatasetError(f"{path}: not a DICOM file (no DICM at byte 128)"), not named)
            return
        source = FileSource(path)
    except (OSError, ValueError, DatasetError) as error:
        yield NotSent(str(path), error, skipped=False)
        return
    if source.sop_class_uid != MEDIA_STORAGE_DIRECTORY_STORAGE:
        yield source
    elif named:
        yield from _directory(path)
    else:
        yield NotSent(str(path), DatasetError(f"{path}: a DICOMDIR; its files are found by themselves"), skipped=True)


def _directory(path: Path) -> Iterator[DatasetSource | NotSent]:
    """What a DICOMDIR refers to, by Referenced File ID (0004,1500): path components below its folder."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    from dimse.dataset.identifiers import PYDICOM_ERRORS

    try:
        records = dcmread(path).get("DirectoryRecordSequence", [])
        references = [record.ReferencedFileID for record in records if record.get("ReferencedFileID")]
    except (InvalidDicomError, OSError, *PYDICOM_ERRORS) as error:
        yield NotSent(str(path), DatasetError(f"{path}: the DICOMDIR cannot be read: {type(error).__name__}"), False)
        return
    for reference in references:
        parts = [reference] if isinstance(reference, str) else list(reference)
        if any(not isinstance(part, str) or part in ("", ".", "..") or set(part) & set("/\\\0") for part in parts):
            yield NotSent(str(path), DatasetError(f"{path}: a Referenced File ID leaves the DICOMDIR's folder"), False)
            continue
        for found in _file(path.parent.joinpath(*parts), named=False):
            # What is referred to must be there, and an image: another DICOMDIR might refer back.
            yield replace(found, skipped=False) if isinstance(found, NotSent) else found


def _archive(path: Path) -> Iterator[DatasetSource | NotSent]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, *_ZIP_ERRORS) as error:
        yield NotSent(str(path), DatasetError(f"{path}: not a zip archive that can be read: {error}"), skipped=False)
        return
    with archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        for member in members:
            name = f"{path}!{member.filename}"
            try:
                source = ZipSource(path, member, archive)
            except DatasetError as error:
                with archive.open(member) as stream:
                    is_dicom = stream.read(_HEAD)[128:] == b"DICM"
                yield NotSent(name, error, skipped=not is_dicom)
            except (OSError, *_ZIP_ERRORS) as error:
                reason = "it is encrypted" if member.flag_bits & 1 else error
                yield NotSent(name, DatasetError(f"{name}: cannot be unpacked: {reason}"), skipped=False)
            else:
                if source.sop_class_uid == MEDIA_STORAGE_DIRECTORY_STORAGE:
                    yield NotSent(name, DatasetError(f"{name}: a DICOMDIR"), skipped=True)
                else:
                    yield source


class ZipSource(DatasetSource):
    """A DICOM file in a zip archive, unpacked as it is sent."""

    repeatable = True

    def __init__(self, path: Path, member: zipfile.ZipInfo, archive: zipfile.ZipFile) -> None:
        self.name = f"{path}!{member.filename}"
        self._path, self._member = path, member
        with archive.open(member) as stream, named(self.name):
            meta = read_file_meta(stream)
        self.sop_class_uid = meta.sop_class_uid
        self.sop_instance_uid = meta.sop_instance_uid
        self.transfer_syntax_uid = meta.transfer_syntax_uid
        self.length: int = member.file_size - meta.length
        self._offset = meta.length

    def open(self) -> Reader:
        """Begin a pass."""
        archive = zipfile.ZipFile(self._path)
        try:
            stream = archive.open(self._member)
            stream.seek(self._offset)
        except BaseException:
            archive.close()
            raise

        def close() -> None:
            stream.close()  # the archive's file stays open as long as a member's stream does
            archive.close()

        return StreamReader(stream, b"", self.length, self.name, self.transfer_syntax_uid, close)
