"""A data set in another transfer syntax is the same data set: pydicom is the judge."""

from __future__ import annotations

import zlib
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from pydicom import Dataset, dcmread
from pydicom.filereader import read_dataset
from tests.dataset.sample_sources import memory, path_of, sent

from dimse.dataset import derived
from dimse.dataset.codec import encode
from dimse.dataset.scanner import MAX_METADATA, ElementScanner
from dimse.dataset.sources import DatasetSource, FileSource, MemorySource, StreamSource
from dimse.dataset.transcode import mend, reencode
from dimse.errors import DatasetError
from dimse.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

OTHER = {
    EXPLICIT_VR_LITTLE_ENDIAN: IMPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN: EXPLICIT_VR_LITTLE_ENDIAN,
}


def decoded(data: bytes, syntax: str) -> Dataset:
    return read_dataset(BytesIO(data), syntax == IMPLICIT_VR_LITTLE_ENDIAN, syntax != EXPLICIT_VR_BIG_ENDIAN)


class Pipe(BytesIO):
    """A stream that cannot seek."""

    def seekable(self) -> bool:
        return False


FILES = [
    *("CT_small.dcm", "MR_small_implicit.dcm", "MR_small.dcm", "rtplan.dcm", "reportsi.dcm", "examples_palette.dcm"),
    *("SC_rgb_small_odd.dcm", "rtdose.dcm", "liver_1frame.dcm", "examples_overlay.dcm", "test-SR.dcm"),
]


@pytest.mark.parametrize("name", FILES)
async def test_explicit_and_implicit(name: str) -> None:
    source = FileSource(path_of(name))
    target = OTHER[source.transfer_syntax_uid]
    original = dcmread(path_of(name))

    result = await reencode(source, target)
    assert result.transfer_syntax_uid == target
    assert result.sop_instance_uid == source.sop_instance_uid
    data = await sent(result)
    assert data == await sent(result)
    back = await sent(await reencode(memory(data, target), source.transfer_syntax_uid))

    for read in (decoded(data, target), decoded(back, source.transfer_syntax_uid)):
        for element in original:
            if element.tag.element == 0:
                continue  # retired group lengths are not written (PS3.5 7.2)
            if element.tag.is_private or element.VR == "UN" or element.VR == "SQ":
                assert element.tag in read
            else:
                assert read[element.tag].value == element.value


async def test_the_length_is_known_if_nothing_follows_the_pixel_data() -> None:
    assert (await reencode(FileSource(path_of("MR_small_implicit.dcm")), EXPLICIT_VR_LITTLE_ENDIAN)).length
    # CT_small has padding behind its pixel data, whose length in the other syntax shows when it is read.
    assert (await reencode(FileSource(path_of("CT_small.dcm")), IMPLICIT_VR_LITTLE_ENDIAN)).length is None


async def read_all(source: DatasetSource) -> bytes:
    buffer = memoryview(bytearray(1 << 20))
    reader = source.open()
    try:
        return bytes(buffer[: await reader.read_into(buffer)])
    finally:
        reader.close()


async def test_an_odd_deflated_data_set_gets_its_padding_byte() -> None:
    source = FileSource(path_of("image_dfl.dcm"))
    assert source.length % 2
    padded = await mend(source)
    assert padded.length == source.length + 1
    assert await read_all(padded) == await read_all(source) + b"\0"


async def test_an_odd_native_data_set_gets_even_values() -> None:
    odd = b"\x10\x00\x10\x00PN\x03\x00A^B" + b"\x10\x00\x20\x00LO\x02\x00ID"
    source = MemorySource(
        [odd], sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN
    )
    expected = b"\x10\x00\x10\x00PN\x04\x00A^B " + b"\x10\x00\x20\x00LO\x02\x00ID"
    assert await read_all(await mend(source)) == expected


async def test_an_odd_big_endian_data_set_cannot_be_sent() -> None:
    with pytest.raises(DatasetError, match="odd length"):
        await mend(memory(b"odd", EXPLICIT_VR_BIG_ENDIAN))


