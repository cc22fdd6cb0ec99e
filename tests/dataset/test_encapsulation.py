"""Odd fragments, and data sets in Implicit VR under a compressed syntax, go out as they must be (PS3.5 A.4)."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from tests.dataset.sample_sources import sent
from tests.sample_objects import instance

from dimse.dataset.codec import decode, encode
from dimse.dataset.part10 import encode_file_meta
from dimse.dataset.sources import DatasetSource, FileSource, MemorySource, StreamSource
from dimse.dataset.transcode import mend
from dimse.errors import DatasetError
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN

JPEG = "1.2.840.10008.1.2.4.50"
END = b"\xfe\xff\xdd\xe0\0\0\0\0"
PADDING = struct.pack("<HH2sxxL", 0xFFFC, 0xFFFC, b"OB", 4) + b"\0" * 4


def item(value: bytes) -> bytes:
    return b"\xfe\xff\0\xe0" + struct.pack("<L", len(value)) + value


def metadata(**values: object) -> bytes:
    dataset = instance(pixels=0)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return encode(dataset, EXPLICIT_VR_LITTLE_ENDIAN)


def data_of(*fragments: bytes, table: bytes = b"", before: bytes | None = None, behind: bytes = b"") -> bytes:
    header = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff"
    before = metadata(NumberOfFrames=len(fragments)) if before is None else before
    return before + header + item(table) + b"".join(map(item, fragments)) + END + behind


def offsets(*values: int, size: str = "L") -> bytes:
    return struct.pack(f"<{len(values)}{size}", *values)


class Pipe(BytesIO):
    """A stream that cannot seek."""

    def seekable(self) -> bool:
        return False


def source_of(data: bytes, kind: str) -> DatasetSource:
    uids = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2", "sop_instance_uid": "1.2.3.4", "transfer_syntax_uid": JPEG}
    if kind == "memory":
        return MemorySource([data], **uids)
    return StreamSource(Pipe(encode_file_meta(**uids) + data), "it")


KINDS = ["memory", "pipe"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("behind", [b"", PADDING])
async def test_an_odd_last_fragment_is_padded_inside(kind: str, behind: bytes) -> None:
    fragments = (b"even", b"last one!")
    data = data_of(*fragments, table=offsets(0, 12), behind=behind)
    expected = data_of(b"even", b"last one!\0", table=offsets(0, 12), behind=behind)
    mended = await mend(source_of(data, kind))
    assert await sent(mended) == expected
    if kind == "memory":
        assert await sent(mended) == expected


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_even_already_stays_as_it_is(kind: str) -> None:
    data = data_of(b"even", b"also", table=offsets(0, 12), behind=PADDING)
    assert await sent(await mend(source_of(data, kind))) == data


@pytest.mark.parametrize("kind", KINDS)
async def test_odd_fragments_before_the_last(kind: str) -> None:
    data, expected = data_of(b"one", b"two", b"three", b"four"), data_of(b"one\0", b"two\0", b"three\0", b"four")
    assert await sent(await mend(source_of(data, kind))) == expected


async def test_the_basic_offset_table_follows() -> None:
    data = data_of(b"one", b"four", b"five5", table=offsets(0, 11, 23))
    mended = await sent(await mend(source_of(data, "memory")))
    assert mended == data_of(b"one\0", b"four", b"five5\0", table=offsets(0, 12, 24))
    pixels = decode(mended, JPEG).PixelData
    assert list(generate_frames(pixels, number_of_frames=3)) == [b"one\0", b"four", b"five5\0"]


async def test_the_extended_offset_table_goes_where_it_would_be_wrong() -> None:
    def before(**values: object) -> bytes:
        return metadata(NumberOfFrames=2, **values)

    tables = {"ExtendedOffsetTable": offsets(0, 11, size="Q"), "ExtendedOffsetTableLengths": offsets(3, 3, size="Q")}
    data = data_of(b"one", b"two", b"!", before=before(**tables))
    assert await sent(await mend(source_of(data, "memory"))) == data_of(b"one\0", b"two\0", b"!\0", before=before())
    data = data_of(b"four", b"two", before=before(**tables))
    assert await sent(await mend(source_of(data, "memory"))) == data_of(b"four", b"two\0", before=before(**tables))


async def test_offsets_in_what_is_read_only_once_cannot_follow() -> None:
    data = data_of(b"one", b"two", table=offsets(0, 11))
    with pytest.raises(DatasetError, match=r"it: a fragment before the last has an odd length"):
        await sent(await mend(source_of(data, "pipe")))


async def test_an_odd_value_before_the_pixel_data() -> None:
    comment = struct.pack("<HH2sH", 0x0020, 0x4000, b"LT", 3) + b"odd"
    data = data_of(b"even", before=comment)
    padded = struct.pack("<HH2sH", 0x0020, 0x4000, b"LT", 4) + b"odd "
    assert await sent(await mend(source_of(data, "memory"))) == data_of(b"even", before=padded)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_odd_surplus_goes(kind: str) -> None:
    data = data_of(b"even", behind=PADDING)
    assert await sent(await mend(source_of(data + bytes(3), kind))) == data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 9, 20, 30])
async def test_cut_short(kind: str, size: int) -> None:
    data = data_of(b"a longer fragment")[: -len(END) - size]
    with pytest.raises(DatasetError, match=r"truncated: \d+ bytes missing|no Basic Offset Table"):
        await sent(await mend(source_of(data, kind)))


@pytest.mark.parametrize("kind", KINDS)
async def test_without_its_delimiter_a_whole_fragment_lacks_nothing(kind: str) -> None:
    data = data_of(b"odd")
    assert await sent(await mend(source_of(data[: -len(END)], kind))) == data_of(b"odd\0")


@pytest.mark.parametrize("kind", KINDS)
async def test_no_fragment_where_one_must_be(kind: str) -> None:
    data = data_of(b"even", b"odd").replace(END, b"\xfe\xff\x0d\xe0\0\0\0\0")
    with pytest.raises(DatasetError, match="expected a fragment"):
        await sent(await mend(source_of(data, kind)))


@pytest.mark.filterwarnings("ignore:Expected explicit VR, but found implicit VR")  # by pydicom, of the original
async def test_implicit_vr_under_a_compressed_syntax_becomes_explicit(caplog: pytest.LogCaptureFixture) -> None:
    path = get_testdata_file("SC_rgb_jpeg.dcm", download=False)
    assert isinstance(path, str)
    source = FileSource(path)
    assert source.is_mislabeled
    assert caplog.messages == [
        f"{path}: the data set is in Implicit VR, but its transfer syntax is JPEG Baseline (Process 1)"
    ]
    mended = await mend(source)
    assert not mended.is_mislabeled
    assert decode(await sent(mended), EXPLICIT_VR_LITTLE_ENDIAN) == dcmread(path)
