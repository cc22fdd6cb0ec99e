"""What becomes of an instance that is stored already."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update
from tests.node.arrivals import CT, MR, ONE, arrival, events, put, rows

from dimse.node.arrival import OnDuplicate, Outcome
from dimse.node.duplicates import REPLACED_STAYS
from dimse.node.index import Index
from dimse.node.places import is_ours
from dimse.node.schema import instance, job, series, set_aside, study


@pytest.mark.parametrize("on_duplicate", OnDuplicate)
def test_the_same_again_changes_nothing(index: Index, on_duplicate: OnDuplicate) -> None:
    put(index, arrival(ONE))
    with index.writing() as connection:
        connection.execute(update(study).values(settled_at=1, settled_because="quiet"))
    before = rows(index, study), rows(index, series), rows(index, instance), events(index)
    (placed,) = put(index, arrival(ONE), on_duplicate=on_duplicate)
    assert (placed.outcome, placed.path) == (Outcome.SAME, None)
    assert (rows(index, study), rows(index, series), rows(index, instance), events(index)) == before
    assert rows(index, set_aside) == rows(index, job) == []


def test_other_content_is_set_aside_once(index: Index) -> None:
    put(index, arrival(ONE))
    with index.writing() as connection:
        connection.execute(update(study).values(settled_at=1))
    (placed,) = put(index, arrival(ONE, "second", size=5))
    assert placed.outcome is Outcome.SET_ASIDE
    (aside,) = rows(index, set_aside)
    assert placed.path == aside.path
    assert aside.path.startswith("set-aside/1.1.1.1-")
    assert (aside.uid, aside.bytes, aside.digest) == ("1.1.1.1", 5, placed.arrival.digest)
    (again,) = put(index, arrival(ONE, "second", size=5))
    assert (again.outcome, again.path) == (Outcome.SET_ASIDE, None)
    assert events(index) == [("study-created", None, None), ("duplicate", "1.1.1", "1.1.1.1")]
    (the_instance,) = rows(index, instance)
    assert the_instance.bytes == 1000
    assert rows(index, study)[0].settled_at == 1, "the study has not changed"


def test_other_content_replaces(index: Index) -> None:
    put(index, arrival(ONE), arrival(replace(ONE, uid="1.1.1.2")))
    with index.writing() as connection:
        connection.execute(update(study).values(settled_at=1))
    other = arrival(replace(ONE, sop_class_uid=MR), "second", size=1)
    (placed,) = put(index, other, on_duplicate=OnDuplicate.REPLACE)
    assert placed.outcome is Outcome.REPLACED
    first, _ = rows(index, instance)
    assert (first.digest, first.bytes, first.path) == (other.digest, 1, placed.path)
    (deletion,) = rows(index, job)
    assert deletion.payload["paths"] == ["studies/1.1/1.1.1/1.1.1.1.dcm"]
    assert deletion.not_before > time.time() + REPLACED_STAYS - 60, "it may be about to be sent"
    (the_study,) = rows(index, study)
    assert (the_study.bytes, the_study.instance_count) == (1001, 2)
    assert the_study.sop_classes == f"\\{CT}\\{MR}\\"
    assert the_study.settled_at is None
    # And back again: its name is a new one, as the first may be about to be deleted
    (back,) = put(index, arrival(ONE), on_duplicate=OnDuplicate.REPLACE)
    assert back.path not in {placed.path, Path("studies/1.1/1.1.1/1.1.1.1.dcm")}
    assert rows(index, study)[0].sop_classes == f"\\{CT}\\"


def test_other_content_is_rejected(index: Index) -> None:
    put(index, arrival(ONE))
    (placed,) = put(index, arrival(ONE, "second"), on_duplicate=OnDuplicate.REJECT)
    assert (placed.outcome, placed.path) == (Outcome.REJECTED, None)
    assert rows(index, set_aside) == []
    assert events(index) == [("study-created", None, None)]


def test_one_instance_several_times_in_a_batch(index: Index) -> None:
    batch = [arrival(ONE), arrival(ONE, "second"), arrival(ONE), arrival(ONE, "second")]
    placed = put(index, *batch, arrival(replace(ONE, uid="1.1.1.2")))
    assert [each.outcome for each in placed] == [
        Outcome.NEW,
        Outcome.SET_ASIDE,
        Outcome.SAME,
        Outcome.SET_ASIDE,
        Outcome.NEW,
    ]
    placed = put(index, *(arrival(ONE, str(n), size=n) for n in range(3)), on_duplicate=OnDuplicate.REPLACE)
    assert {each.outcome for each in placed} == {Outcome.REPLACED}
    assert rows(index, instance)[0].bytes == 2
    assert len(rows(index, job)) == 3


def test_a_file_adopted_in_place_stays_there(index: Index, tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{n}.dcm" for n in range(3))
    (placed,) = put(index, arrival(ONE, in_place=first))
    assert placed.path == str(first)
    assert rows(index, instance)[0].path == str(first)
    assert not is_ours(rows(index, instance)[0].path)
    (placed,) = put(index, arrival(ONE, "second", in_place=second))
    assert (placed.outcome, placed.path) == (Outcome.SET_ASIDE, str(second))
    (placed,) = put(index, arrival(ONE, "third", in_place=third), on_duplicate=OnDuplicate.REPLACE)
    assert placed.path == str(third)
    assert rows(index, job) == [], "it is not ours to delete"