@pytest.mark.parametrize("target", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
async def test_deflated(target: str) -> None:
    source = FileSource(path_of("image_dfl.dcm"))
    result = await reencode(source, target)
    assert result.length is None
    for _ in range(2):
        read = decoded(await sent(result), target)
        read["PixelData"].VR = "OB"
        assert read == dcmread(path_of("image_dfl.dcm"))


async def test_deflated_and_broken() -> None:
    for data, message in ((b"\xff" * 99, "invalid deflated"), (b"\x01\x04\x00\xfb\xff12", "truncated")):
        source = await reencode(memory(data, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN)
        with pytest.raises(DatasetError, match=message):
            await sent(source)


async def test_a_deflate_bomb_passes_in_small_pieces() -> None:
    deflater = zlib.compressobj(wbits=-15)
    data = deflater.compress(bytes(2**24)) + deflater.flush()
    source = await reencode(memory(data, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN)
    reader, buffer, total = source.open(), memoryview(bytearray(1000)), 0
    while count := await reader.read_into(buffer):
        total += count
        assert len(reader._piece) <= 64 * 1024  # type: ignore[attr-defined]
    assert total == 2**24


async def test_a_source_that_is_read_once() -> None:
    content = Path(path_of("CT_small.dcm")).read_bytes()  # noqa: ASYNC240
    source = StreamSource(cast("BinaryIO", Pipe(content)), "a pipe")
    result = await reencode(source, IMPLICIT_VR_LITTLE_ENDIAN)
    expected = await sent(await reencode(FileSource(path_of("CT_small.dcm")), IMPLICIT_VR_LITTLE_ENDIAN))
    assert await sent(result) == expected
    with pytest.raises(DatasetError, match="only once"):
        result.open()


@pytest.mark.parametrize(("tag", "vr"), [(0x7FE00010, "OW"), (0x7FE00008, "OF"), (0x7FE00009, "OD")])
async def test_pixels_of_every_kind(tag: int, vr: str) -> None:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = "Müller"
    dataset.BitsAllocated, dataset.PixelRepresentation, dataset.SmallestImagePixelValue = 8, 1, -5
    dataset.add_new(tag, vr, bytes(range(200)) * 1000)
    dataset.DataSetTrailingPadding = b"\0\0"
    data = encode(dataset, IMPLICIT_VR_LITTLE_ENDIAN)
    result = await sent(await reencode(memory(data, IMPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN))
    assert decoded(result, EXPLICIT_VR_LITTLE_ENDIAN) == dataset
    assert vr == decoded(result, EXPLICIT_VR_LITTLE_ENDIAN)[tag].VR


async def test_a_large_document_passes_as_it_comes() -> None:
    dataset = Dataset()
    dataset.PatientID = "1"
    dataset.EncapsulatedDocument = bytes(MAX_METADATA + 2)
    data = encode(dataset, IMPLICIT_VR_LITTLE_ENDIAN)
    result = await reencode(memory(data, IMPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN)
    assert result.length == len(data) + 4 + 0
    reader = result.open()
    head = memoryview(bytearray(100))
    await reader.read_into(head)
    assert b"\x42\x00\x11\x00OB\0\0" in bytes(head)


@pytest.mark.parametrize("source", OTHER)
async def test_a_large_sequence_is_refused(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset()
    dataset.ReferencedImageSequence = [Dataset()]
    dataset.ReferencedImageSequence[0].PatientComments = "x" * 1000
    monkeypatch.setattr(
        derived, "ElementScanner", lambda syntax, wanted: ElementScanner(syntax, wanted=wanted, maximum_metadata=500)
    )
    with pytest.raises(DatasetError, match=r"1\.2\.3: \(0008,1140\) cannot be converted to .* not pixel data"):
        await reencode(memory(encode(dataset, source), source), OTHER[source])


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("JPEG2000.dcm", EXPLICIT_VR_LITTLE_ENDIAN),
        ("CT_small.dcm", EXPLICIT_VR_BIG_ENDIAN),
        ("CT_small.dcm", "1.2.840.10008.1.2.4.50"),
    ],
)
async def test_what_would_need_other_pixels_is_refused(name: str, target: str) -> None:
    with pytest.raises(DatasetError, match=f"{name}: cannot be converted from .* to"):
        await reencode(FileSource(path_of(name)), target)


@pytest.mark.parametrize("missing", [2, 1000])
async def test_a_source_that_is_cut_short(missing: int) -> None:
    data = await sent(FileSource(path_of("MR_small_implicit.dcm")))
    with pytest.raises(DatasetError, match=f"truncated: {missing} bytes missing"):
        await reencode(memory(data[:-missing], IMPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN)
    unknown = memory(data[:-missing], IMPLICIT_VR_LITTLE_ENDIAN)
    unknown.length = None
    with pytest.raises(DatasetError, match=f"truncated: {missing} bytes missing"):
        await sent(await reencode(unknown, EXPLICIT_VR_LITTLE_ENDIAN))


async def test_metadata_that_is_cut_short() -> None:
    source = FileSource(path_of("rtplan_truncated.dcm"))
    with pytest.raises(DatasetError, match=r"rtplan_truncated\.dcm: "):
        await reencode(source, EXPLICIT_VR_LITTLE_ENDIAN)


SURPLUS = {
    "an item delimiter": b"\xfe\xff\x0d\xe0\0\0\0\0",
    "two delimiters": b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0",
    **{f"{count} zeros": bytes(count) for count in (1, 2, 3, 8, 12, 4096)},
}


@pytest.mark.parametrize("surplus", SURPLUS.values(), ids=SURPLUS)
@pytest.mark.parametrize("name", ["MR_small.dcm", "CT_small.dcm", "rtplan.dcm"])
@pytest.mark.parametrize("target", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
async def test_what_is_behind_the_last_element_goes(name: str, surplus: bytes, target: str) -> None:
    """With pixel data at the end, with an element behind them, and without any."""
    source = FileSource(path_of(name))
    data = await sent(source)
    expected = await sent(await reencode(memory(data, source.transfer_syntax_uid), target))
    assert await sent(await reencode(memory(data + surplus, source.transfer_syntax_uid), target)) == expected


async def test_trailing_elements_that_are_cut_short() -> None:
    data = await sent(FileSource(path_of("CT_small.dcm")))
    source = await reencode(memory(data[:-3], EXPLICIT_VR_LITTLE_ENDIAN), IMPLICIT_VR_LITTLE_ENDIAN)
    with pytest.raises(DatasetError, match=r"truncated in .* \(FFFC,FFFC\)"):
        await sent(source)
