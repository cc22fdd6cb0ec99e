"""Files as old devices write them, from wherever they come: each is sent as what it shows."""

from __future__ import annotations

import asyncio
import shutil
import zipfile
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import ImplicitVRLittleEndian, JPEGBaseline8Bit
from tests.server_options import buffered

import dimse
from dimse import Server, Status, StoreRequest

RTSTRUCT = Path(str(get_testdata_file("rtstruct.dcm", download=False)))
DATA_SET = RTSTRUCT.read_bytes()
"""It is alone in its file, in Implicit VR."""
IMPLICIT_JPEG = Path(str(get_testdata_file("SC_rgb_jpeg.dcm", download=False)))
DICOMDIR = Path(str(get_testdata_file("DICOMDIR", download=False)))


class Archive(Server):
    """Keeps what it gets: the transfer syntax and the data set."""

    def __init__(self) -> None:
        super().__init__("ARCHIVE", port=0, options=buffered())
        self.stored: list[tuple[str, bytes]] = []
        self.on_c_store(self.keep)

    async def keep(self, request: StoreRequest) -> int:
        self.stored.append((request.transfer_syntax_uid, bytes(request.data)))
        return Status.SUCCESS

    @property
    def address(self) -> str:
        return f"ARCHIVE@127.0.0.1:{self.port}"


@pytest.fixture
async def archive() -> AsyncIterator[Archive]:
    async with Archive() as server:
        yield server


class Pipe(BytesIO):
    """A stream that cannot seek."""

    def seekable(self) -> bool:
        return False


def folder_of(path: Path, folder: Path) -> Path:
    shutil.copy(path, folder / "image")
    return folder


def zip_of(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "image")
    return folder / "a.zip"


def dicomdir_of(path: Path, folder: Path) -> Path:
    """One that refers to the file alone, which has got an extension since."""
    directory = dcmread(DICOMDIR)
    record = next(each for each in directory.DirectoryRecordSequence if "ReferencedFileID" in each)
    record.ReferencedFileID = ["IMAGE"]
    directory.DirectoryRecordSequence = [record]
    directory.save_as(folder / "DICOMDIR")
    shutil.copy(path, folder / "image.dcm")
    return folder / "DICOMDIR"


def fed(path: Path) -> asyncio.StreamReader:
    stream = asyncio.StreamReader()
    stream.feed_data(path.read_bytes())
    stream.feed_eof()
    return stream


KINDS: dict[str, Callable[[Path, Path], Any]] = {
    "path": lambda path, _: path,
    "folder": folder_of,
    "archive": zip_of,
    "DICOMDIR": dicomdir_of,
    "stream": lambda path, _: BytesIO(path.read_bytes()),
    "pipe": lambda path, _: Pipe(path.read_bytes()),
    "bytes": lambda path, _: path.read_bytes(),
    "asynchronous": lambda path, _: fed(path),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_data_set_alone(archive: Archive, tmp_path: Path, kind: str) -> None:
    report = await dimse.send(archive.address, [KINDS[kind](RTSTRUCT, tmp_path)])
    assert len(report.stored) == len(report.results) == 1
    assert archive.stored == [(str(ImplicitVRLittleEndian), DATA_SET)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:Expected explicit VR, but found implicit VR")  # by pydicom, of the original
async def test_implicit_vr_under_a_compressed_syntax(archive: Archive, tmp_path: Path, kind: str) -> None:
    report = await dimse.send(archive.address, [KINDS[kind](IMPLICIT_JPEG, tmp_path)])
    assert len(report.stored) == len(report.results) == 1
    ((syntax, data),) = archive.stored
    original = dcmread(IMPLICIT_JPEG)
    assert syntax == JPEGBaseline8Bit
    assert data[:6] == b"\x08\0\x08\0CS"
    assert original.PixelData in data
