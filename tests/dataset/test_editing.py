"""Editing on the way: the touched elements change, all other bytes are those of the source."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.data import get_testdata_file
from tests.sample_objects import encoded, instance, pixel_bytes
from tests.sample_objects import save as save_to

from dimse import DatasetError, DatasetSource, Edits, FileSource, StreamSource
from dimse.dataset.codec import decode
from dimse.dataset.editing import edit
from dimse.dataset.sources import MemorySource

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, JPEG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50"
EDITS = Edits(
    {"PatientName": "Anon^1", "PatientBirthDate": None, "StudyDescription": "new", "AcquisitionMatrix": [1, 2, 3, 4]},
    ["PatientID", "ReferencedStudySequence", "PatientSex", "0009,1001"],
)


async def read(source: DatasetSource, size: int = 1000) -> bytes:
    reader, data, buffer = source.open(), bytearray(), memoryview(bytearray(size))
    try:
        while count := await reader.read_into(buffer):
            data += buffer[:count]
    finally:
        reader.close()
    assert source.length in (None, len(data))
    return bytes(data)


def source_of(data: bytes, syntax: str = EXPLICIT) -> DatasetSource:
    return MemorySource([data], sop_class_uid="1.2", sop_instance_uid="1.2.3.4", transfer_syntax_uid=syntax)


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
@pytest.mark.parametrize("pixels", [0, 100, 200_000])
@pytest.mark.parametrize("size", [7, 1000, 1_000_000])
async def test_the_edited_elements_and_no_others(syntax: str, pixels: int, size: int) -> None:
    before = instance(pixels=pixels)
    before.PatientSex = "O"
    before.ReferencedStudySequence = [Dataset()]
    before.ReferencedStudySequence[0].ReferencedSOPInstanceUID = "1.2.3"
    expected = instance(pixels=pixels)
    expected.PatientName, expected.PatientBirthDate, expected.StudyDescription = "Anon^1", None, "new"
    expected.AcquisitionMatrix = [1, 2, 3, 4]
    del expected.PatientID
    edited = await edit(source_of(encoded(before, syntax), syntax), EDITS)
    assert edited.length is not None
    for _ in range(2):  # it can be sent again
        assert await read(edited, size) == encoded(expected, syntax)


async def test_all_other_bytes_stay_as_they_are() -> None:
    """Also what pydicom would write otherwise: undefined lengths, odd ones, padding with the wrong character."""
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + element(8, 0x1150, b"UI", b"1.2 ") + b"\xfe\xff\x0d\xe0\0\0\0\0"
    sequence = struct.pack("<HH2sxxL", 8, 0x1140, b"SQ", 0xFFFFFFFF) + item + b"\xfe\xff\xdd\xe0\0\0\0\0"
    odd = element(8, 0x1030, b"LO", b"odd")
    behind = element(0x10, 0x4000, b"LT", b"x\0")
    pixels = struct.pack("<HH2sxxL", 0x7FE0, 0x10, b"OB", 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\0\0\0\0" * 9
    data = odd + sequence + element(0x10, 0x10, b"PN", b"SECRET") + behind + pixels
    edited = await edit(source_of(data, JPEG), Edits({"PatientName": "A"}))
    assert await read(edited) == data.replace(element(0x10, 0x10, b"PN", b"SECRET"), element(0x10, 0x10, b"PN", b"A "))


@pytest.mark.parametrize("value", [b"", b"\1\0", bytes(8)])
async def test_a_group_length_that_is_no_number_keeps_its_bytes(value: bytes) -> None:
    wrong, last = element(0x10, 0, b"UL", value), element(0x10, 0x20, b"LO", b"12")
    source = await edit(source_of(wrong + element(0x10, 0x10, b"PN", b"A^B ") + last), Edits({"PatientName": "Longer"}))
    assert await read(source) == wrong + element(0x10, 0x10, b"PN", b"Longer") + last


async def test_group_lengths_follow_their_group() -> None:
    name, rest = element(0x10, 0x10, b"PN", b"SECRET"), element(0x10, 0x40, b"CS", b"O ")
    other = element(8, 0, b"UL", struct.pack("<L", 12)) + element(8, 0x60, b"CS", b"CT  ")
    length = struct.pack("<L", len(name) + len(rest))
    data = other + element(0x10, 0, b"UL", length) + name + rest
    edited = await read(await edit(source_of(data), Edits({"PatientName": "A"}, ["PatientSex"])))
    new = element(0x10, 0x10, b"PN", b"A ")
    assert edited == other + element(0x10, 0, b"UL", struct.pack("<L", len(new))) + new


async def test_an_element_that_is_there_twice_is_there_once() -> None:
    twice, other = element(0x10, 0x10, b"PN", b"SECRET"), element(0x10, 0x20, b"LO", b"1 ")
    assert await read(await edit(source_of(twice + twice + other), Edits({"PatientName": "A"}))) == (
        element(0x10, 0x10, b"PN", b"A ") + other
    )
    assert await read(await edit(source_of(twice + other + twice), Edits(remove=["PatientName"]))) == other


async def test_elements_out_of_order_stay_where_they_are() -> None:
    late, early = element(0x20, 0x10, b"SH", b"1 "), element(0x10, 0x20, b"LO", b"2 ")
    data = late + early
    edited = await read(await edit(source_of(data), Edits({"PatientID": "3", "Modality": "CT"})))
    assert edited == element(8, 0x60, b"CS", b"CT") + late + element(0x10, 0x20, b"LO", b"3 ")


@pytest.mark.parametrize(
    ("term", "text", "value"),
    [
        ("ISO_IR 100", "Müller", "Müller".encode("latin-1")),
        ("ISO_IR 192", "山田", "山田".encode()),
        ("GB18030", "山田", "山田".encode("gb18030")),
        ("ISO_IR 13", "ﾔﾏﾀﾞ", b"\xd4\xcf\xc0\xde"),
        ("ISO_IR 144", "Иван", "Иван".encode("iso8859_5")),
        ("ISO 2022 IR 100\\ISO 2022 IR 87", "Müller", "Müller".encode("latin-1")),
        ("ISO_IR 100", "Anon", b"Anon"),
        (None, "Anon", b"Anon"),
    ],
)
async def test_text_is_in_the_character_set_of_the_object(term: str | None, text: str, value: bytes) -> None:
    before = b"" if term is None else element(8, 5, b"CS", term.encode() + b" " * (len(term) % 2))
    edited = await read(await edit(source_of(before + element(0x10, 0x20, b"LO", b"1 ")), Edits({"PatientName": text})))
    name = element(0x10, 0x10, b"PN", value + b" " * (len(value) % 2))
    assert edited == before + name + element(0x10, 0x20, b"LO", b"1 ")


@pytest.mark.parametrize("before", [b"", element(8, 5, b"CS", b"")])
async def test_an_object_without_a_character_set_gets_utf_8(before: bytes) -> None:
    edited = await read(await edit(source_of(before + element(8, 0x60, b"CS", b"CT")), Edits({"PatientName": "山田"})))
    assert edited == element(8, 5, b"CS", b"ISO_IR 192") + element(8, 0x60, b"CS", b"CT") + element(
        0x10, 0x10, b"PN", "山田".encode()
    )
    assert str(decode(edited, EXPLICIT).PatientName) == "山田"


@pytest.mark.parametrize(
    ("term", "text"),
    [("ISO_IR 100", "山田"), ("ISO_IR 13", "山田"), ("\\ISO 2022 IR 87", "山田"), ("ISO_IR 144", "Müller")],
)
async def test_characters_that_the_object_cannot_have(term: str, text: str) -> None:
    data = element(8, 5, b"CS", term.encode() + b" " * (len(term) % 2))
    with pytest.raises(DatasetError, match=r"1\.2\.3\.4: PatientName has characters that the Specific") as caught:
        await edit(source_of(data), Edits({"PatientName": text}))
    assert text not in str(caught.value)


async def test_a_deflated_data_set() -> None:
    deflater = zlib.compressobj(wbits=-15)
    data = deflater.compress(encoded(instance(pixels=100_000))) + deflater.flush()
    edited = await edit(source_of(data + bytes(len(data) % 2), DEFLATED), Edits({"PatientName": "A"}))
    expected = instance(pixels=100_000)
    expected.PatientName = "A"
    assert zlib.decompress(await read(edited), wbits=-15) == encoded(expected)


async def test_a_stream_that_is_read_once(tmp_path: Path) -> None:
    whole = save_to(instance(pixels=200_000), tmp_path / "a.dcm").read_bytes()

    class Pipe(BytesIO):
        def seekable(self) -> bool:
            return False

    edited = await edit(StreamSource(Pipe(whole)), Edits({"PatientName": "A"}))
    assert edited.length is None
    assert (await read(edited)).endswith(pixel_bytes(200_000))
    with pytest.raises(DatasetError, match="can be read only once"):
        edited.open()


async def test_a_file_that_is_cut(tmp_path: Path) -> None:
    path = save_to(instance(pixels=200_000), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DatasetError, match="100 bytes of"):
        await read(await edit(FileSource(path), Edits({"PatientName": "A"})))


async def test_what_follows_other_bulk_data() -> None:
    document = struct.pack("<HH2sxxL", 0x42, 0x11, b"OB", 20_000_000) + bytes(20_000_000)
    behind = element(0x5400, 0x12, b"LO", b"x ")
    source = source_of(element(0x10, 0x10, b"PN", b"SECRET") + document + behind)
    edited = await read(await edit(source, Edits({"PatientName": "A"})), 2**20)
    assert edited == element(0x10, 0x10, b"PN", b"A ") + document + behind
    with pytest.raises(DatasetError, match=r"\(5400,0012\) cannot be edited: it is, or follows, \(0042,0011\)"):
        await edit(source, Edits(remove=["5400,0012"]))
    with pytest.raises(DatasetError, match="EncapsulatedDocument cannot be edited"):
        await edit(source, Edits(remove=["EncapsulatedDocument"]))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["JPEG2000.dcm", "MR_small_bigendian.dcm", "rtplan.dcm", "reportsi.dcm", "SC_rgb_jpeg.dcm"]
)
async def test_files_of_pydicom(name: str) -> None:
    """Elements are compared as pydicom reads them; the last one is in Implicit VR under JPEG."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    source = FileSource(path)
    before = decode(await read(source), source.transfer_syntax_uid)
    edited = await edit(source, Edits({"PatientName": "A"}, ["PatientSex"]))
    assert edited.is_mislabeled == source.is_mislabeled
    before.PatientName = "A"
    before.pop("PatientSex", None)
    assert decode(await read(edited), source.transfer_syntax_uid) == before
