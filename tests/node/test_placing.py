"""What a batch of arrivals does to the index."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest
from sqlalchemy import Connection, select
from tests.node.arrivals import CT, MR, ONE, Said, arrival, events, put, rows

from dimse.node.arrival import OnDuplicate, Outcome
from dimse.node.index import Index
from dimse.node.keys import uid_hash
from dimse.node.placing import place, stored_path
from dimse.node.schema import instance, name_word, request, series, source, study, uid
from dimse.node.shared_texts import SharedTexts


def test_a_new_instance(index: Index) -> None:
    (placed,) = put(index, arrival(ONE))
    assert (placed.outcome, placed.path) == (Outcome.NEW, "studies/1.1/1.1.1/1.1.1.1.dcm")
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


def test_one_uid_in_two_series_is_two_instances(index: Index) -> None:
    placed = put(index, arrival(ONE), arrival(replace(ONE, series_uid="1.1.2")), arrival(replace(ONE, study_uid="1.2")))
    assert len({each.path for each in placed}) == 3
    assert len(rows(index, instance)) == 3


def test_where_a_file_belongs_whose_move_a_crash_undid(index: Index) -> None:
    put(index, arrival(ONE))
    (aside,) = put(index, arrival(ONE, "aside"))
    with index.reading() as connection:
        assert stored_path(connection, arrival(ONE)) == "studies/1.1/1.1.1/1.1.1.1.dcm"
        assert stored_path(connection, arrival(ONE, "aside")) == aside.path
        assert stored_path(connection, arrival(ONE, "never")) is None
    (replacing,) = put(index, arrival(ONE, "new"), on_duplicate=OnDuplicate.REPLACE)
    with index.reading() as connection:
        assert stored_path(connection, arrival(ONE, "new")) == replacing.path


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


def test_no_statement_of_a_batch_looks_through_a_table(sqlite_index: Index) -> None:
    found: list[str] = []
    with sqlite_index.writing() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_trace_callback(found.append)
        place(connection, [arrival(ONE), arrival(replace(ONE, uid="1.1.1.2"))], OnDuplicate.KEEP, SharedTexts())
        place(connection, [arrival(ONE, "other")], OnDuplicate.REPLACE, SharedTexts())
        place(connection, [arrival(ONE, "another")], OnDuplicate.KEEP, SharedTexts())
        stored_path(connection, arrival(ONE, "another"))
        driver.set_trace_callback(None)
        plans = {text: driver.execute(f"EXPLAIN QUERY PLAN {text}").fetchall() for text in found}
    assert len(plans) > 20
    looks = {text: step[3] for text, plan in plans.items() for step in plan if step[3].startswith("SCAN")}
    assert all("FROM subscription" in text for text in looks), looks
