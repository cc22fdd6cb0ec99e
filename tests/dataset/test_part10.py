"""File Meta Information: what we write pydicom reads, and what others write we read."""

from __future__ import annotations

import copy
import pickle
import struct
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

from dimse.dataset.codec import encode
from dimse.dataset.part10 import MAX_FILE_META, encode_file_meta, read_file_meta, read_transfer_syntax
from dimse.errors import DatasetError
from dimse.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_VR_LITTLE_ENDIAN,
    name_of,
)

CLASS, INSTANCE, SYNTAX = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5", "1.2.840.10008.1.2.1"


def sample(name: str) -> bytes:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()


def meta(**changes: str) -> bytes:
    values = {"sop_class_uid": CLASS, "sop_instance_uid": INSTANCE, "transfer_syntax_uid": SYNTAX, **changes}
    return encode_file_meta(**values)


class Dribble:
    """A stream that returns one byte per read."""

    def __init__(self, data: bytes) -> None:
        self._file = BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, 1))


def test_pydicom_reads_what_we_write() -> None:
    header = meta(source_ae_title="SOURCE", sending_ae_title="SENDER", receiving_ae_title="RECEIVER1")
    read = dcmread(BytesIO(header)).file_meta
    assert read.FileMetaInformationGroupLength == len(header) - 144
    assert read.FileMetaInformationVersion == b"\0\1"
    assert read.MediaStorageSOPClassUID == CLASS
    assert read.MediaStorageSOPInstanceUID == INSTANCE
    assert read.TransferSyntaxUID == SYNTAX
    assert read.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert read.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert read.SourceApplicationEntityTitle == "SOURCE"
    assert read.SendingApplicationEntityTitle == "SENDER"
    assert read.ReceivingApplicationEntityTitle == "RECEIVER1"
    assert [element.tag for element in read] == sorted(element.tag for element in read)
    assert "SendingApplicationEntityTitle" not in dcmread(BytesIO(meta())).file_meta


@given(st.text("0123456789.", min_size=1, max_size=64), st.binary(max_size=3000), st.booleans())
def test_round_trip(uid: str, behind: bytes, dribble: bool) -> None:
    header = meta(sop_instance_uid=uid, sending_ae_title=uid[:16])
    assert len(header) % 2 == 0
    data = header + b"\x08\0" + behind
    file = Dribble(data) if dribble else BytesIO(data)
    result = read_file_meta(file)
    assert result.sop_class_uid == CLASS
    assert result.sop_instance_uid == uid
    assert result.transfer_syntax_uid == SYNTAX
    assert result.length == len(header)
    rest = b""
    while piece := file.read(100):
        rest += piece
    assert result.peeked + rest == data[len(header) :]


@pytest.mark.parametrize("length", [None, 0, 10, 5000, 0xFFFFFFFF])
def test_a_group_length_that_is_wrong_or_missing(length: int | None) -> None:
    header = meta()
    group_length = b"" if length is None else header[132:140] + struct.pack("<L", length)
    broken = header[:132] + group_length + header[144:]
    result = read_file_meta(BytesIO(broken + b"\x08\0\x16\0UI\x02\x001\0"))
    assert result.length == len(broken)
    assert result.peeked == b"\x08\0\x16\0UI\x02\x001\0"


def test_it_can_go_to_another_process() -> None:
    found = read_file_meta(BytesIO(meta()))
    assert pickle.loads(pickle.dumps(found)) == copy.deepcopy(found) == found  # noqa: S301 - it is our own


def test_a_file_without_a_data_set() -> None:
    assert read_file_meta(BytesIO(meta())).peeked == b""


def test_every_cut_within_is_an_error() -> None:
    header = encode_file_meta(sop_class_uid=CLASS, sop_instance_uid=INSTANCE, transfer_syntax_uid=SYNTAX)
    needed = header.index(SYNTAX.encode()) + len(SYNTAX)
    for size in range(needed):
        with pytest.raises(DatasetError):
            read_file_meta(BytesIO(header[:size]))


@pytest.mark.parametrize(
    ("element", "message"),
    [(2, "missing SOP Class UID"), (3, "missing SOP Instance UID"), (16, "missing Transfer Syntax UID")],
)
def test_what_must_be_there(element: int, message: str) -> None:
    header = meta().replace(struct.pack("<HH2s", 2, element, b"UI"), struct.pack("<HH2s", 2, 0x99, b"UI"))
    with pytest.raises(DatasetError, match=message):
        read_file_meta(BytesIO(header))


def test_not_a_dicom_file() -> None:
    with pytest.raises(DatasetError, match="no DICM at byte 128"):
        read_file_meta(BytesIO(b"PK" * 200))
    with pytest.raises(DatasetError, match="it is empty"):
        read_file_meta(BytesIO())


