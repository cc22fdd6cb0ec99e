"""A source delivers the encoded data set in full buffers, and raises an error if it differs from its announcement."""

from __future__ import annotations

import asyncio
import os
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from pydicom.data import get_testdata_file

from dimse.dataset.encoding import LITTLE, UNDEFINED_LENGTH, item_header
from dimse.dataset.part10 import encode_file_meta
from dimse.dataset.sources import DatasetSource, FileSource, MemorySource, PiecesReader, Reader, StreamSource
from dimse.errors import DatasetError
from dimse.uids import RLE_LOSSLESS

CLASS, INSTANCE, SYNTAX = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5", "1.2.840.10008.1.2.1"
META = encode_file_meta(sop_class_uid=CLASS, sop_instance_uid=INSTANCE, transfer_syntax_uid=SYNTAX)
DATA = bytes(range(256)) * 100
RTSTRUCT = Path(str(get_testdata_file("rtstruct.dcm", download=False))).read_bytes()


async def drain(reader: Reader, size: int = 1000) -> bytes:
    """Read to the end; a buffer that is not full is the last but for the end."""
    data, buffer = b"", memoryview(bytearray(size))
    while (count := await reader.read_into(buffer)) == size:
        data += buffer
    data += buffer[:count]
    assert await reader.read_into(buffer) == 0
    reader.close()
    reader.close()
    return data


class Pipe(BytesIO):
    """A stream that cannot seek and returns a little per read."""

    step = 37

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError("a pipe")

    def seek(self, *_: object) -> int:
        raise OSError("a pipe")

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, self.step))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.dcm"
    path.write_bytes(META + DATA)
    return path


def check_uids(source: DatasetSource) -> None:
    assert source.sop_class_uid == CLASS
    assert source.sop_instance_uid == INSTANCE
    assert source.transfer_syntax_uid == SYNTAX


@pytest.mark.parametrize("size", [1, 1000, len(DATA), 10**6])
async def test_file(path: Path, size: int) -> None:
    source = FileSource(path)
    check_uids(source)
    assert source.length == len(DATA)
    assert source.repeatable
    assert source.name == str(path)
    for _ in range(2):
        assert await drain(source.open(), size) == DATA


async def test_a_file_that_gets_shorter_while_it_is_read(path: Path) -> None:
    reader = FileSource(path).open()
    await reader.read_into(memoryview(bytearray(100)))
    os.truncate(path, len(META) + 150)
    with pytest.raises(DatasetError, match=r"a\.dcm: truncated: \d+ bytes missing"):
        await reader.read_into(memoryview(bytearray(100)))
    reader.close()


def test_a_file_that_is_another_when_it_is_sent(path: Path) -> None:
    source = FileSource(path)
    path.unlink()
    path.write_bytes(META + DATA + b"more")
    with pytest.raises(DatasetError, match=r"a\.dcm: the file has changed"):
        source.open()


def test_a_file_that_is_no_dicom_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"hello")
    with pytest.raises(DatasetError, match=r"notes\.txt: not a DICOM file"):
        FileSource(tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError):
        FileSource(tmp_path / "none")


async def test_a_stream_that_seeks_is_read_from_where_it_stands() -> None:
    stream = BytesIO(b"before" + META + DATA)
    stream.seek(6)
    source = StreamSource(stream, "a name")
    check_uids(source)
    assert source.length == len(DATA)
    assert source.repeatable
    for _ in range(2):
        assert await drain(source.open()) == DATA
    assert not stream.closed


@pytest.mark.parametrize("step", [1, 37, 10**6])
async def test_a_stream_that_does_not_seek_is_read_once(step: int) -> None:
    pipe = Pipe(META + DATA)
    pipe.step = step
    source = StreamSource(cast("BinaryIO", pipe), "a pipe")
    check_uids(source)
    assert source.length is None
    assert not source.repeatable
    assert await drain(source.open(), 100) == DATA
    with pytest.raises(DatasetError, match="a pipe: can be read only once"):
        source.open()


