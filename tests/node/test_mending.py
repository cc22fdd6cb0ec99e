"""An instance whose file is missing, and that is sent again."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, update
from tests.node.arrivals import rows
from tests.node.ingesting import aside, events_of, stored, storing
from tests.sample_objects import instance

from dimse import Status
from dimse.node import schema
from dimse.node.arrival import OnDuplicate
from dimse.node.events import EventKind
from dimse.node.index import Index
from dimse.node.recount import recount

PLACE = "studies/1.2.3.1/1.2.3.2/1.2.3.4.dcm"


@pytest.mark.parametrize("fault", ["missing", "short", "a folder is missing"])
async def test_what_is_sent_takes_the_place_of_a_file_that_is_not_whole(
    index: Index, tmp_path: Path, fault: str
) -> None:
    path = tmp_path / PLACE
    async with storing(index, tmp_path) as archive:
        assert await archive.send(instance("1.2.3.4")) == [Status.SUCCESS]
        content = path.read_bytes()
        path.unlink()
        if fault == "short":
            path.write_bytes(content[:-10])
        elif fault == "a folder is missing":
            path.parent.rmdir()
        assert await archive.send(instance("1.2.3.4"), instance("1.2.3.4")) == [Status.SUCCESS] * 2
        assert path.read_bytes() == content
        assert list(stored(index)) == [PLACE]
        assert list((tmp_path / "incoming").glob("*/*.dcm")) == []
        assert len(list((tmp_path / "set-aside").glob("*"))) == (fault == "short")
        assert aside(index) == {}


async def test_the_size_is_that_of_the_new_file(index: Index, tmp_path: Path) -> None:
    """The same data set may have another File Meta Information."""
    async with storing(index, tmp_path) as archive:
        await archive.send(instance("1.2.3.4"))
        size = (tmp_path / PLACE).stat().st_size
        with index.writing() as connection:
            for table in (schema.instance, schema.series, schema.study):
                connection.execute(update(table).values(bytes=table.c.bytes + 10))
        await archive.send(instance("1.2.3.4"))
    assert stored(index)[PLACE][0] == size
    with index.writing() as connection:
        assert connection.execute(select(schema.study.c.bytes, schema.series.c.bytes).join(schema.series)).one() == (
            size,
            size,
        )
        assert not list(recount(connection))


async def test_a_file_that_is_not_ours_is_not_written(sqlite_index: Index, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign" / "1.dcm"
    data = tmp_path / "data"
    async with storing(sqlite_index, data) as archive:
        await archive.send(instance("1.2.3.4"))
        with sqlite_index.writing() as connection:
            connection.execute(update(schema.instance).values(path=str(foreign)))
        (data / PLACE).unlink()
        assert await archive.send(instance("1.2.3.4")) == [Status.SUCCESS]
        assert not foreign.parent.exists()
        with sqlite_index.reading() as connection:
            path = connection.execute(select(schema.instance.c.path)).scalar_one()
        assert archive.files == [path]


async def test_an_instance_that_comes_many_times_at_once_is_not_mended(
    sqlite_index: Index, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with storing(sqlite_index, tmp_path) as archive:
        assert await archive.send_at_once(*[instance("1.2.3.4")] * 8) == [Status.SUCCESS] * 8
        assert archive.files == [PLACE]
    assert "stored again" not in caplog.text


@pytest.mark.parametrize("fault", ["missing", "short"])
async def test_so_it_is_with_one_that_was_set_aside(index: Index, tmp_path: Path, fault: str) -> None:
    other = instance("1.2.3.4", pixels=500)
    async with storing(index, tmp_path) as archive:
        await archive.send(instance("1.2.3.4"), other)
        (path,) = (tmp_path / each for each in aside(index))
        content = path.read_bytes()
        path.unlink()
        if fault == "short":
            path.write_bytes(content[:-10])
        await archive.send(other, other)
        (again,) = (tmp_path / each for each in aside(index))
        assert again.read_bytes() == content
        assert list((tmp_path / "incoming").glob("*/*.dcm")) == []


@pytest.mark.parametrize("on_duplicate", OnDuplicate)
@pytest.mark.parametrize("fault", ["missing", "short"])
async def test_other_content_replaces_a_file_that_is_not_whole(
    index: Index, tmp_path: Path, on_duplicate: OnDuplicate, fault: str
) -> None:
    path = tmp_path / PLACE
    async with storing(index, tmp_path, on_duplicate=on_duplicate) as archive:
        await archive.send(instance("1.2.3.4"))
        if fault == "short":
            path.write_bytes(path.read_bytes()[:-10])
        else:
            path.unlink()
        others = instance("1.2.3.4", pixels=500), instance("1.2.3.4", pixels=500)
        assert await archive.send_at_once(*others) == [Status.SUCCESS] * 2
        (row,) = rows(index, schema.instance)
        assert (tmp_path / row.path).stat().st_size == row.bytes
        assert [events_of(index), aside(index)] == [[EventKind.STUDY_CREATED, EventKind.DUPLICATE], {}]
        assert rows(index, schema.event)[-1].detail["outcome"] == "replaced"
        with index.reading() as connection:
            assert not list(recount(connection))


async def test_one_of_two_in_a_batch_is_not_missing(index: Index, tmp_path: Path) -> None:
    """Its file has no name yet when the other one is looked at."""
    async with storing(index, tmp_path) as archive:
        await archive.send_at_once(*(instance("1.2.3.4", pixels=pixels) for pixels in range(400, 408)))
        assert len(aside(index)) == 7
        assert set(events_of(index)[1:]) == {EventKind.DUPLICATE}
        assert {each.detail["outcome"] for each in rows(index, schema.event)[1:]} == {"set aside"}
