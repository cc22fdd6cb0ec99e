"""Files that are imported are in the archive, as if they had been received."""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from sqlalchemy import select
from tests.node.archives import left_in_incoming, put_in, save_all, stored
from tests.node.instances import dataset
from tests.node.rows import member
from tests.sample_objects import save

from dimse.node import importing
from dimse.node.arrival import OnDuplicate, Outcome
from dimse.node.importing import Importer
from dimse.node.index import Index
from dimse.node.options import NodeOptions, StorageOptions
from dimse.node.schema import instance, set_aside, source


@pytest.fixture
def options(tmp_path: Path) -> NodeOptions:
    return NodeOptions(data=tmp_path / "data")


def test_files_and_folders_are_copied(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    paths = save_all(tmp_path / "a" / "b", [member("1.2", "1", number) for number in range(1, 4)])
    paths += save_all(tmp_path / "c", [member("1.3", "1", 1)])
    results = put_in(index, options, tmp_path / "a", paths[3])
    assert [(each.name, each.outcome, each.uid) for each in results] == [
        (str(path), Outcome.NEW, path.stem) for path in paths
    ]
    assert stored(index, options.data) == {path.stem: path.read_bytes() for path in paths}
    assert left_in_incoming(options.data) == []
    with index.reading() as connection:
        assert connection.scalars(select(source.c.name)).all() == ["import"]


def test_a_second_time_changes_nothing(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    save_all(tmp_path / "a", [member("1.2", "1", number) for number in range(1, 4)])
    put_in(index, options, tmp_path / "a")
    before = stored(index, options.data)
    assert {each.outcome for each in put_in(index, options, tmp_path / "a")} == {Outcome.SAME}
    assert stored(index, options.data) == before
    assert left_in_incoming(options.data) == []


def test_many_files_are_read_by_other_processes(
    sqlite_index: Index, options: NodeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK", 3)
    monkeypatch.setattr(importing, "MAXIMUM_BATCH", 9)
    paths = save_all(tmp_path / "a", [member("1.2", str(number % 3), number) for number in range(40)])
    (tmp_path / "a" / "z").write_bytes(b"no instance")
    with Importer(sqlite_index, options) as importer:
        results = list(importer.run([tmp_path / "a"]))
        assert importer._readers._processes
    assert sorted(each.name for each in results if each.outcome is Outcome.NEW) == sorted(map(str, paths))
    assert [each.name for each in results if each.is_skipped] == [str(tmp_path / "a" / "z")]
    assert stored(sqlite_index, options.data) == {path.stem: path.read_bytes() for path in paths}


def test_in_place_they_stay_where_they_are(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    (path,) = save_all(tmp_path / "real", [member("1.2", "1", 1)])
    (tmp_path / "a").symlink_to(tmp_path / "real")
    (result,) = put_in(index, options, Path(os.path.relpath(tmp_path / "a")), in_place=True)
    assert result.outcome is Outcome.NEW
    assert not (options.data / "studies").exists()
    with index.reading() as connection:
        assert connection.scalars(select(instance.c.path)).one() == str(path)
    assert stored(index, options.data) == {path.stem: path.read_bytes()}


def test_what_cannot_be_imported_is_told(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    (whole,) = save_all(folder, [member("1.2", "1", 1)])
    (folder / "cut.dcm").write_bytes(whole.read_bytes()[:-10])
    (folder / "text.txt").write_text("text")
    option = member("1.2", "1", 2)
    option.update(dataset(SeriesInstanceUID="-rf"))
    save_all(folder / "option", [option])
    results = {Path(each.name).name: each for each in put_in(index, options, folder, folder / "none")}
    assert results[whole.name].outcome is Outcome.NEW
    assert "truncated" in str(results["cut.dcm"].error)
    assert "(0020,000E) is not a valid UID" in str(results["1.2.1.2.dcm"].error)
    assert results["text.txt"].is_skipped
    assert isinstance(results["none"].error, FileNotFoundError)
    assert len(results) == len(stored(index, options.data)) + 4
    assert left_in_incoming(options.data) == []


def test_its_own_files_are_not_imported(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    save_all(tmp_path / "a", [member("1.2", "1", 1)])
    put_in(index, options, tmp_path / "a")
    results = put_in(index, options, options.data / "studies", in_place=True)
    assert [str(each.error) for each in results] == ["is in the data folder of the archive"]


@pytest.mark.parametrize(
    ("on_duplicate", "outcome"),
    [
        (OnDuplicate.KEEP, Outcome.SET_ASIDE),
        (OnDuplicate.REPLACE, Outcome.REPLACED),
        (OnDuplicate.REJECT, Outcome.REJECTED),
    ],
)
def test_duplicates(
    on_duplicate: OnDuplicate, outcome: Outcome, index: Index, options: NodeOptions, tmp_path: Path
) -> None:
    options = replace(options, storage=StorageOptions(on_duplicate=on_duplicate))
    (old,) = save_all(tmp_path / "a", [member("1.2", "1", 1)])
    (new,) = save_all(tmp_path / "b", [member("1.2", "1", 1, Rows=7)])
    put_in(index, options, old)
    (result,) = put_in(index, options, new)
    assert (result.outcome, result.error) == (outcome, None)
    kept = new if outcome is Outcome.REPLACED else old
    assert stored(index, options.data) == {old.stem: kept.read_bytes()}
    with index.reading() as connection:
        aside = connection.scalars(select(set_aside.c.path)).all()
    assert [(options.data / each).read_bytes() for each in aside] == (
        [new.read_bytes()] if outcome is Outcome.SET_ASIDE else []
    )


def test_zip_archives_and_media(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    (path,) = save_all(tmp_path, [member("1.2", "1", 1)])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "x.dcm")
        archive.writestr("cut.dcm", path.read_bytes()[:-10])
    found = {each.name: each for each in put_in(index, options, tmp_path / "a.zip")}
    assert found[f"{tmp_path / 'a.zip'}!x.dcm"].outcome is Outcome.NEW
    assert "truncated" in str(found[f"{tmp_path / 'a.zip'}!cut.dcm"].error)
    (kept,) = stored(index, options.data).values()
    assert kept[-1000:] == path.read_bytes()[-1000:]
    results = put_in(index, options, tmp_path / "a.zip", in_place=True)
    assert "zip archive" in str(results[0].error)
    sample = get_testdata_file("CT_small.dcm", download=False)
    results = put_in(index, options, Path(str(sample)).parent / "dicomdirtests" / "TINY_ALPHA" / "DICOMDIR")
    assert len(results) > 10
    assert {each.outcome for each in results} == {Outcome.NEW}
    assert left_in_incoming(options.data) == []


def test_a_full_disk_ends_it(
    index: Index, options: NodeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_all(tmp_path / "a", [member("1.2", "1", 1)])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OSError, match="nearly full") as caught:
        put_in(index, options, tmp_path / "a")
    assert caught.value.errno == errno.ENOSPC
    assert stored(index, options.data) == {}
    assert left_in_incoming(options.data) == []


def test_what_was_taken_is_gone_from_where_it_was(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    paths = [save(member("1.2", "1", number), tmp_path / f"{number}.dcm") for number in (1, 2)]
    content = paths[0].read_bytes()
    paths[1].write_bytes(paths[1].read_bytes()[:-10])
    with Importer(index, options, source="OTHER@host") as importer:
        results = list(importer.take(paths))
    assert [each.outcome for each in sorted(results, key=lambda each: each.name)] == [Outcome.NEW, None]
    assert [path.exists() for path in paths] == [False, False]
    assert stored(index, options.data) == {"1.2.1.1": content}
    assert left_in_incoming(options.data) == []
