"""Attributes of instances that are not in the index come from their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from tests.node.archived import finder, found, put
from tests.node.rows import member
from tests.sample_objects import EXPLICIT, IMPLICIT

from dimse import uids
from dimse.node.found_rows import HEADER
from dimse.node.index import Index

NAME = "Люксембург^Роза"


def image(**more: object) -> Dataset:
    dataset = member("1.1", "1", 1, SpecificCharacterSet="ISO_IR 144", ContentDate="20240229", **more)
    dataset.ContentCreatorName = NAME
    return dataset


@pytest.mark.parametrize(
    "syntax", [EXPLICIT, IMPLICIT, uids.EXPLICIT_VR_BIG_ENDIAN, uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN]
)
async def test_they_are_returned_and_matched(index: Index, tmp_path: Path, syntax: str) -> None:
    put(index, tmp_path, [image()], syntax)
    asked: dict[str, Any] = {
        "SOPInstanceUID": "",
        "ContentCreatorName": "люк*",
        "ContentDate": "2024",
        "AvailableTransferSyntaxUID": "",
    }
    (match,) = await found(finder(index, tmp_path), "IMAGE", **asked)
    assert (match.ContentCreatorName, match.ContentDate) == (NAME, "20240229")
    assert match.AvailableTransferSyntaxUID == syntax
    asked["ContentCreatorName"] = "tolstoi*"
    assert not await found(finder(index, tmp_path), "IMAGE", **asked)


async def test_behind_much_else(index: Index, tmp_path: Path) -> None:
    put(index, tmp_path, [image(IconImageSequence=[_large()], PresentationLUTShape="IDENTITY")])
    (match,) = await found(finder(index, tmp_path), "IMAGE", SOPInstanceUID="", PresentationLUTShape="")
    assert match.PresentationLUTShape == "IDENTITY"


def _large() -> Dataset:
    dataset = Dataset()
    dataset.add_new(0x7FE00010, "OW", bytes(2 * HEADER))
    return dataset


async def test_a_file_that_is_not_there_has_none(index: Index, tmp_path: Path) -> None:
    put(index, tmp_path, [image()])
    for path in (tmp_path / "studies").rglob("*.dcm"):
        path.unlink()
    (match,) = await found(finder(index, tmp_path), "IMAGE", SOPInstanceUID="", ContentDate="")
    assert (match.SOPInstanceUID, match.ContentDate) == ("1.1.1.1", "")
