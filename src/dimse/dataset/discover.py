"""Search for files to send: folders, DICOMDIRs (PS3.3 F, PS3.10 8.6) and zip archives."""

from __future__ import annotations

import lzma
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from dimse.dataset.folders import TEMPORARY_NAME
from dimse.dataset.recognizing import NotDicom
from dimse.dataset.sources import DatasetSource, FileSource, Part10Source, Reader, StreamReader
from dimse.errors import DatasetError
from dimse.records import record
from dimse.uids import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, MEDIA_STORAGE_DIRECTORY_STORAGE

_VERSION: Final = re.compile(r"\.?;\d+$|\.$")
"""The suffix of ISO 9660 file names such as `IM1.;1` or `IM1.DCM;1`."""

_ZIP_ERRORS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
)
"""The exceptions of `zipfile` for an archive that is damaged, encrypted or not supported."""


@record()
class NotSent:
    """A path with nothing to send. `skipped` if it is not DICOM and was merely found in a folder or archive."""

    name: str
    error: Exception
    skipped: bool


def discover(paths: Iterable[str | os.PathLike[str]]) -> Iterator[DatasetSource | NotSent]:
    """The SOP instances at and below `paths`, in order. Only the File Meta Information of each file is read.

    Folders are searched recursively, sorted by name. A zip archive stands for its members, a DICOMDIR for the files
    that it refers to.
    """
    for found in files(paths):
        if isinstance(found, NotSent):
            yield found
        else:
            yield from sources(found)


class Found(NamedTuple):
    """A path that may be one of a DICOM file."""

    path: str
    named: bool
    """Whether the caller has named it, and not a folder above it."""


def files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Found | NotSent]:
    """The paths at and below `paths`, as `discover` finds them; nothing is opened."""
    for path in map(Path, paths):
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where it may not look
            yield from _folder(path)
        else:
            yield Found(str(path), named=True)


def _folder(folder: Path) -> Iterator[Found | NotSent]:
    unreadable: list[NotSent] = []

    def note(error: OSError) -> None:
        unreadable.append(NotSent(str(error.filename), error, skipped=False))

    for root, folders, names in os.walk(folder, onerror=note):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(root, name)  # noqa: PTH118 - for each of many files
            if TEMPORARY_NAME.fullmatch(name):
                yield NotSent(path, DatasetError(f"{path}: a file that is being received"), skipped=True)
            else:
                yield Found(path, named=False)
    yield from unreadable


def sources(found: Found) -> Iterator[DatasetSource | NotSent]:
    """The SOP instances of a path: one, or those of a zip archive or a DICOMDIR."""
    path, named = Path(found.path), found.named
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
            yield NotSent(str(path), DatasetError(f"{path}: not a file"), not named)
            return
        source = FileSource(path)
    except NotDicom as error:
        if zipfile.is_zipfile(path):
            yield from _archive(path)
        else:
            yield NotSent(str(path), DatasetError(str(error)), skipped=not named)
        return
    except (OSError, ValueError, DatasetError) as error:
        yield NotSent(str(path), error, skipped=False)
        return
    if source.sop_class_uid != MEDIA_STORAGE_DIRECTORY_STORAGE:
        yield source
    elif named:
        yield from _directory(path, source)
    else:
        yield NotSent(str(path), DatasetError(f"{path}: a DICOMDIR, whose files are found by the search"), skipped=True)


