"""Finding what to send: files, folders, DICOMDIRs (PS3.3 F, PS3.10 8.6) and zip archives."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import MediaStorageDirectoryStorage

from dimse.dataset.part10 import read_file_meta
from dimse.dataset.sources import DatasetSource, FileSource, Reader, StreamReader, named
from dimse.errors import DatasetError

_HEAD: Final = 132


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
        if path.is_dir():
            yield from _folder(path)
        else:
            yield from _file(path, named=True)


def _folder(folder: Path) -> Iterator[DatasetSource | NotSent]:
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            yield from _file(Path(root, name), named=False)


def _file(path: Path, *, named: bool) -> Iterator[DatasetSource | NotSent]:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if head[128:] != b"DICM":
            if zipfile.is_zipfile(path):
                yield from _archive(path)
            else:
                yield NotSent(str(path), DatasetError(f"{path}: not a DICOM file (no DICM at byte 128)"), not named)
            return
        source = FileSource(path)
    except (OSError, DatasetError, zipfile.BadZipFile) as error:
        yield NotSent(str(path), error, skipped=False)
        return
    if source.sop_class_uid != MediaStorageDirectoryStorage:
        yield source
    elif named:
        yield from _directory(path)
    else:
        yield NotSent(str(path), DatasetError(f"{path}: a DICOMDIR; its files are found by themselves"), skipped=True)


def _directory(path: Path) -> Iterator[DatasetSource | NotSent]:
    """What a DICOMDIR refers to, by Referenced File ID (0004,1500): path components below its folder."""
    try:
        records = dcmread(path).get("DirectoryRecordSequence", [])
        references = [record.ReferencedFileID for record in records if record.get("ReferencedFileID")]
    except (InvalidDicomError, OSError, ValueError, AttributeError, EOFError) as error:
        yield NotSent(str(path), DatasetError(f"{path}: the DICOMDIR cannot be read: {type(error).__name__}"), False)
        return
    for reference in references:
        parts = [reference] if isinstance(reference, str) else list(reference)
        if any(part in ("", ".", "..") or "/" in part or "\\" in part for part in parts):
            yield NotSent(str(path), DatasetError(f"{path}: a Referenced File ID leaves the DICOMDIR's folder"), False)
        else:
            yield from _file(path.parent.joinpath(*parts), named=True)


def _archive(path: Path) -> Iterator[DatasetSource | NotSent]:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        for member in members:
            name = f"{path}!{member.filename}"
            try:
                source = ZipSource(path, member, archive)
            except DatasetError as error:
                with archive.open(member) as stream:
                    is_dicom = stream.read(_HEAD)[128:] == b"DICM"
                yield NotSent(name, error, skipped=not is_dicom)
            except (OSError, RuntimeError, zipfile.BadZipFile, NotImplementedError) as error:
                yield NotSent(name, DatasetError(f"{name}: {error}"), skipped=False)
            else:
                if source.sop_class_uid == MediaStorageDirectoryStorage:
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
        return StreamReader(stream, b"", self.length, self.name, self.transfer_syntax_uid, archive.close)
