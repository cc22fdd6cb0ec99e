"""Identifiers go through pydicom and come back the same; what is broken is a DatasetError without values."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataelem import DataElement

from dimse.dataset import codec
from dimse.dataset.codec import decode, encode, text_of, value_of, wrong_form
from dimse.dataset.encoding import inflate
from dimse.errors import DatasetError
from dimse.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

SYNTAXES = [
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
]


def query() -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.QueryRetrieveLevel = "STUDY"
    dataset.PatientName = "Müller*"
    dataset.StudyInstanceUID = ""
    dataset.NumberOfStudyRelatedInstances = 3
    dataset.RequestAttributesSequence = [Dataset()]
    dataset.RequestAttributesSequence[0].ScheduledProcedureStepID = "1"
    return dataset


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_round_trip(syntax: str) -> None:
    data = encode(query(), syntax)
    assert len(data) % 2 == 0
    assert decode(data, syntax) == query()
    assert decode(memoryview(data), syntax) == query()
    assert encode(decode(data, syntax), syntax) == data


def test_a_deflated_data_set_has_an_even_length() -> None:
    dataset = Dataset()
    for size in range(60):
        dataset.PatientComments = "ab" * size + "xyz" * (size % 7)
        data = encode(dataset, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)
        assert len(data) % 2 == 0
        assert decode(data, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN) == dataset


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_empty(syntax: str) -> None:
    assert decode(encode(Dataset(), syntax), syntax) == Dataset()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_cut_short(syntax: str) -> None:
    with pytest.raises(DatasetError):
        decode(encode(query(), syntax)[:-3], syntax)


def test_pixel_data_cut_short() -> None:
    dataset = query()
    dataset.PixelData = bytes(100)
    dataset["PixelData"].VR = "OW"
    data = encode(dataset, EXPLICIT_VR_LITTLE_ENDIAN)
    assert decode(data, EXPLICIT_VR_LITTLE_ENDIAN) == dataset
    with pytest.raises(DatasetError, match=r"truncated in \(7FE0,0010\)"):
        decode(data[:-2], EXPLICIT_VR_LITTLE_ENDIAN)


def test_deflate_bomb() -> None:
    with pytest.raises(DatasetError, match="more than 1000 bytes"):
        inflate(deflated(bytes(1001)), 1000)
    assert inflate(deflated(bytes(1000)), 1000) == bytes(1000)
    with pytest.raises(DatasetError, match="truncated"):
        inflate(deflated(bytes(1000))[:-1], 1000)
    with pytest.raises(DatasetError, match="more than 67108864 bytes"):
        decode(deflated(bytes(codec.MAX_INFLATED + 1)), DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)


def test_a_deflate_bomb_takes_no_memory() -> None:
    bomb = deflated(bytes(2**24))
    tracemalloc.start()
    try:
        with suppress(DatasetError):
            inflate(bomb, 1000)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("syntax", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
@pytest.mark.parametrize("depth", [65, 1500])
def test_depth_bomb_of_defined_lengths(syntax: str, depth: int) -> None:
    """pydicom looks into these only when asked, and then for as long as the stack lasts."""
    data = b""
    for _ in range(depth):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(data)) + data
        if syntax == IMPLICIT_VR_LITTLE_ENDIAN:
            data = struct.pack("<HHL", 0x0008, 0x1140, len(item)) + item
        else:
            data = struct.pack("<HH2sxxL", 0x0008, 0x1140, b"SQ", len(item)) + item
    with pytest.raises(DatasetError, match="nested deeper than 64"):
        decode(data, syntax)


def test_errors_hold_no_values() -> None:
    dataset = Dataset()
    dataset.add(DataElement(0x00280002, "US", "SECRET", validation_mode=0))
    with pytest.raises(DatasetError, match=r"cannot be encoded in .* at \(0028,0002\): ") as caught:
        encode(dataset, IMPLICIT_VR_LITTLE_ENDIAN)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("is_nested", [False, True])
def test_the_element_that_cannot_be_encoded_is_named(*, is_nested: bool) -> None:
    dataset = Dataset()
    dataset.PatientID = "SECRET"
    dataset.Rows = 70_000
    outer = Dataset()
    outer.ReferencedImageSequence = [dataset]
    expected = (
        r"\(0008,1140\): a value in its items is not valid" if is_nested else r"\(0028,0010\): .* not valid for US"
    )
    with pytest.raises(DatasetError, match=rf"in Explicit VR Little Endian at {expected}"):
        encode(outer if is_nested else dataset, EXPLICIT_VR_LITTLE_ENDIAN)


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.binary(max_size=200), st.sampled_from(SYNTAXES))
def test_garbage_is_a_dataset_error_or_a_data_set(data: bytes, syntax: str) -> None:
    with suppress(DatasetError):
        decode(data, syntax)


LEVEL = 0x00080052
MODALITY = 0x00080060
TEXT_VALUE = 0x0040A160


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_one_value_is_read_without_the_others(syntax: str) -> None:
    data = encode(query(), syntax)
    assert value_of(data, syntax, LEVEL) == b"STUDY "
    assert value_of(data, syntax, MODALITY) == b""


def test_an_identifier_in_the_other_vr_form_is_recognized() -> None:
    explicit = encode(query(), EXPLICIT_VR_LITTLE_ENDIAN)
    assert wrong_form(explicit, EXPLICIT_VR_LITTLE_ENDIAN) is None
    assert "Explicit VR" in str(wrong_form(explicit, IMPLICIT_VR_LITTLE_ENDIAN))
    implicit = encode(query(), IMPLICIT_VR_LITTLE_ENDIAN)
    assert "Implicit VR" in str(wrong_form(implicit, EXPLICIT_VR_LITTLE_ENDIAN))
    assert wrong_form(deflated(implicit), DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN) is None


def test_the_text_of_an_element_is_bounded() -> None:
    dataset = query()
    assert text_of(dataset, LEVEL) == "STUDY"
    assert text_of(dataset, MODALITY) == ""
    dataset.add_new(TEXT_VALUE, "UT", "secret " * 10_000)
    received = decode(encode(dataset, EXPLICIT_VR_BIG_ENDIAN), EXPLICIT_VR_BIG_ENDIAN)
    with pytest.raises(DatasetError, match="bytes") as caught:
        text_of(received, TEXT_VALUE)
    assert "secret" not in str(caught.value)
