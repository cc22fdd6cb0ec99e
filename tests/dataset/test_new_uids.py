"""New UIDs: what belonged together in a repetition still does, and no repetition has those of another."""

from __future__ import annotations

import pytest
from pydicom import Dataset
from tests.dataset.test_editing import EXPLICIT, read, source_of
from tests.sample_objects import encoded, instance

from dimse import Edits
from dimse.dataset.codec import decode
from dimse.dataset.editing import edit
from dimse.dataset.new_uids import NewLevel, NewUIDs
from dimse.uids import is_uid

LEVELS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


async def renewed(uid: str, edits: Edits) -> Dataset:
    return decode(await read(await edit(source_of(encoded(instance(uid))), edits)), EXPLICIT)


@pytest.mark.parametrize(("level", "new"), [*zip(NewLevel, [LEVELS[3:], LEVELS[2:], LEVELS[1:], LEVELS], strict=True)])
async def test_from_a_level_down(level: NewLevel, new: tuple[str, ...]) -> None:
    before = instance("1.2.1")
    first, second = [await renewed(uid, NewUIDs(level, 0)) for uid in ("1.2.1", "1.2.2")]
    again = await renewed("1.2.1", NewUIDs(level, 1))
    for keyword in LEVELS:
        is_new = keyword in new
        assert (first[keyword].value != before[keyword].value) == is_new
        assert (first[keyword].value != again[keyword].value) == is_new
        assert (first[keyword].value != second[keyword].value) == (keyword == "SOPInstanceUID")
        if is_new and keyword != "PatientID":
            assert first[keyword].value.startswith("2.25.")
            assert is_uid(first[keyword].value)
            assert len(first[keyword].value) <= 64
    assert first.SOPInstanceUID == NewUIDs(level, 0).sop_instance_uid("1.2.1")


async def test_with_other_edits() -> None:
    edits = NewUIDs(NewLevel.PATIENT, 0, Edits({"PatientID": "mine"}, ["PatientName"]))
    dataset = await renewed("1.2.1", edits)
    assert dataset.PatientID == "mine"
    assert "PatientName" not in dataset
    assert dataset.StudyInstanceUID != "1.2.3.1"


async def test_a_uid_of_unknown_vr() -> None:
    """Its header is longer, and the C-STORE must name the same new UID."""
    data = encoded(instance("1.2.1"))
    uid = b"\x08\0\x18\0UI\x06\x001.2.1\0"
    assert uid in data
    data = data.replace(uid, b"\x08\0\x18\0UN\0\0\x06\0\0\x001.2.1\0")
    edits = NewUIDs(NewLevel.INSTANCE, 0)
    edited = await read(await edit(source_of(data), edits))
    assert edits.sop_instance_uid("1.2.1").encode() in edited
