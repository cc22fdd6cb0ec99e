"""Plain data sets: the same as pydicom makes of them."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, config
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from dimse.dataset.fast_codec import decode_plain, encode_plain

text = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\^="), max_size=16).map(
    str.strip
)
names = st.text(st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_characters="\\="), max_size=20).map(
    str.strip
)
digits = st.integers(-(2**31), 2**31 - 1)
KEYS: dict[str, st.SearchStrategy[Any]] = {
    "SpecificCharacterSet": st.sampled_from(["ISO_IR 100", "ISO_IR 192", "", ["", "ISO 2022 IR 87"]]),
    "StudyDate": st.dates().map(lambda day: f"{day:%Y%m%d}" if day.year > 999 else ""),
    "StudyTime": st.sampled_from(["", "101500", "10"]),
    "AccessionNumber": text,
    "ModalitiesInStudy": st.sampled_from(["", "CT", ["CT", "MR"], []]),
    "RetrieveAETitle": st.sampled_from(["", "ARCHIVE", ["A", "B"]]),
    "StudyDescription": text,
    "PatientName": st.one_of(text, st.just("Doe^John"), st.lists(text, min_size=2, max_size=3)),
    "PatientID": text,
    "PatientWeight": st.one_of(st.just(""), st.floats(0, 500).map(lambda kg: f"{kg:.3f}")),
    "StudyInstanceUID": st.sampled_from(["", "1.2.3", "1.2.34"]),
    "SeriesNumber": st.one_of(st.just(""), st.none(), digits),
    "Rows": st.integers(0, 65535),
    "NumberOfStudyRelatedInstances": st.one_of(st.none(), digits),
    "FailedSOPInstanceUIDList": st.lists(st.sampled_from(["1.2", "1.2.3"]), max_size=3),
    "PatientBirthDate": st.just(""),
}


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    dataset = Dataset()
    for keyword in draw(st.sets(st.sampled_from(sorted(KEYS)))):
        setattr(dataset, keyword, draw(KEYS[keyword]))
    return dataset


def by_pydicom(dataset: Dataset, *, implicit: bool) -> bytes:
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = implicit, True
    write_dataset(file, dataset)
    return file.getvalue()


@given(datasets(), st.lists(datasets(), max_size=2), st.booleans())
def test_encoded_as_pydicom_does(dataset: Dataset, items: list[Dataset], implicit: bool) -> None:
    if items:
        items[0].ProcedureCodeSequence = items[1:]
        dataset.ScheduledProcedureStepSequence = items
    assert encode_plain(dataset, implicit=implicit) == by_pydicom(dataset, implicit=implicit)


@given(datasets(), names, st.booleans())
def test_decoded_as_pydicom_does(dataset: Dataset, name: str, implicit: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of the names that no character set has
        dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 192", name
        data = by_pydicom(dataset, implicit=implicit)
        decoded = decode_plain(data, implicit=implicit)
        expected = read_dataset(BytesIO(data), implicit, True)
        assert decoded is not None
        assert list(map(decoded.get_item, decoded.keys())) == list(map(expected.get_item, expected.keys()))
        assert decoded.original_character_set == expected.original_character_set
        assert decoded.original_encoding == expected.original_encoding
        assert vars(decoded).keys() == vars(Dataset()).keys()
        assert decoded == expected  # which decodes the values
        again = encode_plain(decoded, implicit=implicit)
        assert again is None or again == data
        assert by_pydicom(decoded, implicit=implicit) == data


def test_what_is_decoded_shares_nothing() -> None:
    first, second = decode_plain(b"", implicit=False), decode_plain(b"", implicit=False)
    assert first is not None
    assert second is not None
    first.private_block(0x0009, "MAKER", create=True).add_new(1, "SH", "x")
    first.PatientID = "1"
    assert list(second.keys()) == []
    with pytest.raises(KeyError):
        second.private_block(0x0009, "MAKER")
    mutable = [name for name, value in vars(first).items() if isinstance(value, dict | list | set)]
    assert mutable
    assert not [name for name in mutable if vars(first)[name] is vars(second)[name]]


@given(datasets(), st.data(), st.booleans())
def test_what_is_cut_short_is_not_plain(dataset: Dataset, data: st.DataObject, implicit: bool) -> None:
    whole = by_pydicom(dataset, implicit=implicit)
    part = whole[: data.draw(st.integers(0, len(whole)))]
    decoded = decode_plain(part, implicit=implicit)
    assert decoded is None or by_pydicom(decoded, implicit=implicit) == part


@given(st.binary(max_size=64), st.booleans())
def test_no_bytes_do_harm(data: bytes, implicit: bool) -> None:
    decoded = decode_plain(data, implicit=implicit)
    assert decoded is None or len(decoded) <= len(data) // 8


def with_sequence() -> Dataset:
    dataset, item = Dataset(), Dataset()
    item.ScheduledProcedureStepID = "1"
    dataset.RequestAttributesSequence = [item]
    return dataset


def of_undefined_length() -> Dataset:
    dataset = with_sequence()
    dataset["RequestAttributesSequence"].is_undefined_length = True
    return dataset


def with_item_of_undefined_length() -> Dataset:
    dataset = with_sequence()
    dataset.RequestAttributesSequence[0].is_undefined_length_sequence_item = True
    return dataset


def with_long_text_in_an_item() -> Dataset:
    dataset = with_sequence()
    dataset.RequestAttributesSequence[0].ScheduledProcedureStepDescription = "Ä"
    return dataset


def with_long_text() -> Dataset:
    dataset = Dataset()
    dataset.StudyDescription = "Ä"
    return dataset


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize(
    "make", [of_undefined_length, with_item_of_undefined_length, with_long_text_in_an_item, with_long_text]
)
def test_the_rest_is_left_to_pydicom(make: Any, implicit: bool) -> None:
    dataset = make()
    assert encode_plain(dataset, implicit=implicit) is None


@pytest.mark.parametrize("implicit", [True, False])
def test_sequences_are_decoded_by_pydicom(implicit: bool) -> None:
    assert decode_plain(by_pydicom(with_sequence(), implicit=implicit), implicit=implicit) is None


def test_values_that_pydicom_keeps_as_they_were() -> None:
    """A DS or IS keeps its text: 1.50 does not become 1.5."""
    dataset = Dataset()
    dataset.PatientWeight, dataset.SeriesNumber = "1.50", "007"
    assert encode_plain(dataset, implicit=True) == by_pydicom(dataset, implicit=True)
    assert b"1.50" in by_pydicom(dataset, implicit=True)


@pytest.fixture
def dates_as_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "datetime_conversion", True)


@pytest.mark.usefixtures("dates_as_objects")
def test_dates_as_objects_are_left_to_pydicom() -> None:
    dataset = Dataset()
    dataset.StudyDate = "20200131"
    assert encode_plain(dataset, implicit=True) is None
