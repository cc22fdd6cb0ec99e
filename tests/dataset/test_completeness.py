"""A truncated data set is noticed wherever it ends, and however it arrives."""

from __future__ import annotations

from struct import pack

import pytest

from dimse.dataset.completeness import IncompleteDataset, StreamedDataset
from dimse.dataset.encoding import SEQUENCE_END_HEADER, item_header
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN


def short(tag: int, vr: bytes, value: bytes) -> bytes:
    return pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def long(tag: int, vr: bytes, length: int) -> bytes:
    return pack("<HH2sxxL", tag >> 16, tag & 0xFFFF, vr, length)


METADATA = (
    short(0x00080018, b"UI", b"1.2.3\0")
    + short(0x00280010, b"US", b"\2\0")
    + short(0x00280011, b"US", b"\3\0")
    + short(0x00280100, b"US", b"\x08\0")
)
NATIVE = long(0x7FE00010, b"OB", 6) + b"pixels"
FRAGMENTS = long(0x7FE00010, b"OB", 0xFFFFFFFF) + item_header(0) + item_header(4) + b"abcd" + SEQUENCE_END_HEADER
TAIL = short(0xFFFCFFFC, b"SH", b"tail")


def streamed(data: bytes, step: int) -> StreamedDataset:
    dataset = StreamedDataset(EXPLICIT_VR_LITTLE_ENDIAN)
    for start in range(0, len(data), step):
        dataset.feed(memoryview(data)[start : start + step])
    dataset.finish()
    return dataset


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize(("pixels", "value_end"), [(NATIVE, 6), (FRAGMENTS, 20)])
def test_a_complete_data_set(pixels: bytes, value_end: int, step: int) -> None:
    dataset = streamed(METADATA + pixels + TAIL, step)
    assert dataset.malformed is None
    assert not dataset.has_surplus
    assert dataset.value_end == value_end


@pytest.mark.parametrize("pixels", [NATIVE, FRAGMENTS])
def test_a_data_set_may_end_only_between_elements(pixels: bytes) -> None:
    data = METADATA + pixels + TAIL
    for end in range(len(METADATA) + 1, len(data)):
        if end == len(METADATA + pixels):
            streamed(data[:end], 5)
            continue
        with pytest.raises(IncompleteDataset):
            streamed(data[:end], 5)


def test_pixel_data_shorter_than_its_description() -> None:
    pixels = long(0x7FE00010, b"OB", 4) + b"1234"
    with pytest.raises(IncompleteDataset, match=r"\(7FE0,0010\) has 4 bytes, but its description requires 6"):
        streamed(METADATA + pixels, 1000)


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (short(0x7FE10010, b"??", b"12"), "invalid value representation at (7FE1,0010)"),
        (long(0x7FE00010, b"OB", 0), "(7FE0,0010) appears twice"),
        (item_header(0), "unexpected item after (7FE0,0010)"),
    ],
    ids=["no VR", "twice", "an item"],
)
def test_a_fault_of_form_is_not_a_missing_part(after: bytes, message: str) -> None:
    malformed = streamed(METADATA + NATIVE + after, 1000).malformed
    assert malformed is not None
    assert not isinstance(malformed, IncompleteDataset)
    assert str(malformed) == message
