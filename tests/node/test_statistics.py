"""The figures of an archive."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import update
from tests.node.rows import member, put

from dimse.node.index import Index
from dimse.node.jobs import QueueState, defer
from dimse.node.schema import job, study
from dimse.node.statistics import statistics


def test_nothing_is_there_at_first(index: Index) -> None:
    with index.reading() as connection:
        found = statistics(connection)
    assert (found.studies, found.series, found.instances, found.bytes, found.jobs) == (0, 0, 0, 0, 0)
    assert (found.oldest, found.newest, found.index_bytes_per_instance) == (None, None, None)
    assert found.index_bytes > 0


def test_counters_are_added_up(index: Index, tmp_path: Path) -> None:
    put(index, tmp_path, member("1.2", "1", 1), member("1.3", "1", 1))
    with index.writing() as connection:
        columns = {"series_count": 2, "instance_count": 30, "bytes": 4000}
        connection.execute(update(study).values(columns))
        connection.execute(update(study).where(study.c.uid == "1.2").values(created_at=5, changed_at=7, settled_at=8))
        connection.execute(update(study).where(study.c.uid == "1.3").values(created_at=6, changed_at=9))
        defer(connection, "webhook", {})
        defer(connection, "command", {})
        defer(connection, "next week", {}, not_before=1e12)
        connection.execute(update(job).where(job.c.kind == "webhook").values(attempts=3, problem="HTTP status 500"))
    with index.reading() as connection:
        found = statistics(connection)
    assert (found.studies, found.series, found.instances, found.bytes) == (2, 4, 60, 8000)
    assert (found.unsettled, found.jobs, found.set_aside) == (1, 2, 0)
    assert found.failing == [QueueState("webhook", 1, 3, "HTTP status 500")]
    assert (found.oldest, found.newest) == (5, 9)
    assert found.index_bytes_per_instance == found.index_bytes / 60
