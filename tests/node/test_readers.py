"""Files that other processes read are described as if they were read here."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRBigEndian
from tests.sample_objects import EXPLICIT, IMPLICIT, instance, save

from dimse.dataset.recognizing import NotDicom
from dimse.errors import DatasetError
from dimse.node.arrival import Arrival
from dimse.node.examining import examine
from dimse.node.readers import Read, Readers, Task, work


def same(one: Arrival, other: Arrival) -> None:
    for each in fields(Arrival):
        if each.name != "description":
            assert getattr(one, each.name) == getattr(other, each.name), each.name
    for name in ("study_uid", "series_uid", "uid", "sop_class_uid", "modality"):
        assert getattr(one.description, name) == getattr(other.description, name)
    for name in ("study", "series", "requests", "name_words", "instance"):
        assert getattr(one.description, name)() == getattr(other.description, name)()


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, ExplicitVRBigEndian])
def test_what_is_read_is_what_is_examined(syntax: str, tmp_path: Path) -> None:
    made = instance()
    made.InstanceNumber, made.PatientName, made.StudyDate = 7, "Müller^Jörg", "20240131"
    made.SpecificCharacterSet = "ISO_IR 192"
    made.RequestAttributesSequence = [instance(pixels=0)]
    made.RequestAttributesSequence[0].RequestedProcedureID = "P1"
    path = save(made, tmp_path / "a.dcm", syntax)
    (read,) = work([Task(str(path), None)])
    assert isinstance(read, Read)
    assert read.changed_at == path.stat().st_mtime
    same(read.arrival(str(path), "CT1", is_in_place=True, received_at=5), examine(path, "CT1", received_at=5))


def test_several_processes(tmp_path: Path) -> None:
    paths = [save(instance(f"1.2.3.{number}"), tmp_path / f"{number}.dcm") for number in range(5)]
    with Readers() as readers:
        asked = [readers.submit([Task(str(path), f"{path}.copy")]) for path in paths]
        results = [each.result() for each in asked]
    for path, (read,) in zip(paths, results, strict=True):
        assert isinstance(read, Read)
        assert Path(f"{path}.copy").read_bytes() == path.read_bytes()
        arrival = read.arrival(str(path), "CT1", is_in_place=True, received_at=5)
        same(arrival, examine(path, "CT1", received_at=5))


def test_reasons_come_back(tmp_path: Path) -> None:
    nameless = instance()
    del nameless.StudyInstanceUID
    texts = {"text": b"text" * 100, "cut": save(instance(), tmp_path / "a").read_bytes()[:-5]}
    texts["nameless"] = save(nameless, tmp_path / "b").read_bytes()
    for name, content in texts.items():
        (tmp_path / name).write_bytes(content)
    tasks = [Task(str(tmp_path / name), str(tmp_path / f"{name}.copy")) for name in (*texts, "missing")]
    with Readers() as readers:
        text, cut, without, missing = readers.submit(tasks).result()
    assert isinstance(text, NotDicom)
    assert isinstance(cut, DatasetError)
    assert "truncated" in str(cut)
    assert isinstance(without, DatasetError)
    assert isinstance(missing, FileNotFoundError)
    assert not [*tmp_path.glob("*.copy")]


def test_a_process_that_dies_is_noticed(tmp_path: Path) -> None:
    with Readers() as readers:
        readers.submit([]).result()
        (process,) = readers._processes
        process.kill()
        process.wait()
        with pytest.raises(ChildProcessError):
            readers.submit([Task(str(tmp_path / "a"), None)]).result()
