"""Edits: what can be edited, and that values fit their VR before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from dimse import Edits
from dimse.dataset.edits import EditValue

REFUSED: list[tuple[Mapping[str, EditValue], Sequence[str], str]] = [
    ({"PatientsName": "A"}, [], "unknown keyword 'PatientsName'"),
    ({"": "A"}, [], "unknown keyword"),
    ({"SOPClassUID": "1.2"}, [], "SOPClassUID cannot be edited: it says how the rest must be read"),
    ({"SpecificCharacterSet": "ISO_IR 192"}, [], "SpecificCharacterSet cannot be edited"),
    ({"TransferSyntaxUID": "1.2"}, [], "it is not an element of an object"),
    ({"0010,0000": "1"}, [], "it is not an element of an object"),
    ({"Rows": 1}, [], "Rows cannot be edited: it describes the pixel data"),
    ({}, ["BitsAllocated"], "it describes the pixel data"),
    ({}, ["PixelData"], "it is, or follows, the pixel data"),
    ({}, ["ExtendedOffsetTable"], "it is, or follows, the pixel data"),
    ({}, ["FFFC,FFFC"], "it is, or follows, the pixel data"),
    ({}, ["SOPInstanceUID"], "must not be removed: an archive files the object by it"),
    ({}, ["StudyInstanceUID"], "must not be removed"),
    ({"ReferencedStudySequence.StudyID": "1"}, [], "elements in items cannot be edited"),
    ({"ReferencedStudySequence": ""}, [], "ReferencedStudySequence has the VR SQ; it can only be removed"),
    ({"0009,0010": "1"}, [], r"\(0009,0010\) is not in PS3.6"),
    ({"SmallestImagePixelValue": 1}, [], "has the VR US or SS; it can only be removed"),
    ({"PatientName": "A", "0010,0010": "B"}, [], "PatientName is edited twice"),
    ({"PatientName": "A"}, ["PatientName"], "PatientName is edited twice"),
    ({}, "PatientName", "remove must be a list of keywords, not a text"),
]


@pytest.mark.parametrize(("values", "remove", "said"), REFUSED)
def test_what_cannot_be_edited(values: Mapping[str, EditValue], remove: Sequence[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Edits(values, remove)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("PatientBirthDate", "2001-01-01", r"PatientBirthDate \(DA\) must be a date YYYYMMDD"),
        ("PatientBirthDate", "20010101-20020202", "a date"),
        ("StudyTime", "1000-1200", "a time HHMMSS"),
        ("PatientSex", "male", "capital letters"),
        ("PatientID", "x" * 65, "at most 64 characters"),
        ("PatientID", "SECRET\n", "in one line"),
        ("PatientID", "SECRET\x1b$B", "in one line"),
        ("PatientID", "SECRET\\TWO", "a text"),
        ("PatientID", True, "a text"),
        ("PatientID", [["SECRET"]], "a text"),
        ("PatientID", ["SECRET\\TWO"], "a text"),
        ("StudyInstanceUID", "1.02", "a UID"),
        ("PatientName", "SECRET" * 20, "a name"),
        ("PatientWeight", "SECRET", "a decimal number"),
        ("SeriesNumber", 1.5, "an integer"),
        ("StationAETitle", "SECRET1234567890X", "an AE title"),
        ("PatientAge", "45", "an age such as 045Y"),
        ("PixelSpacing", "1", "a decimal number of at most 16 characters; 2 values"),
        ("LossyImageCompression", "é", "capital letters"),
        ("RescaleType", "SECRET" * 20, "a text"),
        ("AcquisitionMatrix", [1, 2], "an integer in the range of the VR; 4 values"),
        ("AcquisitionMatrix", [1, 2, 3, 70_000], "an integer in the range"),
        ("AcquisitionMatrix", [1, 2, 3, "SECRET"], "an integer in the range"),
        ("SlabThickness", "SECRET", "a number"),
        ("TextValue", "x" * 70_000, "a text within the limits"),
    ],
)
def test_values_that_their_vr_does_not_allow(key: str, value: EditValue, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Edits({key: value})
    assert "SECRET" not in str(caught.value)


def test_values_that_are_allowed() -> None:
    assert Edits(
        {
            "PatientName": "Müller^Peter=山田",
            "PatientID": 42,
            "0010,0030": "20010101",
            "(0010,0040)": "O",
            "00101010": "045Y",
            "PatientComments": "one\r\ntwo \\ three",
            "ImageType": ["DERIVED", "SECONDARY"],
            "OtherPatientIDs": "1\\2\\3",
            "PixelSpacing": [0.5, 0.5],
            "AcquisitionMatrix": "1\\2\\3\\4",
            "SlabThickness": 1.5,
            "StudyDescription": None,
            "SOPInstanceUID": "1.2.3",
        },
        remove=["PatientAddress", "ReferencedStudySequence", "0009,1001"],
    )
    assert not Edits()


def test_what_they_show() -> None:
    edits = Edits({"PatientName": "SECRET", "PatientID": "SECRET"}, ["0009,1001", "PatientSex"])
    assert repr(edits) == "<Edits: set PatientName, PatientID; remove (0009,1001), PatientSex>"
    assert repr(Edits()) == "<Edits: none>"


def test_the_words_of_the_command_line() -> None:
    edits = Edits.parse(["PatientName=A=B", "PatientID="], ["PatientSex"])
    assert (edits.text_of(0x00100010), edits.text_of(0x00100020)) == ("A=B", "")
    assert (edits.text_of(0x00100040), edits.text_of(0x00080018)) == ("", None)
    for settings, said in [
        (["PatientName"], "'PatientName' has no value: write PatientName=VALUE, or PatientName= for an empty one"),
        (["PatientName=A", "PatientName=B"], "PatientName is set twice"),
        (["SOPInstanceUID=1.2"], "would be the same for all objects"),
    ]:
        with pytest.raises(ValueError, match=said):
            Edits.parse(settings)


def test_the_uid_of_an_edited_object() -> None:
    assert Edits({"SOPInstanceUID": "1.2.3"}).sop_instance_uid("1.2.4") == "1.2.3"
    assert Edits({"PatientID": "1"}).sop_instance_uid("1.2.4") == "1.2.4"
