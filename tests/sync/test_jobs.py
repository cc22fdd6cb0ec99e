"""Whole jobs without asyncio."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from tests.sample_objects import instance

import dimse
from dimse import (
    Query,
    StatusError,
    sync,
)
from dimse.testing import Answer, FakeArchive

STUDIES = Query.studies()
STUDY = Query.studies(StudyInstanceUID="1.2.3.1")


def test_echo(archive: FakeArchive) -> None:
    assert sync.echo(archive.address, calling_ae_title="WS1").status == 0
    assert archive.requests[0].calling_ae_title == "WS1"


def test_send_calls_back(archive: FakeArchive) -> None:
    results, progress = list[dimse.SendResult](), list[dimse.TransferProgress]()
    report = sync.send(archive.address, [instance("1.3.1")], on_result=results.append, progress=progress.append)
    assert list(report.results) == results
    assert progress[-1].bytes_transferred > 0
    assert "1.3.1" in {each.SOPInstanceUID for each in archive.instances}


def test_find(archive: FakeArchive) -> None:
    with sync.find([archive.address], STUDIES, limit=1) as finding:
        assert [match.StudyInstanceUID for match in finding] == ["1.2.3.1"]
    assert (finding.count, finding.failures, finding.divided_by) == (1, [], frozenset())
    assert str(finding.archive) == archive.address


def test_leaving_a_search_early(archive: FakeArchive) -> None:
    for match in sync.find(archive.address, Query.instances()):
        assert match.SOPInstanceUID == "1.2.0"
        break
    finding = sync.find(archive.address, Query.instances())
    assert next(iter(finding)).SOPInstanceUID == "1.2.0"
    finding.close()
    assert list(finding) == []


def test_retrieve(archive: FakeArchive, tmp_path: Path) -> None:
    report = sync.retrieve(archive.address, STUDIES, into=tmp_path)
    assert len(report.retrieved) == 3
    assert len(list(tmp_path.rglob("*.dcm"))) == 3


def test_get(archive: FakeArchive, tmp_path: Path) -> None:
    assert len(sync.get(archive.address, STUDY, into=tmp_path).retrieved) == 3


def test_move(archive: FakeArchive) -> None:
    with FakeArchive() as workstation:
        archive.destinations["WS1"] = workstation.address
        assert sync.move(archive.address, STUDY, "WS1").suboperations.completed == 3
        assert len(workstation.instances) == 3


def test_explain(archive: FakeArchive) -> None:
    assert sync.explain(archive.address).outcome is dimse.ExplainOutcome.WORKS


def test_an_exception_is_raised_in_the_caller(archive: FakeArchive) -> None:
    archive.on("C-ECHO", Answer(0x0122), nth=1)
    with pytest.raises(StatusError, match="SOP class not supported"):
        sync.echo(archive.address)
    archive.on("C-STORE", Answer(0xC000))
    with pytest.raises(ExceptionGroup, match="1 of 1 not stored"):
        sync.send(archive.address, instance())


def test_the_signatures_are_those_of_the_jobs() -> None:
    for name in ("connect", "echo", "explain", "get", "move", "retrieve", "send"):
        assert inspect.signature(getattr(sync, name)) == inspect.signature(getattr(dimse, name))


def test_every_name_is_one_of_the_library() -> None:
    assert set(sync.__all__) <= set(dimse.__all__)
