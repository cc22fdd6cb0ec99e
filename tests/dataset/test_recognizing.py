"""DICOM files are recognized without preamble or File Meta Information; other files are not taken for them."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from tests.dataset.test_part10 import Dribble, meta, sample

from dimse.dataset.part10 import FileMeta, read_file_meta
from dimse.dataset.recognizing import NotDicom
from dimse.errors import DatasetError
from dimse.uids import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    name_of,
)


@pytest.mark.parametrize("content", [sample("no_meta.dcm"), meta()[:128] + b"DCM2" + meta()[132:]])
def test_what_may_be_a_damaged_file_is_not_just_something_else(content: bytes) -> None:
    """The first begins with half an element."""
    with pytest.raises(DatasetError, match="no DICM at byte 128, but the file contains DICOM UIDs") as raised:
        read_file_meta(BytesIO(content))
    assert not isinstance(raised.value, NotDicom)


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("ExplVR_LitEndNoMeta.dcm", EXPLICIT_VR_LITTLE_ENDIAN),
        ("ExplVR_BigEndNoMeta.dcm", EXPLICIT_VR_BIG_ENDIAN),
        ("rtstruct.dcm", IMPLICIT_VR_LITTLE_ENDIAN),
    ],
)
def test_without_meta_the_first_element_shows_the_syntax(name: str, syntax: str) -> None:
    content = sample(name)
    expected = dcmread(BytesIO(content), force=True)
    assert read_file_meta(BytesIO(content)) == FileMeta(
        sop_class_uid=expected.SOPClassUID,
        sop_instance_uid=expected.SOPInstanceUID,
        transfer_syntax_uid=syntax,
        is_mislabeled=False,
        warning=f"missing Transfer Syntax UID (0002,0010); assuming {name_of(syntax)}",
        length=0,
        peeked=content[:1024],
    )


def test_uids_far_from_the_beginning_are_found_where_nothing_else_has_them() -> None:
    before = b"".join(struct.pack("<HHL", 8, element, 0) for element in (5, 8, 0x12, 0x13))
    private = struct.pack("<HHL", 8, 0x15, 5000) + b"A" * 5000
    uids = b"".join(struct.pack("<HHL6s", 8, *each) for each in ((0x16, 6, b"1.2.3\0"), (0x18, 6, b"1.2.4\0")))
    result = read_file_meta(Dribble(before + private + uids))
    assert result[:3] == ("1.2.3", "1.2.4", IMPLICIT_VR_LITTLE_ENDIAN)


def test_a_data_set_without_uids_is_said_to_lack_them() -> None:
    content = sample("nested_priv_SQ.dcm")
    with pytest.raises(DatasetError, match=r"missing SOP Class UID \(0008,0016\)") as raised:
        read_file_meta(BytesIO(content[content.index(b"\1\0\1\0") :]))
    assert not isinstance(raised.value, NotDicom)


@given(st.binary(max_size=2000))
def test_random_bytes_are_not_dicom(data: bytes) -> None:
    with pytest.raises(NotDicom):
        read_file_meta(BytesIO(data))


def words(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}H", *numbers)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(4096),
        b"The quick brown fox\n" * 100,
        sample("rtstruct.dump"),
        sample("test1.json"),
        "Ünïcode".encode("utf-16") * 100,
        b"\x89PNG\r\n\x1a\n" + bytes(600),
        b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(600),
        b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + bytes(600),
        b"\x5c\1\0\0" + bytes(600),  # NIfTI
        b"II*\0\x08\0\0\0" + bytes(600),
        b"\0\0\1\0\1\0\x10\x10" + bytes(600),  # an icon
        words(*range(1000)),
        words(*([8, 0x16, 20, 0] * 200)),
        words(*(8 + number % 7 for number in range(1000))),
        bytes(range(8, 16)) * 100,
        b"\x08\0\x16\0UI\x06\x001.2.3\0" + b"and then it is something else" * 10,
    ],
)
def test_what_is_clearly_something_else_is_not_dicom(content: bytes) -> None:
    with pytest.raises(NotDicom, match="not a DICOM file"):
        read_file_meta(BytesIO(content))
