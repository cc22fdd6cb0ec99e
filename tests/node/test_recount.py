"""Counters are what a recount says, and a recount finds those that are not."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import update
from tests.node.arrivals import CT, MR, ONE, Said, arrival, put, rows

from dimse.node.index import Index
from dimse.node.recount import Difference, correct, listed, recount
from dimse.node.schema import series, study


def test_values_in_order_between_backslashes() -> None:
    assert listed(["SR", "", "CT", "SR", "\\PT\\CT\\"]) == "\\CT\\PT\\SR\\"
    assert listed([]) == ""


def test_what_is_wrong_is_found_and_corrected(index: Index) -> None:
    put(index, arrival(ONE), arrival(replace(ONE, uid="2")), arrival(Said("1.2", "1.2.1", "3", MR, "MR")))
    with index.writing() as connection:
        connection.execute(update(study).where(study.c.uid == "1.1").values(instance_count=7, modalities="\\MR\\"))
        connection.execute(update(study).where(study.c.uid == "1.1").values(sop_classes="", series_count=0, bytes=1))
        connection.execute(update(series).where(series.c.uid == "1.2.1").values(instance_count=0, bytes=0))
    with index.writing() as connection:
        found = recount(connection)
        first, second = rows(index, study)[0].id, rows(index, series)[1].id
        assert set(found) == {
            Difference("study", first, "1.1", "modalities", "\\MR\\", "\\CT\\"),
            Difference("study", first, "1.1", "sop_classes", "", f"\\{CT}\\"),
            Difference("study", first, "1.1", "series_count", 0, 1),
            Difference("study", first, "1.1", "instance_count", 7, 2),
            Difference("study", first, "1.1", "bytes", 1, 2000),
            Difference("series", second, "1.2.1", "instance_count", 0, 1),
            Difference("series", second, "1.2.1", "bytes", 0, 1000),
        }
        assert {each.uid for each in recount(connection, "1.2")} == {"1.2.1"}
        assert {each.uid for each in recount(connection, "1.1")} == {"1.1"}
        correct(connection, found)
        assert recount(connection) == []
