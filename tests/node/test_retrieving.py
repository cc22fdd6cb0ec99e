"""What C-GET and C-MOVE send from an index, and what becomes of files that are not there."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import delete, event, select, update
from tests.sample_objects import dataset_bytes

import dimse
from dimse import CMoveSCU, Query, QueryRetrieveLevel, QueryRetrieveModel, Server, Status, StoreRequest
from dimse.node import retrieving, schema
from dimse.node.events import EventKind, since
from dimse.node.index import Index

from .retrievals import Got, getting, got, raw
from .rows import member, put, serving, uids_of

STUDY = Query.studies(StudyInstanceUID="1.1")


async def test_series_and_instances_come_in_their_order_over_all_pages(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieving, "PAGE", 3)
    datasets = [member("1.1", series, number) for series in ("3", "20") for number in (10, 9, 2, 11)]
    unnumbered = member("1.1", "1", 1, SeriesNumber=None, InstanceNumber=None)
    paths = put(index, tmp_path, unnumbered, *datasets)
    async with serving(index, tmp_path) as server, getting(server.port) as association:
        came = await got(association, STUDY)
    ordered = sorted(datasets, key=lambda each: (each.SeriesNumber, each.InstanceNumber))
    assert (came.status, came.uids) == (Status.SUCCESS, uids_of([*ordered, unnumbered]))
    assert all(came.data[path.stem].endswith(dataset_bytes(path)) for path in paths)


async def test_bulk_data_is_left_out(sqlite_index: Index, tmp_path: Path) -> None:
    (path,) = put(sqlite_index, tmp_path, member("1.1", "1", 1))
    async with serving(sqlite_index, tmp_path) as server, getting(server.port) as association:
        query = raw(QueryRetrieveModel.WITHOUT_BULK_DATA, QueryRetrieveLevel.IMAGE, SOPInstanceUID="1.1.1.1")
        came = await got(association, query)
    assert came.status == Status.SUCCESS
    assert len(came.data[path.stem]) < 1000 < path.stat().st_size


@pytest.mark.parametrize("fault", ["missing", "short", "a folder", "a pipe"])
async def test_a_file_that_is_not_there_fails_and_is_an_event(index: Index, tmp_path: Path, fault: str) -> None:
    whole, *broken = put(index, tmp_path, *(member("1.1", "1", number) for number in (1, 2, 3)))
    for path in broken:
        content = path.read_bytes()
        path.unlink()
        if fault == "short":
            path.write_bytes(content[:-1])
        elif fault == "a folder":
            path.mkdir()
        elif fault == "a pipe":
            os.mkfifo(path)
    async with serving(index, tmp_path) as server, getting(server.port) as association:
        came = await got(association, STUDY)
        assert (came.status, came.uids) == (Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES, [whole.stem])
        assert came.failed == [path.stem for path in broken]
    (told,) = await index.write(lambda connection: since(connection, 0))
    assert (told.kind, told.study_uid, told.series_uid) == (EventKind.MISSING, "1.1", "1.1.1")
    assert told.instance_uid == broken[0].stem
    assert told.detail["found by"] == "retrieval"


async def test_the_events_of_a_disk_that_is_not_there_are_few(index: Index, tmp_path: Path) -> None:
    paths = put(index, tmp_path, *(member(f"1.{number}", "1", 1, PatientID="P") for number in range(30)))
    for path in paths:
        path.unlink()
    async with serving(index, tmp_path) as server, getting(server.port) as association:
        patient = raw(QueryRetrieveModel.PATIENT_ROOT, QueryRetrieveLevel.PATIENT, PatientID="P")
        assert len((await got(association, patient)).failed) == len(paths)
    told = await index.write(lambda connection: since(connection, 0))
    assert len({each.study_uid for each in told}) == len(told) == retrieving.MAX_TOLD


async def test_no_path_comes_into_the_log(
    sqlite_index: Index, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that was adopted may have the name of a patient."""
    put(sqlite_index, tmp_path, member("1.1", "1", 1))
    with sqlite_index.writing() as connection:
        connection.execute(update(schema.instance).values(path="/images/Smith^Ada/1.dcm"))
    with caplog.at_level(logging.INFO):
        async with serving(sqlite_index, tmp_path) as server, getting(server.port) as association:
            assert (await got(association, STUDY)).failed == ["1.1.1.1"]
    assert "its file is missing" in caplog.text
    assert "Smith" not in caplog.text


async def test_a_study_that_is_deleted_meanwhile_fails(index: Index, tmp_path: Path) -> None:
    """And no event says that its files are missing."""
    paths = put(index, tmp_path, *(member("1.1", "1", number) for number in range(1, 6)))

    def remove(uid: str) -> None:
        if uid == paths[1].stem:
            with index.writing() as connection:
                connection.execute(delete(schema.study))
            for path in paths:
                path.unlink()

    async with serving(index, tmp_path) as server, getting(server.port) as association:
        came = await got(association, STUDY, remove)
        assert came.uids == [path.stem for path in paths[:2]]
        assert came.failed == [path.stem for path in paths[2:]]
        assert await got(association, STUDY) == Got(Status.SUCCESS)
    assert await index.write(lambda connection: connection.execute(select(schema.event)).all()) == []


async def test_a_study_that_is_deleted_while_it_is_listed_is_not_sent(index: Index, tmp_path: Path) -> None:
    put(index, tmp_path, *(member("1.1", "1", number) for number in range(1, 4)))
    listed: list[str] = []

    def remove(_: object, __: object, statement: str, *___: object) -> None:
        if not statement.startswith("SELECT") or listed:
            return
        listed.append(statement)
        with index.writing() as connection:
            connection.execute(delete(schema.instance).where(schema.instance.c.number == 2))

    async with serving(index, tmp_path) as server, getting(server.port) as association:
        event.listen(index.engine, "after_cursor_execute", remove)
        assert (await got(association, STUDY)).uids == ["1.1.1.1", "1.1.1.3"]


# C-MOVE


@asynccontextmanager
async def destination() -> AsyncIterator[tuple[Server, list[str]]]:
    server, came = Server("WS1", host="127.0.0.1", port=0), list[str]()

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        async for _ in request.chunks():
            pass
        came.append(request.sop_instance_uid)
        return Status.SUCCESS

    async with server:
        yield server, came


async def test_a_move_goes_to_its_destination(index: Index, tmp_path: Path) -> None:
    paths = put(index, tmp_path, *(member("1.1", "1", number) for number in (1, 2, 3)))
    paths[1].unlink()
    async with (
        destination() as (ws1, came),
        serving(index, tmp_path, destinations={"WS1": f"127.0.0.1:{ws1.port}"}) as server,
        dimse.connect(
            f"DIMSE@127.0.0.1:{server.port}", contexts=[(dimse.uids.STUDY_ROOT_MOVE, dimse.uids.LITTLE_ENDIAN)]
        ) as association,
    ):
        moved = CMoveSCU(association).move(STUDY, "WS1", raise_failures=False)
        assert [each async for each in moved]
    assert moved.status == Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES
    assert came == [paths[0].stem, paths[2].stem]
    assert moved.suboperations.failed == 1


async def test_an_index_that_cannot_be_read_is_out_of_resources(index: Index, tmp_path: Path) -> None:
    put(index, tmp_path, member("1.1", "1", 1))
    async with serving(index, tmp_path) as server, getting(server.port) as association:
        with index.writing() as connection:
            for table in ("instance", "name_word", "request", "series", "study"):
                connection.exec_driver_sql(f"DROP TABLE {table}")
        assert (await got(association, STUDY)).status == 0xA701
