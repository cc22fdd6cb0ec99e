"""The studies and series of a batch."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tests.node.arrivals import MR, ONE, Said, arrival, events, put, rows

from dimse.node.arrival import Outcome
from dimse.node.index import Index
from dimse.node.schema import event, instance, series, study
from dimse.node.shared_texts import SharedTexts


def test_batches_one_after_another(index: Index) -> None:
    cache = SharedTexts()
    for n in range(5):
        put(index, arrival(replace(ONE, uid=f"1.1.1.{n}")), cache=cache)
    put(index, arrival(replace(ONE, series_uid="1.1.2", modality="SR", sop_class_uid=MR)), cache=cache)
    (the_study,) = rows(index, study)
    assert (the_study.series_count, the_study.instance_count, the_study.modalities) == (2, 6, "\\CT\\SR\\")
    assert the_study.attributes == b"study of 1.1.1.0", "the first instance decides"
    assert events(index) == [("study-created", None, None)]


def test_another_patient_is_told_once_a_series_without_saying_whom(index: Index) -> None:
    put(index, arrival(ONE), arrival(replace(ONE, series_uid="1.1.0", patient_id=None)))
    other = replace(ONE, patient_id="0815", series_uid="1.1.2")
    put(index, arrival(other), arrival(replace(other, uid="2")))
    put(index, arrival(replace(other, uid="3")))
    put(index, arrival(replace(other, series_uid="1.1.0", uid="4")))
    put(index, arrival(replace(other, series_uid="1.1.0", uid="5")))
    put(index, arrival(replace(other, patient_id="4711", issuer="I", series_uid="1.1.3")))
    conflicts = [row for row in rows(index, event) if row.kind == "conflict"]
    assert [(row.study_uid, row.series_uid) for row in conflicts] == [("1.1", "1.1.2"), ("1.1", "1.1.0")]
    assert conflicts[0].detail == {"source": "CT1@10.0.0.7"}
    assert rows(index, study)[0].patient_id == "4711"
    assert rows(index, study)[0].instance_count == 8


def test_the_greatest_number_that_is_announced_counts(index: Index) -> None:
    for number, announced in enumerate((None, 3, 7, 5, None)):
        put(index, arrival(replace(ONE, uid=f"1.{number}", announced=announced)))
    assert rows(index, study)[0].announced == 7


def test_a_study_that_another_process_has_removed_is_made_again(index: Index) -> None:
    cache = SharedTexts()
    put(index, arrival(ONE), cache=cache)
    with index.writing() as connection:
        connection.execute(study.delete())
    put(index, arrival(replace(ONE, uid="1.1.1.2")), cache=cache)
    assert [row.uid for row in rows(index, instance)] == ["1.1.1.2"]


def test_several_processes_add_to_the_same_studies(index_url: str) -> None:
    said = [Said(f"1.{n % 3}", f"1.{n % 3}.{n % 5}", f"1.{n}") for n in range(60)]

    def process(number: int) -> list[Outcome]:
        index, cache = Index(index_url), SharedTexts()
        mine = said[:: 1 if number % 2 else -1]
        placed = [
            each
            for begin in range(0, 60, 6)
            for each in put(index, *map(arrival, mine[begin : begin + 6]), cache=cache)
        ]
        index.close()
        return [each.outcome for each in placed]

    with ThreadPoolExecutor(4) as threads:
        outcomes = [outcome for each in threads.map(process, range(4)) for outcome in each]
    assert Counter(outcomes) == {Outcome.NEW: 60, Outcome.SAME: 180}
    index = Index(index_url)
    assert sum(row.instance_count for row in rows(index, study)) == 60
    assert len(rows(index, series)) == 15
    assert len(rows(index, event)) == 3
    index.close()
