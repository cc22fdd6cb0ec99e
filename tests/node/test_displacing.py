"""Files that are in the places of others, and that the index does not know."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select
from tests.node.ingesting import Archive, aside, events_of, stored, storing
from tests.node.instances import dataset
from tests.sample_objects import CT, instance, save

from dimse import Status
from dimse.node.deleting import KIND, FileDeletion
from dimse.node.events import EventKind
from dimse.node.index import Index
from dimse.node.jobs import Jobs
from dimse.node.naming import Names
from dimse.node.removing import remove_study
from dimse.node.schema import job, study

PLACE = "studies/1.2.3.1/1.2.3.2/1.2.3.4.dcm"


async def finish_jobs(archive: Archive) -> None:
    runner = Jobs(archive.index, {KIND: FileDeletion(archive.index, archive.data)})
    while await runner.start_due() == 0:
        await runner.until_idle()
    assert await archive.index.read(lambda c: c.execute(select(job)).all()) == []


@pytest.mark.parametrize("pixels", [400, 500])
async def test_of_a_study_that_is_sent_again_before_its_files_are_deleted(
    index: Index, tmp_path: Path, pixels: int
) -> None:
    async with storing(index, tmp_path) as archive:
        await archive.send(instance("1.2.3.4", pixels=400))
        await index.write(lambda c: remove_study(c, "1.2.3.1"))
        assert await archive.send(instance("1.2.3.4", pixels=pixels)) == [Status.SUCCESS]
        new = (tmp_path / PLACE).read_bytes()
        await finish_jobs(archive)
        assert archive.files == [PLACE], "nothing is left of the study that was deleted"
        assert (tmp_path / PLACE).read_bytes() == new
        assert aside(index) == {}


async def test_of_an_index_that_was_lost(index: Index, tmp_path: Path) -> None:
    (tmp_path / PLACE).parent.mkdir(parents=True)
    save(instance("1.2.3.4", pixels=500), tmp_path / PLACE)
    same, cut = (tmp_path / PLACE.replace("3.4.dcm", f"3.{n}.dcm") for n in (5, 6))
    save(instance("1.2.3.5"), same)
    cut.write_bytes(save(instance("1.2.3.6"), tmp_path / "whole.dcm").read_bytes()[:-10])
    (tmp_path / "whole.dcm").unlink()
    content = (tmp_path / PLACE).read_bytes()
    async with storing(index, tmp_path) as archive:
        await archive.send(*(instance(f"1.2.3.{n}") for n in (4, 5, 6)))
        await finish_jobs(archive)
        (kept,) = aside(index)
        assert (tmp_path / kept).read_bytes() == content
        assert [path for path in archive.files if path.startswith("set-aside/")] == [kept]
        assert events_of(index) == [EventKind.STUDY_CREATED, EventKind.DUPLICATE]
        await index.write(lambda c: remove_study(c, "1.2.3.1"))
        await finish_jobs(archive)
        assert archive.files == []


async def test_it_is_back_in_its_place_if_nothing_is_committed(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / PLACE).parent.mkdir(parents=True)
    stray = save(instance("1.2.3.4", pixels=500), tmp_path / PLACE)
    content = stray.read_bytes()
    give = Names.give

    def fail(names: Names, file: str, place: str) -> None:
        give(names, file, place)
        raise OSError

    async with storing(index, tmp_path) as archive:
        monkeypatch.setattr(Names, "give", fail)
        assert await archive.send(instance("1.2.3.4")) == [Status.OUT_OF_RESOURCES]
        assert archive.files == [PLACE]
        assert stray.read_bytes() == content
        assert await index.read(lambda c: c.execute(select(study)).all()) == []


async def test_of_another_instance_where_case_is_nothing(index: Index, tmp_path: Path) -> None:
    """The file system takes two names for one; here a link does."""
    first, second = (dataset(SOPClassUID=CT, SOPInstanceUID=uid, **_ABOVE) for uid in ("1.2.3.a", "1.2.3.A"))
    async with storing(index, tmp_path) as archive:
        assert await archive.send(first) == [Status.SUCCESS]
        (place,) = archive.files
        other = PLACE.replace("3.4.dcm", "3.A.dcm")
        (tmp_path / other).hardlink_to(tmp_path / place)
        (status,) = await archive.send(second)
        assert status == Status.OUT_OF_RESOURCES
        assert status.comment == "its UIDs differ from those of another instance in case alone"
        assert list(stored(index)) == [place]
        assert archive.files == [other, place]


_ABOVE = {"StudyInstanceUID": "1.2.3.1", "SeriesInstanceUID": "1.2.3.2"}