async def test_a_stream_that_gives_bytearrays() -> None:
    class Arrays(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return bytearray(super().read(size))  # type: ignore[return-value]  # what some streams do

    source = StreamSource(Arrays(META + DATA))
    check_uids(source)
    assert await drain(source.open()) == DATA


async def test_a_stream_that_ends_early() -> None:
    stream = BytesIO(META + DATA)
    source = StreamSource(stream, "a name")
    stream.truncate(len(META) + 50)
    reader = source.open()
    with pytest.raises(DatasetError, match=f"a name: truncated: {len(DATA) - 50} bytes missing"):
        await reader.read_into(memoryview(bytearray(100)))
    with pytest.raises(DatasetError, match="a name: not a DICOM file"):
        StreamSource(BytesIO(b""), "a name")


async def test_memory() -> None:
    source = MemorySource(
        [b"", DATA[:10], memoryview(DATA)[10:], b""],
        sop_class_uid=CLASS,
        sop_instance_uid=INSTANCE,
        transfer_syntax_uid=SYNTAX,
    )
    check_uids(source)
    assert source.length == len(DATA)
    assert source.name == INSTANCE
    for _ in range(2):
        assert await drain(source.open()) == DATA


async def test_a_closed_reader_has_ended() -> None:
    reader = MemorySource([DATA], sop_class_uid=CLASS, sop_instance_uid=INSTANCE, transfer_syntax_uid=SYNTAX).open()
    assert isinstance(reader, PiecesReader)
    await reader.read_into(memoryview(bytearray(10)))
    reader.close()
    assert await reader.read_into(memoryview(bytearray(10))) == 0


@pytest.mark.parametrize("name", ["CT_small.dcm", "JPEG2000.dcm"])
async def test_files_of_others(name: str) -> None:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    source = FileSource(path)
    data = await drain(source.open())
    assert len(data) == source.length
    assert data[:2] == b"\x08\0"
    assert (await asyncio.to_thread(Path(path).read_bytes)).endswith(data)


def read(path: str) -> bytes:
    return Path(path).read_bytes()


@pytest.mark.parametrize(
    ("name", "keep"),
    [("MR_truncated.dcm", 0), ("rtplan_truncated.dcm", 0), ("JPEG2000.dcm", 200), ("CT_small.dcm", 3000)],
)
async def test_a_file_cut_short_gives_an_error_before_its_first_byte(tmp_path: Path, name: str, keep: int) -> None:
    whole = get_testdata_file(name, download=False)
    assert isinstance(whole, str)
    path = tmp_path / name
    data = read(whole)
    path.write_bytes(data[:-keep] if keep else data)
    reader = FileSource(path).open()
    with pytest.raises(DatasetError, match=f"{name}: truncated"):
        await reader.read_into(memoryview(bytearray(1 << 20)))
    reader.close()


async def test_a_fragment_of_undefined_length_never_ends(tmp_path: Path) -> None:
    meta = encode_file_meta(sop_class_uid=CLASS, sop_instance_uid=INSTANCE, transfer_syntax_uid=RLE_LOSSLESS)
    pixels = LITTLE.long.pack(0x7FE0, 0x0010, b"OB", UNDEFINED_LENGTH) + item_header(0) + item_header(UNDEFINED_LENGTH)
    path = tmp_path / "a.dcm"
    path.write_bytes(meta + pixels + b"fragment" * 3)
    reader = FileSource(path).open()
    with pytest.raises(DatasetError, match=r"a\.dcm: truncated: .*fragment"):
        await reader.read_into(memoryview(bytearray(1 << 20)))
    reader.close()


@pytest.mark.parametrize("name", ["CT_small.dcm", "JPEG2000.dcm", "SC_rgb_rle_2frame.dcm", "MR_small_bigendian.dcm"])
async def test_a_whole_file_is_not_taken_for_one_cut_short(name: str) -> None:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    source = FileSource(path)
    assert (await drain(source.open(), 1 << 20)) == read(path)[-source.length :]


@pytest.mark.parametrize("kind", [BytesIO, Pipe])
async def test_a_stream_of_a_data_set_alone(kind: type[BytesIO], caplog: pytest.LogCaptureFixture) -> None:
    source = StreamSource(kind(RTSTRUCT), "it")
    assert source.transfer_syntax_uid == "1.2.840.10008.1.2"
    assert await drain(source.open()) == RTSTRUCT
    assert caplog.messages == ["it: missing Transfer Syntax UID (0002,0010); assuming Implicit VR Little Endian"]
