"""Removing studies and instances."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.node.arrivals import MR, ONE, Said, arrival, events, put, rows

from dimse.node import removing
from dimse.node.arrival import OnDuplicate
from dimse.node.index import Index
from dimse.node.recount import recount
from dimse.node.removing import remove_lost, remove_study
from dimse.node.schema import event, instance, job, name_word, request, series, set_aside, study

TWO = replace(ONE, uid="1.1.1.2")


def test_of_a_study_only_the_event_and_the_job_are_left(index: Index, tmp_path: Path) -> None:
    put(index, arrival(ONE), arrival(TWO, in_place=tmp_path / "a.dcm"), arrival(Said("1.2", "1.2.1", "1.2.1.1")))
    (aside,) = put(index, arrival(ONE, "other"))
    with index.writing() as connection:
        paths = remove_study(connection, "1.1")
        assert recount(connection) == []
    ours = ["studies/1.1/1.1.1/1.1.1.1.dcm", str(aside.path)]
    assert sorted(paths) == sorted([*ours, str(tmp_path / "a.dcm")])
    assert sorted(rows(index, job)[0].payload["paths"]) == sorted(ours)
    assert [row.uid for row in rows(index, study)] == ["1.2"]
    assert [len(rows(index, table)) for table in (series, instance, request, name_word)] == [1, 1, 1, 2]
    assert rows(index, set_aside) == []
    last = rows(index, event)[-1]
    assert (last.kind, last.study_uid, last.detail) == ("study-deleted", "1.1", {"series": 1, "instances": 2})


def test_a_file_that_was_replaced_is_deleted_with_its_study(index: Index) -> None:
    for said in (ONE, Said("1.2", "1.2.1", "1.2.1.1")):
        put(index, arrival(said))
        put(index, arrival(said, "other"), on_duplicate=OnDuplicate.REPLACE)
    with index.writing() as connection:
        remove_study(connection, "1.1")
    due = {path for row in rows(index, job) if row.not_before <= time.time() for path in row.payload["paths"]}
    assert len(due) == 2
    assert {path.split("/")[1] for path in due} == {"1.1"}


def test_a_study_that_is_not_there(index: Index) -> None:
    with index.writing() as connection:
        assert remove_study(connection, "1.1") == []
    assert rows(index, event) == rows(index, job) == []


def test_many_files_are_several_jobs(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removing, "FILES_OF_A_JOB", 3)
    put(index, *(arrival(replace(ONE, uid=f"1.{n}")) for n in range(7)))
    with index.writing() as connection:
        paths = remove_study(connection, "1.1")
    assert [len(row.payload["paths"]) for row in rows(index, job)] == [3, 3, 1]
    assert sorted(path for row in rows(index, job) for path in row.payload["paths"]) == paths


def test_lost_instances_one_after_another(index: Index) -> None:
    put(index, arrival(ONE), arrival(TWO), arrival(Said("1.1", "1.1.2", "1.1.2.1", MR, "MR")))
    put(index, arrival(ONE, "other"))
    with index.writing() as connection:
        assert remove_lost(connection, "1.1", [("1.1.2", "1.1.2.1")]) == 1
        assert recount(connection) == []
    (the_study,) = rows(index, study)
    assert (the_study.series_count, the_study.instance_count, the_study.modalities) == (1, 2, "\\CT\\")
    with index.writing() as connection:
        assert remove_lost(connection, "1.1", [("1.1.2", "1.1.2.1"), ("1.1.1", "1.1.1.1")]) == 1
        assert remove_lost(connection, "1.2", [("1.1.1", "1.1.1.2")]) == 0
    assert rows(index, study)[0].instance_count == 1
    assert ("study-deleted", None, None) not in events(index)
    with index.writing() as connection:
        remove_lost(connection, "1.1", [("1.1.1", "1.1.1.2")])
    assert rows(index, study) == rows(index, series) == rows(index, instance) == []
    assert events(index)[-1] == ("study-deleted", None, None)
    assert rows(index, job) == []
    assert len(rows(index, set_aside)) == 1
