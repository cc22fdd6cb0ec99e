"""Attributes of instances that are not in the index come from their files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from tests.node.archived import finder, found, keys, put, search
from tests.node.rows import member
from tests.sample_objects import EXPLICIT, IMPLICIT

from dimse import uids
from dimse.node.found_rows import HEADER
from dimse.node.index import Index
from dimse.services.query_models import QueryRetrieveLevel

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


@pytest.mark.parametrize("is_pipe", [False, True])
async def test_a_file_that_is_not_there_has_none(is_pipe: bool, index: Index, tmp_path: Path) -> None:
    put(index, tmp_path, [image()])
    for path in (tmp_path / "studies").rglob("*.dcm"):
        path.unlink()
        if is_pipe:
            os.mkfifo(path)
    (match,) = await found(finder(index, tmp_path), "IMAGE", SOPInstanceUID="", ContentDate="")
    assert (match.SOPInstanceUID, match.ContentDate) == ("1.1.1.1", "")


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("block", [0x10, 0x11])
async def test_a_private_key_is_that_of_its_creator(index: Index, tmp_path: Path, syntax: str, block: int) -> None:
    stored = image()
    for creator, value, number in (("ACME", "Роза", block), ("OTHER", "no", 0x21 - block)):
        stored.add_new(0x00190000 | number, "LO", creator)
        stored.add_new(0x00190001 | number << 8, "LO", value)
    put(index, tmp_path, [stored], syntax)

    async def values(vr: str, value: str, creator: str = "ACME") -> list[str]:
        asked = keys("IMAGE", SOPInstanceUID="")
        asked.add_new(0x00190010, "LO", creator)
        asked.add_new(0x00191001, vr, value)
        matches = await search(finder(index, tmp_path), asked, QueryRetrieveLevel.IMAGE, limit=9)
        assert all(match[0x00190010].value == creator for match in matches)
        return [match[0x00191001].value for match in matches]

    assert await values("LO", "роз*") == []
    assert await values("LO", "Роз*") == await values("LO", "") == ["Роза"]
    assert await values("LO", "no", "OTHER") == ["no"]
    assert await values("LO", "no") == []
    assert await values("LO", "x", "NOBODY") == []
