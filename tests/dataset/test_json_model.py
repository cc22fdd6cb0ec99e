"""The DICOM JSON Model of what breaks rules."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from dimse.dataset.json_model import json_model
from dimse.dataset.texts import Texts


def raw(*elements: tuple[int, str | None, bytes]) -> Dataset:
    return Dataset(
        {
            BaseTag(tag): RawDataElement(BaseTag(tag), vr, len(value), value, 0, vr is None, True)
            for tag, vr, value in elements
        }
    )


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize(
    ("tag", "vr", "value", "shown"),
    [
        (0x00201206, "IS", b"1.0", ["1.0"]),
        (0x00201206, "IS", b" 12 ", [12]),
        (0x00201206, "IS", b"1\\\\x", [1, None, "x"]),
        (0x00201206, "IS", b"123456789012345", ["123456789012345"]),
        (0x00101030, "DS", b"71.4 ", [71.4]),
        (0x00101030, "DS", b"71.4000000000000057", ["71.4000000000000057"]),
        (0x00101030, "DS", b"1e999", ["1e999"]),
        (0x00101030, "DS", b"71,4", ["71,4"]),
        (0x00080020, "DA", b"2024.02.29", ["2024.02.29"]),
        (0x00080030, "TM", b"noon", ["noon"]),
        (0x0020000D, "UI", b"1.2.[3]\0", ["1.2.[3]"]),
        (0x0020000D, "UI", b"1..2", ["1..2"]),
        (0x00081030, "LO", b"x" * 80, ["x" * 80]),
        (0x00080060, "CS", b"lower case and far too long", ["lower case and far too long"]),
        (0x00100010, "PN", b"Doe^Jane==\\ A=B", [{"Alphabetic": "Doe^Jane"}, {"Alphabetic": " A", "Ideographic": "B"}]),
        (0x00104000, "LT", b"a\\b ", ["a\\b"]),
        (0x00101010, "AS", b"old", ["old"]),
        (0x00080054, "AE", b" A SEVENTEENTH TITLE", ["A SEVENTEENTH TITLE"]),
        (0x00081190, "UR", b"http://x y\\z", ["http://x y\\z"]),
    ],
)
def test_values_as_they_came(tag: int, vr: str, value: bytes, shown: list[Any], implicit: bool) -> None:
    model = json_model(raw((tag, None if implicit else vr, value)), Texts())
    assert model == {f"{tag:08X}": {"vr": vr, "Value": shown}}
    json.dumps(model, allow_nan=False)


def test_what_is_no_text() -> None:
    match = raw((0x00280010, "US", b"\1\0\2\0"), (0x00280011, "US", b"\1\0\2"), (0x00091001, "UN", b"ab"))
    assert json_model(match, Texts()) == {
        "00280010": {"vr": "US", "Value": [1, 2]},
        "00280011": {"vr": "UN", "InlineBinary": "AQAC"},
        "00091001": {"vr": "UN", "InlineBinary": "YWI="},
    }
    match = Dataset()
    match.RealWorldValueSlope, match.PatientName, match.StudyID = math.nan, None, ""
    assert json_model(match, Texts()) == {
        "00100010": {"vr": "PN"},
        "00200010": {"vr": "SH"},
        "00409225": {"vr": "FD", "Value": ["nan"]},
    }
