"""The scanner ends the metadata where pydicom finds the bulk data, however the bytes come in."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from dimse.dataset.encoding import PIXEL_DATA, SERIES_INSTANCE_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID
from dimse.dataset.part10 import read_file_meta
from dimse.dataset.scanner import MAX_METADATA, MAX_SEQUENCE_DEPTH, ElementScanner, check_not_cut_short
from dimse.errors import DatasetError
from dimse.uids import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN as DEFLATED
from dimse.uids import EXPLICIT_VR_BIG_ENDIAN as BIG
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN as EXPLICIT
from dimse.uids import IMPLICIT_VR_LITTLE_ENDIAN as IMPLICIT

SYNTAXES = [EXPLICIT, IMPLICIT, BIG, DEFLATED, "1.2.840.10008.1.2.4.50"]
ITEM = b"\xfe\xff\x00\xe0"
ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"
SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
UNDEFINED = b"\xff\xff\xff\xff"


def encoded(dataset: Dataset, syntax: str) -> bytes:
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = syntax == IMPLICIT, syntax != BIG
    write_dataset(file, dataset)
    data = file.getvalue()
    if syntax == DEFLATED:
        deflater = zlib.compressobj(wbits=-15)
        data = deflater.compress(data) + deflater.flush()
    return data


def explicit(tag: int, vr: bytes, value: bytes, length: bytes | None = None) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return head + b"\0\0" + (length or struct.pack("<L", len(value))) + value
    return head + struct.pack("<H", len(value)) + value


def scan(
    data: bytes, syntax: str, cuts: list[int] | None = None, maximum_metadata: int = MAX_METADATA
) -> ElementScanner:
    scanner = ElementScanner(syntax, maximum_metadata=maximum_metadata)
    for start, end in zip([0, *(cuts or [])], [*(cuts or []), len(data)], strict=True):
        if scanner.bulk is None:
            scanner.feed(data[start:end])
    scanner.finish()
    return scanner


@st.composite
def datasets(draw: st.DrawFn, depth: int = 0) -> Dataset:
    dataset = Dataset()
    if draw(st.booleans()):
        dataset.PatientName = draw(st.text("abc^", max_size=9))
    if draw(st.booleans()):
        dataset.add(DataElement(0x00091001, "OB", draw(st.binary(max_size=9))))
        dataset.add(DataElement(0x00090010, "LO", "PRIVATE"))
    if draw(st.booleans()):
        dataset.add(DataElement(0x00400400, "LT", "x" * draw(st.integers(0, 40))))
    if draw(st.booleans()):
        dataset.add(DataElement(0x00431027, "UN", draw(st.binary(max_size=7))))
    if depth < 3 and draw(st.booleans()):
        items = draw(st.lists(datasets(depth + 1), max_size=2))
        for item in items:
            item.is_undefined_length_sequence_item = draw(st.booleans())
        element = DataElement(0x00082112 if depth % 2 else 0x00081140, "SQ", Sequence(items))
        element.is_undefined_length = draw(st.booleans())
        dataset.add(element)
    if depth and draw(st.booleans()):
        icon = Dataset()
        icon.add(DataElement(PIXEL_DATA, "OW", draw(st.binary(max_size=8))))
        icon.is_undefined_length_sequence_item = True
        element = DataElement(0x00880200, "SQ", Sequence([icon]))
        element.is_undefined_length = True
        dataset.add(element)
    return dataset


@settings(max_examples=150)
@given(st.data())
def test_the_split_is_that_of_pydicom_however_it_is_fed(data: st.DataObject) -> None:
    dataset = data.draw(datasets())
    dataset.SOPInstanceUID = "1.2.3"
    dataset.StudyInstanceUID = "1.2.4"
    tag = data.draw(st.sampled_from([None, 0x7FE00008, 0x7FE00009, PIXEL_DATA]))
    syntax = data.draw(st.sampled_from(SYNTAXES))
    metadata = encoded(dataset, EXPLICIT if syntax == DEFLATED else syntax)
    if tag is not None:
        vr = {0x7FE00008: "OF", 0x7FE00009: "OD"}.get(tag, "OW")
        dataset.add(DataElement(tag, vr, bytes(data.draw(st.sampled_from([0, 8, 800])))))
        dataset.add(DataElement(0xFFFCFFFC, "OB", b"\0\0"))
        tail = b""
    else:
        tail = metadata
    stream = encoded(dataset, syntax)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=9)))

    for at in (None, list(range(1, len(stream))), cuts):
        scanner = scan(stream, syntax, at)
        assert scanner.text(SOP_INSTANCE_UID) == "1.2.3"
        assert scanner.text(STUDY_INSTANCE_UID) == "1.2.4"
        assert scanner.text(SERIES_INSTANCE_UID) is None
        assert bytes(scanner.raw) == stream[: len(scanner.raw)]
        if tag is None:
            assert scanner.bulk is None
            assert bytes(scanner.metadata) == tail
        else:
            assert scanner.bulk is not None
            assert scanner.bulk.tag == tag
            assert scanner.bulk.vr == (None if syntax == IMPLICIT else vr)
            assert scanner.bulk.length == len(dataset[tag].value)
            assert bytes(scanner.metadata[: scanner.bulk.header_offset]) == metadata


@pytest.mark.parametrize(
    "name",
    [
        *("CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "JPEG2000.dcm"),
        *("SC_rgb_rle.dcm", "liver_1frame.dcm", "reportsi.dcm", "waveform_ecg.dcm", "UN_sequence.dcm"),
        *("rtplan.dcm", "test-SR.dcm", "examples_overlay.dcm"),
    ],
)
def test_real_files(name: str) -> None:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    content = Path(path).read_bytes()
    meta = read_file_meta(BytesIO(content))
    dataset = dcmread(path)

    scanner = scan(content[meta.length :], meta.transfer_syntax_uid)

    assert scanner.text(SOP_INSTANCE_UID) == dataset.get("SOPInstanceUID")
    assert scanner.text(STUDY_INSTANCE_UID) == dataset.get("StudyInstanceUID")
    assert (scanner.bulk is None) == (PIXEL_DATA not in dataset)
    if scanner.bulk is not None:
        start = bytes(dataset.PixelData[:4])
        value = scanner.bulk.value_offset
        assert bytes(scanner.metadata[value : value + 4]) == start


def test_a_wanted_tag_has_passed_once_its_value_is_whole_or_a_later_one_begins() -> None:
    scanner = ElementScanner(EXPLICIT)
    study = explicit(STUDY_INSTANCE_UID, b"UI", b"1.2.3\0")
    scanner.feed(study[:-1])
    assert not scanner.passed(STUDY_INSTANCE_UID)
    assert scanner.text(STUDY_INSTANCE_UID) is None
    scanner.feed(study[-1:])
    assert scanner.passed(STUDY_INSTANCE_UID)
    assert scanner.text(STUDY_INSTANCE_UID) == "1.2.3"
    assert not scanner.passed(SERIES_INSTANCE_UID)
    scanner.feed(explicit(0x00200010, b"SH", b"12345678")[:8])
    assert scanner.passed(SERIES_INSTANCE_UID)
    assert scanner.text(SERIES_INSTANCE_UID) is None


def test_all_have_passed_when_the_data_set_has_ended() -> None:
    scanner = ElementScanner(EXPLICIT)
    scanner.finish()
    assert scanner.passed(SERIES_INSTANCE_UID)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
def test_cut_at_every_byte(syntax: str) -> None:
    """Between two top-level elements a data set may end; anywhere else it is cut short."""
    dataset = Dataset()
    dataset.SOPInstanceUID = "1.2.3"
    dataset.add(DataElement(0x00081140, "SQ", Sequence([Dataset()])))
    dataset[0x00081140].value[0].PatientID = "123"
    dataset[0x00081140].is_undefined_length = True
    dataset.PatientComments = "some text"
    whole = encoded(dataset, syntax)
    parts = [encoded(dataset[: element.tag], syntax) for element in dataset]
    ends = {0} if syntax == DEFLATED else {len(part) for part in parts}
    for size in range(len(whole)):
        if size in ends and syntax != DEFLATED:
            scan(whole[:size], syntax)
        else:
            with pytest.raises(DatasetError):
                scan(whole[:size], syntax)


@pytest.mark.parametrize("length", [b"\x20\0\0\0", UNDEFINED])
def test_what_would_take_the_metadata_over_its_limit_is_bulk(length: bytes) -> None:
    """A document or waveform at the top level stays out of memory, also inside a sequence without a length."""
    head = explicit(0x00080018, b"UI", b"1.2.3\0")
    if length == UNDEFINED:
        item = explicit(0x00420011, b"OB", bytes(100))
        data = head + explicit(0x54000100, b"SQ", ITEM + UNDEFINED + item + ITEM_END + SEQUENCE_END, length)
    else:
        data = head + explicit(0x54000100, b"OB", bytes(32), length)
    for cuts in (None, list(range(1, len(data)))):
        scanner = scan(data, EXPLICIT, cuts, maximum_metadata=len(head) + 30)
        assert scanner.bulk is not None
        assert scanner.bulk.tag == 0x54000100
        assert scanner.bulk.length == (None if length == UNDEFINED else 32)
        assert scanner.bulk.header_offset == len(head)
        assert scanner.bulk.value_offset == len(head) + 12


def test_un_of_undefined_length_is_implicit_inside() -> None:
    inner = struct.pack("<HHL", 0x0010, 0x0020, 4) + b"ABCD"
    inner += struct.pack("<HH", 0x0008, 0x1140) + UNDEFINED + ITEM + UNDEFINED + inner + ITEM_END + SEQUENCE_END
    data = explicit(0x00091010, b"UN", ITEM + UNDEFINED + inner + ITEM_END + SEQUENCE_END, UNDEFINED)
    scanner = scan(data + explicit(STUDY_INSTANCE_UID, b"UI", b"1.2\0"), EXPLICIT)
    assert scanner.text(STUDY_INSTANCE_UID) == "1.2"


def nested(depth: int) -> bytes:
    sequence = struct.pack("<HH2sH", 0x0008, 0x1140, b"SQ", 0) + UNDEFINED + ITEM + UNDEFINED
    return sequence * depth + (ITEM_END + SEQUENCE_END) * depth


def test_depth_bomb() -> None:
    scan(nested(MAX_SEQUENCE_DEPTH), EXPLICIT)
    with pytest.raises(DatasetError, match="nested deeper than 64"):
        scan(nested(MAX_SEQUENCE_DEPTH + 1), EXPLICIT)


def test_deflate_bombs_stay_small() -> None:
    deflater = zlib.compressobj(wbits=-15)
    bomb = deflater.compress(explicit(0x00091010, b"OB", bytes(0), struct.pack("<L", 2**30)))
    bomb += deflater.compress(bytes(2**24)) + deflater.flush()
    scanner = scan(bomb, DEFLATED, maximum_metadata=2**16)
    assert scanner.bulk is not None
    assert len(scanner.metadata) <= 2**17

    small = explicit(0x00091010, b"UT", b"x" * 8)
    deflater = zlib.compressobj(wbits=-15)
    bomb = deflater.compress(small * 2**18) + deflater.flush()
    scanner = scan(bomb, DEFLATED, maximum_metadata=2**16)
    assert scanner.bulk is not None
    assert len(scanner.metadata) <= 2**18


def test_what_is_left_inside_the_inflater_comes_out() -> None:
    """The last bytes of a deflated data set may hold more than one step of inflating."""
    for size in range(65536 - 400, 65536 + 6000, 8):
        deflater = zlib.compressobj(wbits=-15)
        data = deflater.compress(explicit(0x00091010, b"OB", bytes(size)))
        data += deflater.flush(zlib.Z_SYNC_FLUSH)
        scanner = ElementScanner(DEFLATED)
        scanner.feed(data)
        assert len(scanner.metadata) == size + 12


def test_empty_deflate_blocks_without_end() -> None:
    scanner = ElementScanner(DEFLATED, maximum_metadata=2**16)
    blocks = b"\0\0\0\xff\xff" * 10000
    for _ in range(2):
        scanner.feed(blocks)
    with pytest.raises(DatasetError, match="larger than the metadata"):
        scanner.feed(blocks)


@pytest.mark.parametrize(
    "data",
    [
        explicit(0x00100010, b"  ", b"SECRET"),
        explicit(0x00081140, b"SQ", explicit(0x00100010, b"PN", b"SECRET"), UNDEFINED),
        explicit(0x00081140, b"SQ", ITEM + UNDEFINED + SEQUENCE_END, UNDEFINED),
        explicit(0x00081140, b"SQ", ITEM + UNDEFINED + explicit(0x00100010, b"??", b"SECRET"), UNDEFINED),
        explicit(0x00081140, b"SQ", ITEM_END, UNDEFINED),
        explicit(0x00081140, b"SQ", ITEM + UNDEFINED + ITEM + UNDEFINED, UNDEFINED),
    ],
)
def test_what_is_no_data_set_is_told_by_tag_and_byte_and_without_values(data: bytes) -> None:
    with pytest.raises(DatasetError, match=r"\([0-9A-F]{4},[0-9A-F]{4}\), byte \d+$") as caught:
        ElementScanner(EXPLICIT).feed(data)
    assert "SECRET" not in str(caught.value)


def test_not_deflated_at_all() -> None:
    with pytest.raises(DatasetError, match="invalid deflated"):
        ElementScanner(DEFLATED).feed(b"\xff" * 100)


@given(st.binary(max_size=300), st.sampled_from(SYNTAXES))
def test_garbage_is_a_dataset_error_or_nothing(data: bytes, syntax: str) -> None:
    scanner = ElementScanner(syntax)
    try:
        scanner.feed(data)
        scanner.finish()
    except DatasetError:
        pass
    assert len(scanner.raw) == len(data)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_pixel_data_of_an_icon_does_not_hide_a_file_cut_short(syntax: str) -> None:
    icon = Dataset()
    icon.add_new(PIXEL_DATA, "OB", bytes(64))
    dataset = Dataset()
    dataset.IconImageSequence = Sequence([icon])
    dataset["IconImageSequence"].is_undefined_length = True
    dataset.add_new(PIXEL_DATA, "OW", bytes(100))
    data = encoded(dataset, syntax)
    assert check_not_cut_short(memoryview(data), len(data), syntax) is not None
    for length in range(9, data.index(SEQUENCE_END) + 8):
        with pytest.raises(DatasetError):
            check_not_cut_short(memoryview(data)[:length], length, syntax)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_data_set_that_ends_with_its_pixel_data_is_whole(syntax: str) -> None:
    dataset = Dataset()
    dataset.SOPInstanceUID = "1.2.3"
    dataset.add_new(PIXEL_DATA, "OW", bytes(100))
    data = encoded(dataset, syntax)
    check_not_cut_short(memoryview(data), len(data), syntax)
    for missing in (1, 2, 50):
        with pytest.raises(DatasetError, match="truncated"):
            check_not_cut_short(memoryview(data)[:-missing], len(data) - missing, syntax)


def other_form(data: Dataset, syntax: str) -> bytes:
    return encoded(data, EXPLICIT if syntax == IMPLICIT else IMPLICIT)


def sample() -> Dataset:
    dataset = Dataset()
    dataset.SOPInstanceUID, dataset.StudyInstanceUID = "1.2.3", "1.2.4"
    dataset.add(DataElement(PIXEL_DATA, "OW", bytes(8)))
    return dataset


@pytest.mark.parametrize("in_bytes", [True, False])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, "1.2.840.10008.1.2.4.50"])
def test_the_first_header_shows_the_form(syntax: str, in_bytes: bool) -> None:
    stream = other_form(sample(), syntax)
    scanner = scan(stream, syntax, list(range(1, len(stream))) if in_bytes else None)
    assert scanner.is_mislabeled
    assert scanner.implicit == (syntax != IMPLICIT)
    assert scanner.text(SOP_INSTANCE_UID) == "1.2.3"
    assert scanner.text(STUDY_INSTANCE_UID) == "1.2.4"
    assert scanner.bulk is not None
    assert scanner.bulk.tag == PIXEL_DATA
    assert not scan(encoded(sample(), syntax), syntax).is_mislabeled


@pytest.mark.parametrize("following", [b"\x08\x00\x16\x00UI\x02\x001\0", b""])
def test_an_empty_element_shows_its_form_by_what_follows(following: bytes) -> None:
    empty = explicit(0x00080005, b"CS", b"")
    scanner = scan(empty + following, IMPLICIT)
    assert scanner.is_mislabeled
    assert not scanner.implicit


def test_a_length_that_reads_as_a_vr_is_a_length() -> None:
    value = b"1.2.3\\" * 3384 + b"1.2.3\0"  # of 0x4F56 bytes would be "VO"
    value = value.ljust(int.from_bytes(b"LO", "little"), b"4")
    scanner = scan(struct.pack("<HHL", 8, 0x58, len(value)) + value, IMPLICIT)
    assert not scanner.is_mislabeled
    assert scanner.implicit


def test_sc_rgb_jpeg_has_no_vrs() -> None:
    path = get_testdata_file("SC_rgb_jpeg.dcm", download=False)
    assert isinstance(path, str)
    content = Path(path).read_bytes()
    meta = read_file_meta(BytesIO(content))
    scanner = scan(content[meta.length :], meta.transfer_syntax_uid)
    assert scanner.is_mislabeled
    assert scanner.implicit
    with pytest.warns(UserWarning, match="found implicit VR"):
        assert scanner.text(STUDY_INSTANCE_UID) == str(dcmread(path).StudyInstanceUID)
    assert scanner.bulk is not None
    assert scanner.bulk[:3] == (PIXEL_DATA, None, None)


@pytest.mark.parametrize("in_bytes", [True, False])
@pytest.mark.parametrize(
    ("syntax", "vr", "in_explicit"),
    [(EXPLICIT, b"UN", True), (EXPLICIT, b"SQ", False), (IMPLICIT, b"", True)],
)
def test_the_first_element_of_an_item_shows_its_form(syntax: str, vr: bytes, in_explicit: bool, in_bytes: bool) -> None:
    innermost, nested = Dataset(), Dataset()
    innermost.ReferencedSOPInstanceUID = nested.ReferencedSOPInstanceUID = "1.2.3"
    innermost.is_undefined_length_sequence_item = True
    nested.add(DataElement(0x00400275, "SQ", Sequence([innermost])))
    nested[0x00400275].is_undefined_length = True
    head = struct.pack("<HH", 0x0008, 0x1140) + (vr + b"\0\0" if vr else b"") + UNDEFINED
    item = ITEM + UNDEFINED + encoded(nested, EXPLICIT if in_explicit else IMPLICIT) + ITEM_END
    first, last = Dataset(), Dataset()
    first.SOPInstanceUID, last.StudyInstanceUID = "1.2.3", "1.2.4"
    stream = encoded(first, syntax) + head + item + item + SEQUENCE_END + encoded(last, syntax)
    scanner = scan(stream, syntax, list(range(1, len(stream))) if in_bytes else None)
    assert scanner.mislabeled_items == 0x00081140
    assert not scanner.is_mislabeled
    assert scanner.text(STUDY_INSTANCE_UID) == "1.2.4"


@pytest.mark.parametrize("in_bytes", [True, False])
@pytest.mark.parametrize("surplus", [bytes(2), bytes(8), bytes(4096), ITEM_END, SEQUENCE_END + bytes(12)])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_zeros_and_delimiters_behind_the_last_element(syntax: str, surplus: bytes, in_bytes: bool) -> None:
    dataset = Dataset()
    dataset.SOPInstanceUID, dataset.PatientID = "1.2.3", "4711"
    whole = encoded(dataset, syntax)
    if syntax == BIG:
        for little, big in ((b"\xfe\xff", b"\xff\xfe"), (b"\x0d\xe0", b"\xe0\x0d"), (b"\xdd\xe0", b"\xe0\xdd")):
            surplus = surplus.replace(little, big)
    stream = whole + surplus
    scanner = scan(stream, syntax, list(range(1, len(stream))) if in_bytes else None)
    assert scanner.surplus == len(whole)
    assert scanner.text(SOP_INSTANCE_UID) == "1.2.3"


def test_zeros_in_small_pieces_are_looked_at_once() -> None:
    """All of them again for each piece took ten seconds."""
    scanner, piece = ElementScanner(EXPLICIT), bytes(4)
    scanner.feed(explicit(0x00100020, b"LO", b"4711"))
    start = process_time()
    for _ in range(100_000):
        scanner.feed(piece)
    scanner.finish()
    assert process_time() - start < 2


@pytest.mark.parametrize("behind", [ITEM_END + b"\x10\0\x20\0", bytes(8) + b"x", bytes(9) + b"\1" * 8, bytes(2**21)])
def test_what_is_no_surplus(behind: bytes) -> None:
    with pytest.raises(DatasetError, match=r"unexpected data after|in or after"):
        scan(explicit(0x00100020, b"LO", b"4711") + behind, EXPLICIT)
