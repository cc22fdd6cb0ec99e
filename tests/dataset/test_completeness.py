"""A truncated data set is noticed wherever it ends, and however it arrives."""

from __future__ import annotations

import zlib
from struct import pack

import pytest

from dimse.dataset.completeness import MAX_INFLATED_HEADERS, IncompleteDataset, StreamedDataset
from dimse.dataset.encoding import SEQUENCE_END_HEADER, item_header
from dimse.errors import DatasetError
from dimse.uids import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN


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


def streamed(data: bytes, step: int, transfer_syntax_uid: str = EXPLICIT_VR_LITTLE_ENDIAN) -> StreamedDataset:
    dataset = StreamedDataset(transfer_syntax_uid)
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
    longer = long(0x7FE00010, b"OB", 8) + b"12345678"
    assert streamed(METADATA + longer, 1000).malformed is None


def image(**values: bytes | int) -> bytes:
    """The description of an image, in the order of its tags."""
    tags = {"samples": 0x00280002, "kind": 0x00280004, "frames": 0x00280008, "rows": 0x00280010}
    tags |= {"columns": 0x00280011, "bits": 0x00280100}
    defaults: dict[str, bytes | int] = {"rows": 2, "columns": 3, "bits": 8}
    described = defaults | values
    return short(0x00080018, b"UI", b"1.2.3\0") + b"".join(
        short(tag, b"US", pack("<H", value)) if isinstance(value, int) else short(tag, b"IS", value)
        for name, tag in tags.items()
        if (value := described.get(name)) is not None
    )


@pytest.mark.parametrize(
    ("description", "length"),
    [
        (image(), 6),
        (image(samples=3), 18),
        (image(bits=1), 1),
        (image(bits=16), 12),
        (image(frames=b"+2"), 12),
        (image(frames=b"0 "), 6),
        (image(frames=b"12345678901234"), 6),
        (image(samples=3, kind=b"YBR_FULL_422", columns=2), 8),
        (image(samples=3, kind=b"YBR_PARTIAL_420 ", columns=2), 6),
    ],
    ids=["plain", "samples", "bits", "two bytes", "frames", "no frames", "too many frames", "4:2:2", "4:2:0"],
)
def test_how_long_native_pixel_data_must_be(description: bytes, length: int) -> None:
    dataset = StreamedDataset(EXPLICIT_VR_LITTLE_ENDIAN)
    dataset.feed(memoryview(description + long(0x7FE00010, b"OB", 1000)))
    assert dataset.native_length() == length


@pytest.mark.parametrize(("tag", "length"), [(0x7FE00008, 24), (0x7FE00009, 48)])
def test_pixel_data_of_floating_point_numbers(tag: int, length: int) -> None:
    assert streamed(METADATA + long(tag, b"OF", length) + bytes(length), 1000).malformed is None
    with pytest.raises(IncompleteDataset, match=f"requires {length}"):
        streamed(METADATA + long(tag, b"OF", length - 2) + bytes(length - 2), 1000)


@pytest.mark.parametrize(
    "description",
    [image(bits=1, columns=8, frames=b"2 "), image(bits=12, rows=1, columns=1, frames=b"3 ")],
    ids=["bits", "no whole bytes"],
)
def test_frames_that_may_begin_within_a_byte(description: bytes) -> None:
    dataset = StreamedDataset(EXPLICIT_VR_LITTLE_ENDIAN)
    dataset.feed(memoryview(description + long(0x7FE00010, b"OB", 6)))
    with pytest.raises(DatasetError, match="does not determine where frames begin"):
        dataset.frame_splitter()


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_surplus_at_the_end(step: int) -> None:
    for surplus in (b"\0", bytes(100), SEQUENCE_END_HEADER * 2):
        dataset = streamed(METADATA + NATIVE + surplus, step)
        assert dataset.malformed is None
        assert dataset.has_surplus is (len(surplus) > 1)
    malformed = streamed(METADATA + NATIVE + bytes(10) + TAIL, step).malformed
    assert str(malformed) == "unexpected data after (7FE0,0010)"