def _directory(path: Path, source: FileSource) -> Iterator[DatasetSource | NotSent]:
    """The files that a DICOMDIR refers to by Referenced File ID (0004,1500): path components below its folder."""
    from pydicom.filereader import read_dataset

    from dimse.dataset.codec import PYDICOM_ERRORS

    syntax = source.transfer_syntax_uid
    try:
        with path.open("rb") as file:
            file.seek(-source.length, os.SEEK_END)
            dataset = read_dataset(file, syntax == IMPLICIT_VR_LITTLE_ENDIAN, syntax != EXPLICIT_VR_BIG_ENDIAN)
            records = dataset.get("DirectoryRecordSequence", [])
            references = [each.ReferencedFileID for each in records if each.get("ReferencedFileID")]
    except (OSError, *PYDICOM_ERRORS) as error:
        yield NotSent(str(path), DatasetError(f"{path}: the DICOMDIR cannot be read: {type(error).__name__}"), False)
        return
    listings: _Listings = {}
    for reference in references:
        parts = [reference] if isinstance(reference, str) else list(reference)
        if any(not isinstance(part, str) or part in ("", ".", "..") or set(part) & set("/\\\0") for part in parts):
            why = "a Referenced File ID (0004,1500) points outside its folder"
            yield NotSent(str(path), DatasetError(f"{path}: {why}"), skipped=False)
            continue
        for found in _referred_to(path.parent, parts, listings):
            # A referenced file must be an instance. Other DICOMDIRs are not followed: one might refer back.
            yield replace(found, skipped=False) if isinstance(found, NotSent) else found


def _referred_to(folder: Path, parts: Sequence[str], listings: _Listings) -> Iterator[DatasetSource | NotSent]:
    """The file of that name, or the file that copying the medium has renamed it to."""
    path = folder.joinpath(*parts)
    if not os.path.lexists(path):
        for other in _renamed(folder, parts, listings):
            found = list(sources(Found(str(other), named=False)))
            if any(isinstance(each, DatasetSource) for each in found):
                yield from found
                return
    yield from sources(Found(str(path), named=False))


_Listings = dict[Path, dict[str, list[str]]]
"""For each searched folder its names, by their form without case, version and extension."""


def _renamed(folder: Path, parts: Sequence[str], listings: _Listings) -> Iterator[Path]:
    """The paths that differ only in case, an ISO 9660 version (`;1`) or an extension."""
    if not parts:
        yield folder
        return
    if folder not in listings:
        listings[folder] = _listing(folder)
    for name in listings[folder].get(_without_version(parts[0]), ()):
        yield from _renamed(folder / name, parts[1:], listings)


def _listing(folder: Path) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    with suppress(OSError):
        for name in sorted((path.name for path in folder.iterdir()), key=lambda name: (len(name), name)):
            plain = _without_version(name)
            for key in {plain, plain.rpartition(".")[0] or plain}:
                names.setdefault(key, []).append(name)
    return names


def _without_version(name: str) -> str:
    return _VERSION.sub("", name).casefold()


def _archive(path: Path) -> Iterator[DatasetSource | NotSent]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, *_ZIP_ERRORS) as error:
        yield NotSent(str(path), DatasetError(f"{path}: the zip archive cannot be read: {error}"), skipped=False)
        return
    with archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        for member in members:
            name = f"{path}!{member.filename}"
            try:
                source = ZipSource(path, member, archive)
            except DatasetError as error:
                yield NotSent(name, error, skipped=isinstance(error, NotDicom))
            except (OSError, *_ZIP_ERRORS) as error:
                reason = "it is encrypted" if member.flag_bits & 1 else error
                yield NotSent(name, DatasetError(f"{name}: cannot be unpacked: {reason}"), skipped=False)
            else:
                if source.sop_class_uid == MEDIA_STORAGE_DIRECTORY_STORAGE:
                    yield NotSent(name, DatasetError(f"{name}: a DICOMDIR"), skipped=True)
                else:
                    yield source


class ZipSource(Part10Source):
    """A DICOM file in a zip archive, unpacked while it is sent."""

    repeatable = True

    def __init__(self, path: Path, member: zipfile.ZipInfo, archive: zipfile.ZipFile) -> None:
        self.name = f"{path}!{member.filename}"
        self._path, self._member = path, member
        with archive.open(member) as stream:
            meta = self._read_file_meta(stream)
        self.length: int = member.file_size - meta.length
        self._offset = meta.length

    def identity(self) -> tuple[str, int, int]:
        """What a journal knows it by."""
        return str(Path(self.name).absolute()), self._member.file_size, self._member.CRC

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
            stream.close()  # the archive's file stays open until its member is closed
            archive.close()

        return StreamReader(stream, b"", self.length, self.name, self.transfer_syntax_uid, close)
