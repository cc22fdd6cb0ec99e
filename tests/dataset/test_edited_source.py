"""A source with edits: known by its new UID before it is read, and a whole source of its own."""

from __future__ import annotations

from pathlib import Path

from tests.dataset.test_editing import read
from tests.sample_objects import encoded, instance, save

from dimse import Edits, FileSource
from dimse.dataset.edited_source import EditedSource


async def test_the_edited_object_as_a_source(tmp_path: Path) -> None:
    source = FileSource(save(instance(pixels=200_000), tmp_path / "a.dcm"))
    edited = EditedSource(source, Edits({"SOPInstanceUID": "1.2.3.9", "PatientName": "A"}))
    expected = instance("1.2.3.9", pixels=200_000)
    expected.PatientName = "A"
    assert (edited.sop_instance_uid, edited.length, edited.name) == ("1.2.3.9", None, source.name)
    ready = await edited.edited()
    assert (ready.sop_instance_uid, ready.length) == ("1.2.3.9", len(encoded(expected)))
    for each in (edited, ready, edited):
        assert await read(each) == encoded(expected)
