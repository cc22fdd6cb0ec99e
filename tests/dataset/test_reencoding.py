"""Elements under other headers: the VRs are those of the standard, the values the same bytes."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filereader import read_dataset

from dimse.dataset.codec import encode
from dimse.dataset.encoding import tag_name
from dimse.dataset.reencoding import rewrite
from dimse.errors import DatasetError
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN


def explicit(data: bytes) -> Dataset:
    return read_dataset(BytesIO(data), False, True)


def vrs(dataset: Dataset) -> dict[str, str]:
    return {tag_name(tag): dataset.get_item(tag).VR for tag in dataset.keys()}  # noqa: SIM118 it yields elements


@pytest.mark.parametrize("signed", [0, 1])
def test_the_vrs_that_implicit_vr_leaves_open(signed: int) -> None:
    dataset = Dataset()
    dataset.PatientName = "A"
    dataset.PixelRepresentation = signed
    dataset.SmallestImagePixelValue = 5
    dataset.add_new(0x00283006, "OW", b"1234")
    dataset.add_new(0x60003000, "OW", b"1234")
    dataset.add_new(0x00090010, "LO", "GEMS_IDEN_01")
    dataset.add_new(0x00091002, "SH", "CT01")
    dataset.add_new(0x000910FF, "UN", b"12")
    dataset.add_new(0x00110010, "LO", "NOBODY KNOWS")
    dataset.add_new(0x00111002, "SH", "CT01")
    dataset.add_new(0x00130002, "UN", b"12")
    dataset.ModalityLUTSequence = [Dataset()]
    dataset.ModalityLUTSequence[0].add_new(0x00283002, "SS" if signed else "US", [4, 0, 16])

    read = explicit(rewrite(encode(dataset, IMPLICIT_VR_LITTLE_ENDIAN), implicit=True, to_implicit=False))

    assert vrs(read) == {
        "(0009,0010)": "LO",
        "(0009,1002)": "SH",
        "(0009,10FF)": "UN",
        "(0010,0010)": "PN",
        "(0011,0010)": "LO",
        "(0011,1002)": "UN",
        "(0013,0002)": "UN",
        "(0028,0103)": "US",
        "(0028,0106)": "SS" if signed else "US",
        "(0028,3000)": "SQ",
        "(0028,3006)": "OW",
        "(6000,3000)": "OW",
    }
    assert vrs(read.ModalityLUTSequence[0]) == {"(0028,3002)": "SS" if signed else "US"}
    assert rewrite(
        rewrite(encode(read, EXPLICIT_VR_LITTLE_ENDIAN), implicit=False, to_implicit=True),
        implicit=True,
        to_implicit=False,
    ) == encode(read, EXPLICIT_VR_LITTLE_ENDIAN)


def test_what_a_short_length_cannot_say() -> None:
    data = b"\x10\0\0\x40\0\0\x01\0" + b"x" * 0x10000
    read = explicit(rewrite(data, implicit=True, to_implicit=False))
    assert read.get_item(0x00104000).VR == "UN"
    assert read.get_item(0x00104000).value == b"x" * 0x10000


@given(st.binary(max_size=30).filter(lambda value: len(value) % 2 == 0))
def test_values_that_break_a_rule_pass_as_they_are(value: bytes) -> None:
    """pydicom would warn, with the value in it, and write another one."""
    data = b"".join(
        group.to_bytes(2, "little") + element.to_bytes(2, "little") + len(value).to_bytes(4, "little") + value
        for group, element in ((0x0008, 0x0018), (0x0010, 0x0010), (0x0018, 0x0050), (0x0020, 0x0013))
    )
    assert rewrite(rewrite(data, implicit=True, to_implicit=False), implicit=False, to_implicit=True) == data


ITEM, ITEM_END = b"\xfe\xff\0\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0"
SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


@pytest.mark.parametrize("to_implicit", [False, True])
@pytest.mark.parametrize("inside", [b"\x08\0\0\1SH\4\0CODE", b"\x08\0\0\1\4\0\0\0CODE"], ids=["explicit", "implicit"])
@pytest.mark.parametrize("header", [b"UN\0\0\xff\xff\xff\xff", b"SQ\0\0\xff\xff\xff\xff", b"UN\0\0\x24\0\0\0"])
def test_items_in_the_other_vr_form(header: bytes, inside: bytes, to_implicit: bool) -> None:
    """UN of undefined length is Implicit VR (PS3.5 6.2.2 note 2), and what is not goes by what the items show."""
    data = b"\x08\0\x40\x11" + header + ITEM + inside + ITEM_END + SEQUENCE_END
    item = b"\x08\0\0\1\4\0\0\0CODE" if to_implicit else b"\x08\0\0\1SH\4\0CODE"
    expected = b"\x08\0\x40\x11" + (b"" if to_implicit else b"SQ\0\0") + b"\x14\0\0\0\xfe\xff\0\xe0\x0c\0\0\0" + item
    if not to_implicit and header.endswith(b"\x24\0\0\0"):
        expected = data  # UN stays as it is
    assert rewrite(data, implicit=False, to_implicit=to_implicit) == expected


def test_group_lengths_go() -> None:
    data = b"\x08\0\0\0\x04\0\0\0\x0a\0\0\0" + b"\x08\0\x60\0\x02\0\0\0CT"
    assert rewrite(data, implicit=True, to_implicit=False) == b"\x08\0\x60\0CS\x02\0CT"


def test_deeper_than_the_stack() -> None:
    data = b""
    for _ in range(2000):
        data = b"\xfe\xff\0\xe0" + len(data).to_bytes(4, "little") + data
        data = b"\x08\0\x40\x11" + len(data).to_bytes(4, "little") + data
    with pytest.raises(DatasetError, match="cannot be re-encoded"):
        rewrite(data, implicit=True, to_implicit=False)
