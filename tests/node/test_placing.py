"""What a batch of arrivals does to the index."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, update
from tests.node.arrivals import CT, MR, ONE, Said, arrival, events, put, rows

from dimse.node.arrival import OnDuplicate, Outcome
from dimse.node.index import Index
from dimse.node.keys import uid_hash
from dimse.node.places import is_ours
from dimse.node.placing import place, stored_path
from dimse.node.schema import event, instance, job, name_word, request, series, set_aside, source, study, uid
from dimse.node.shared_texts import SharedTexts


def test_a_new_instance(index: Index) -> None:
    (placed,) = put(index, arrival(ONE))
    assert (placed.outcome, placed.path) == (Outcome.NEW, Path("studies/1.1/1.1.1/1.1.1.1.dcm"))
    (the_study,) = rows(index, study)
    assert (the_study.uid, the_study.patient_id, the_study.attributes) == ("1.1", "4711", b"study of 1.1.1.1")
    assert (the_study.series_count, the_study.instance_count, the_study.bytes) == (1, 1, 1000)
    assert (the_study.modalities, the_study.sop_classes) == ("\\CT\\", f"\\{CT}\\")
    assert the_study.settled_at is None
    (the_series,) = rows(index, series)
    assert (the_series.uid, the_series.modality, the_series.attributes) == ("1.1.1", "CT", b"series of 1.1.1.1")
    (the_instance,) = rows(index, instance)
    assert (the_instance.uid, the_instance.uid_hash, the_instance.path) == ("1.1.1.1", uid_hash("1.1.1.1"), None)
    assert (the_instance.rows, the_instance.bytes, the_instance.offset) == (512, 1000, 400)
    texts = {row.id: row.uid for row in rows(index, uid)}
    assert texts[the_instance.sop_class] == CT
    assert texts[the_instance.transfer_syntax] == "1.2.840.10008.1.2.1"
    assert [row.name for row in rows(index, source)] == ["CT1@10.0.0.7"]
    assert {row.word for row in rows(index, name_word)} == {"doe", "jane"}
    assert [row.scheduled_step_id for row in rows(index, request)] == ["S1"]
    assert events(index) == [("study-created", None, None)]


def test_a_batch_of_many(index: Index) -> None:
    said = [Said(f"1.{n % 3}", f"1.{n % 3}.{n % 7}", f"1.{n}", modality=f"M{n % 2}") for n in range(100)]
    said += [replace(each, uid=f"{each.uid}.1", sop_class_uid=MR) for each in said]
    placed = put(index, *(arrival(each, size=n) for n, each in enumerate(said)))
    assert [each.arrival.description for each in placed] == said
    assert {each.outcome for each in placed} == {Outcome.NEW}
    assert len(rows(index, series)) == 21
    assert sum(row.instance_count for row in rows(index, study)) == 200
    assert sum(row.bytes for row in rows(index, study)) == sum(range(200))
    assert {row.sop_classes for row in rows(index, study)} == {f"\\{CT}\\{MR}\\"}


def test_batches_one_after_another(index: Index) -> None:
    cache = SharedTexts()
    for n in range(5):
        put(index, arrival(replace(ONE, uid=f"1.1.1.{n}")), cache=cache)
    put(index, arrival(replace(ONE, series_uid="1.1.2", modality="SR", sop_class_uid=MR)), cache=cache)
    (the_study,) = rows(index, study)
    assert (the_study.series_count, the_study.instance_count, the_study.modalities) == (2, 6, "\\CT\\SR\\")
    assert the_study.attributes == b"study of 1.1.1.0", "the first instance decides"
    assert events(index) == [("study-created", None, None)]


def test_one_uid_in_two_series_is_two_instances(index: Index) -> None:
    placed = put(index, arrival(ONE), arrival(replace(ONE, series_uid="1.1.2")), arrival(replace(ONE, study_uid="1.2")))
    assert len({each.path for each in placed}) == 3
    assert len(rows(index, instance)) == 3


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
    assert placed.path == Path(aside.path)
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
    assert (first.digest, first.bytes, Path(first.path)) == (other.digest, 1, placed.path)
    assert [row.payload["paths"] for row in rows(index, job)] == [["studies/1.1/1.1.1/1.1.1.1.dcm"]]
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


def test_another_patient_is_told_once_a_series_without_saying_whom(index: Index) -> None:
    put(index, arrival(ONE), arrival(replace(ONE, series_uid="1.1.0", patient_id=None)))
    other = replace(ONE, patient_id="0815", series_uid="1.1.2")
    put(index, arrival(other), arrival(replace(other, uid="2")))
    put(index, arrival(replace(other, uid="3")))
    put(index, arrival(replace(other, patient_id="4711", issuer="I", series_uid="1.1.3")))
    conflicts = [row for row in rows(index, event) if row.kind == "conflict"]
    assert [(row.study_uid, row.series_uid) for row in conflicts] == [("1.1", "1.1.2")]
    assert conflicts[0].detail == {"source": "CT1@10.0.0.7"}
    assert rows(index, study)[0].patient_id == "4711"
    assert rows(index, study)[0].instance_count == 6


def test_a_file_adopted_in_place_stays_there(index: Index, tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{n}.dcm" for n in range(3))
    (placed,) = put(index, arrival(ONE, in_place=first))
    assert placed.path == first
    assert rows(index, instance)[0].path == str(first)
    assert not is_ours(rows(index, instance)[0].path)
    (placed,) = put(index, arrival(ONE, "second", in_place=second))
    assert (placed.outcome, placed.path) == (Outcome.SET_ASIDE, second)
    (placed,) = put(index, arrival(ONE, "third", in_place=third), on_duplicate=OnDuplicate.REPLACE)
    assert placed.path == third
    assert rows(index, job) == [], "it is not ours to delete"


def test_where_a_file_belongs_whose_move_a_crash_undid(index: Index) -> None:
    put(index, arrival(ONE))
    (aside,) = put(index, arrival(ONE, "aside"))
    with index.reading() as connection:
        assert stored_path(connection, arrival(ONE)) == "studies/1.1/1.1.1/1.1.1.1.dcm"
        assert stored_path(connection, arrival(ONE, "aside")) == str(aside.path)
        assert stored_path(connection, arrival(ONE, "never")) is None
    (replacing,) = put(index, arrival(ONE, "new"), on_duplicate=OnDuplicate.REPLACE)
    with index.reading() as connection:
        assert stored_path(connection, arrival(ONE, "new")) == str(replacing.path)


async def test_what_a_transaction_that_failed_has_added_is_forgotten(index: Index) -> None:
    cache = SharedTexts()

    def work(connection: Connection) -> None:
        for n in range(2):
            place(connection, [arrival(replace(ONE, uid=f"1.{n}"))], OnDuplicate.KEEP, cache)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await index.write(work)
    # Another process takes the numbers of the texts, and the ids of study and series
    put(index, arrival(Said("9.1", "9.1.1", "9.1.1.1", sop_class_uid=MR)))
    put(index, arrival(ONE), cache=cache)
    with index.reading() as connection:
        found = connection.execute(select(study.c.uid, study.c.sop_classes).order_by(study.c.uid)).all()
    assert [tuple(row) for row in found] == [("1.1", f"\\{CT}\\"), ("9.1", f"\\{MR}\\")]


def test_a_study_that_another_process_has_removed_is_made_again(index: Index) -> None:
    cache = SharedTexts()
    put(index, arrival(ONE), cache=cache)
    with index.writing() as connection:
        connection.execute(study.delete())
    put(index, arrival(replace(ONE, uid="1.1.1.2")), cache=cache)
    assert [row.uid for row in rows(index, instance)] == ["1.1.1.2"]
