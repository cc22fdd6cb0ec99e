"""Instances that are read in a loop without asyncio."""

from __future__ import annotations

import io
from pathlib import Path

from pydicom import dcmread
from tests.sample_objects import CT, pixel_bytes

from dimse import (
    Edits,
    Query,
    sync,
)

STUDY = Query.studies(StudyInstanceUID="1.2.3.1")


def test_instances_are_read_in_the_loop(association: sync.Association, tmp_path: Path) -> None:
    read = []
    for number, each in enumerate(sync.CGetSCU(association).get(STUDY)):
        match number:
            case 0:
                assert dcmread(each.save(tmp_path / "one.dcm")).SOPInstanceUID == each.sop_instance_uid
            case 1:
                assert each.save_under(tmp_path).is_file()
            case _:
                assert b"".join(each.pixels()) == pixel_bytes(1000)
        assert each.dataset.SOPInstanceUID == each.sop_instance_uid
        read.append((each.sop_class_uid, each.transfer_syntax_uid))
    assert len(read) == 3
    assert {sop_class for sop_class, _ in read} == {CT}


def test_instances_are_passed_on_in_the_loop(association: sync.Association) -> None:
    edits = Edits({"PatientName": "Anon"})
    for number, each in enumerate(sync.CGetSCU(association).get(STUDY)):
        match number:
            case 0:
                file = io.BytesIO()
                each.save(file, edits=edits)
                assert dcmread(io.BytesIO(file.getvalue())).PatientName == "Anon"
            case 1:
                assert dcmread(io.BytesIO(b"".join(each.chunks(edits=edits)))).PatientName == "Anon"
            case _:
                assert b"".join(each.dataset_chunks(edits=edits)).endswith(pixel_bytes(1000))