def test_a_meta_without_end() -> None:
    private = struct.pack("<HH2sxxL", 2, 0x0102, b"OB", 2**31)
    with pytest.raises(DatasetError, match=str(MAX_FILE_META)):
        read_file_meta(BytesIO(meta() + private + bytes(2 * MAX_FILE_META)))


def test_a_uid_that_is_not_ascii_or_too_long_is_not_written() -> None:
    for uid in ("1.2.\xe9", "1" * 70000):
        with pytest.raises(DatasetError, match=r"\(0002,0003\) must be ASCII"):
            meta(sop_instance_uid=uid)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm", "JPEG2000.dcm"])
def test_files_of_others(name: str) -> None:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    expected = dcmread(path).file_meta
    result = read_file_meta(BytesIO(Path(path).read_bytes()))
    assert result.sop_instance_uid == expected.MediaStorageSOPInstanceUID
    assert result.transfer_syntax_uid == expected.TransferSyntaxUID
    assert result.length == 144 + expected.FileMetaInformationGroupLength


@pytest.mark.parametrize("start", [128, 132])
def test_without_preamble(start: int) -> None:
    """The prefix alone, or not even that."""
    behind = sample("CT_small.dcm")[-500:]
    result = read_file_meta(BytesIO(meta()[start:] + behind))
    assert result[:6] == (CLASS, INSTANCE, SYNTAX, False, None, len(meta()) - start)
    assert result.peeked == behind


@pytest.mark.parametrize("preamble", [132, 0])
@pytest.mark.parametrize("layout", ["<HHL", ">HH2sH"])
def test_a_meta_in_another_encoding(preamble: int, layout: str) -> None:
    """Implicit VR, and Explicit VR Big Endian, as some devices have it."""
    if layout.startswith(">") and not preamble:
        return
    values = ((0x0002, CLASS), (0x0003, INSTANCE), (0x0010, SYNTAX))
    header = b""
    for element, text in values:
        value = text.encode() + bytes(len(text) % 2)
        vr = () if layout == "<HHL" else (b"UI",)
        header += struct.pack(layout, 2, element, *vr, len(value)) + value
    header = meta()[:preamble] + header
    result = read_file_meta(BytesIO(header + b"\x08\0\x16\0UI\x02\x001\0"))
    assert result[:6] == ("1", INSTANCE, SYNTAX, False, None, len(header))


def test_a_meta_without_transfer_syntax() -> None:
    path = "CT_small.dcm"
    header = meta().replace(struct.pack("<HH2s", 2, 16, b"UI"), struct.pack("<HH2s", 2, 0x99, b"UI"))
    content = sample(path)
    result = read_file_meta(BytesIO(header + content[read_file_meta(BytesIO(content)).length :]))
    assert result.transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN
    assert result.warning == "missing Transfer Syntax UID (0002,0010); assuming Explicit VR Little Endian"


def test_the_uids_are_the_data_sets_own() -> None:
    path = get_testdata_file("rtplan.dcm", download=False)
    assert isinstance(path, str)
    expected = dcmread(path)
    assert expected.SOPInstanceUID != expected.file_meta.MediaStorageSOPInstanceUID
    assert read_file_meta(BytesIO(Path(path).read_bytes())).sop_instance_uid == expected.SOPInstanceUID


JPEG = "1.2.840.10008.1.2.4.50"


@pytest.mark.parametrize(
    ("named", "shown", "form"),
    [
        (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, "Implicit"),
        (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, "Explicit"),
        (JPEG, IMPLICIT_VR_LITTLE_ENDIAN, "Implicit"),
    ],
)
def test_a_data_set_in_the_other_vr_form(named: str, shown: str, form: str) -> None:
    """A native one is in the syntax that it shows; another is what it says, in a form that it cannot have."""
    dataset = dcmread(BytesIO(sample("CT_small.dcm")), stop_before_pixels=True)
    result = read_file_meta(BytesIO(meta(transfer_syntax_uid=named) + encode(dataset, shown)))
    assert result.sop_instance_uid == dataset.SOPInstanceUID
    assert result.transfer_syntax_uid == (JPEG if named == JPEG else shown)
    assert result.is_mislabeled is (named == JPEG)
    assert result.warning == f"the data set is in {form} VR, but its transfer syntax is {name_of(named)}"


def test_what_is_no_instance_needs_no_sop_uids() -> None:
    item = Dataset()
    item.PatientName, item.PatientID, item.StudyInstanceUID, item.RequestedProcedureID = "Smith", "1", "1.2", "R1"
    encoded = encode(item, EXPLICIT_VR_LITTLE_ENDIAN)
    group = struct.pack("<HH2sH", 2, 0x10, b"UI", 20) + b"1.2.840.10008.1.2.1\0"
    for head in (b"", bytes(128) + b"DICM" + group):
        assert read_transfer_syntax(BytesIO(head + encoded)) == (EXPLICIT_VR_LITTLE_ENDIAN, len(head))
    with pytest.raises(DatasetError, match="missing SOP Class UID"):
        read_file_meta(BytesIO(encoded))