def test_one_zero_may_begin_a_big_endian_tag() -> None:
    pixels = pack(">HH2sxxL", 0x7FE0, 0x0010, b"OB", 4) + b"data"
    with pytest.raises(IncompleteDataset, match="truncated in or after"):
        streamed(pixels + b"\0", 1000, EXPLICIT_VR_BIG_ENDIAN)


@pytest.mark.parametrize(
    ("fragments", "message"),
    [
        (item_header(4) + b"abcd", "has no sequence delimiter"),
        (item_header(4) + b"abcd" + TAIL, "has no sequence delimiter"),
        (item_header(0xFFFFFFFF) + b"abcd" + SEQUENCE_END_HEADER, "has a fragment of undefined length"),
        (pack("<HHL", 0xFFFE, 0xE00D, 0) + SEQUENCE_END_HEADER, "unexpected delimiter in"),
    ],
    ids=["no delimiter", "an element", "an undefined length", "the end of an item"],
)
def test_fragments_without_an_end(fragments: bytes, message: str) -> None:
    with pytest.raises(IncompleteDataset, match=rf"\(7FE0,0010\) {message}|{message} \(7FE0,0010\)"):
        streamed(METADATA + long(0x7FE00010, b"OB", 0xFFFFFFFF) + item_header(0) + fragments, 5)


ITEM, ITEM_END = item_header(0xFFFFFFFF), pack("<HHL", 0xFFFE, 0xE00D, 0)


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize(
    ("vr", "element"),
    [
        (b"SQ", TAIL),
        (b"SQ", pack("<HHL", 8, 0x16, 4) + b"1.2\0"),
        (b"UN", pack("<HHL", 8, 0x16, 0x2020) + bytes(0x2020)),
    ],
    ids=["sequence", "item in implicit VR", "UN in implicit VR"],
)
def test_a_sequence_after_the_pixel_data(vr: bytes, element: bytes, step: int) -> None:
    sequence = long(0x7FE10010, vr, 0xFFFFFFFF) + ITEM + element + ITEM_END + SEQUENCE_END_HEADER
    data = METADATA + NATIVE + sequence
    assert streamed(data, step).malformed is None
    with pytest.raises(IncompleteDataset, match=r"truncated in or after \(7FE1,0010\)"):
        streamed(data[:-8], step)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TAIL, "expected an item in (7FE1,0010)"),
        (ITEM + SEQUENCE_END_HEADER, "unexpected item or delimiter in (7FE1,0010)"),
        ((ITEM + long(0x00081140, b"SQ", 0xFFFFFFFF)) * 65, "sequences nested deeper than 64 at (0008,1140)"),
    ],
    ids=["no item", "a sequence that ends in its item", "too deep"],
)
def test_a_malformed_sequence_after_the_pixel_data(content: bytes, message: str) -> None:
    malformed = streamed(METADATA + NATIVE + long(0x7FE10010, b"SQ", 0xFFFFFFFF) + content, 1000).malformed
    assert str(malformed) == message


def test_a_deflated_data_set() -> None:
    def deflated(data: bytes) -> bytes:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return deflater.compress(data) + deflater.flush()

    whole = deflated(METADATA + NATIVE + TAIL)
    assert streamed(whole, 5, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN).malformed is None
    with pytest.raises(IncompleteDataset, match="the deflated data set is truncated"):
        streamed(whole[:-1], 5, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)
    malformed = deflated(METADATA + NATIVE + short(0x7FE10010, b"??", b"12"))
    with pytest.raises(IncompleteDataset, match="invalid value representation"):
        streamed(malformed, 1000, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)


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


def test_a_deflated_data_set_has_a_limited_number_of_elements() -> None:
    """A thousandth of the bytes makes them, so they would cost their sender almost nothing."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = METADATA + NATIVE + short(0x7FE10010, b"SH", b"") * (MAX_INFLATED_HEADERS + 1)
    bomb = deflater.compress(data) + deflater.flush()
    assert len(bomb) < len(data) / 500
    with pytest.raises(IncompleteDataset, match=f"more than {MAX_INFLATED_HEADERS} elements"):
        streamed(bomb, 1000, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)
