"""An index that is built anew is the one before, as far as files and that tell."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from tests.node.archives import put_in, save_all
from tests.node.rows import member

from dimse.node import reindexing
from dimse.node.arrival import OnDuplicate, Outcome
from dimse.node.data_folder import index_url, served, worked_on
from dimse.node.index import Index, make_engine
from dimse.node.jobs import defer
from dimse.node.migrating import NewerVersion
from dimse.node.options import NodeOptions, StorageOptions
from dimse.node.reindexing import Indexed, Reindexing
from dimse.node.removing import remove_study
from dimse.node.schema import event, instance, job, metadata, series, set_aside, source, study
from dimse.node.verifying import Verifier

_NUMBERS = {"id", "study_id", "series_id", "sop_class", "transfer_syntax", "storage", "source"}
"""Columns whose numbers may be others in the new index."""


@pytest.fixture
def options(request: pytest.FixtureRequest, index_url: str, tmp_path: Path) -> NodeOptions:
    """An archive of each kind of instance: stored, replaced, set aside, adopted, and to be deleted."""
    data = tmp_path / "data"
    data.mkdir()
    is_sqlite = index_url.startswith("sqlite")
    options = NodeOptions(data=data, index=None if is_sqlite else index_url)
    index = opened(options)
    made = [member(study, str(series), number) for study in ("1.2", "1.3") for series in (1, 2) for number in (1, 2)]
    made[0].RequestAttributesSequence = [member("1.2", "1", 1)]
    made[0].RequestAttributesSequence[0].RequestedProcedureID = "P1"
    put_in(index, options, *save_all(tmp_path / "a", made))
    put_in(index, options, *save_all(tmp_path / "b", [member("1.2", "1", 1, Rows=7)]))
    replacing = NodeOptions(data=data, index=options.index, storage=StorageOptions(on_duplicate=OnDuplicate.REPLACE))
    put_in(index, replacing, *save_all(tmp_path / "c", [member("1.2", "1", 2, Rows=7)]))
    put_in(index, options, *save_all(tmp_path / "d", [member("1.2", "3", 1), member("1.4", "1", 1)]), in_place=True)
    put_in(index, options, *save_all(tmp_path / "e", [member("1.5", "1", 1)]))
    with index.writing() as connection:
        remove_study(connection, "1.5")
        defer(connection, "webhook", {"x": 1}, key="k")
        connection.execute(update(source).values(name="CT1@10.0.0.7"))
        connection.execute(update(instance).values(received_at=instance.c.id))
        done = {"settled_at": 7, "settled_because": "quiet", "created_at": 5, "changed_at": 6}
        connection.execute(update(study).where(study.c.uid == "1.2").values(done))
    index.close()
    return options


def opened(options: NodeOptions) -> Index:
    return Index(options.index) if options.index else Index.at(options.data / "index.sqlite")


def rows(connection: Any, table: Table, *joined: Table) -> list[Any]:
    """All rows, without their numbers, in an order of their own."""
    found = table
    for each in joined:
        found = found.join(each)  # type: ignore[assignment]
    names: list[Any] = [table.c[column.name] for column in table.c if column.name not in _NUMBERS]
    names += [each.c.uid.label(f"{each.name}_uid") for each in joined]
    return sorted(map(repr, connection.execute(select(*names).select_from(found)).mappings()))


def everything(options: NodeOptions) -> dict[str, Any]:
    """All that the index of an archive has."""
    index = opened(options)
    try:
        assert not [each for each in Verifier(index, options.data, digests=True).findings() if each]
        with index.reading() as connection:
            above = {"instance": (series, study), "series": (study,), "request": (series,), "name_word": (study,)}
            found: dict[str, Any] = {
                name: rows(connection, table, *above.get(name, ()))
                for name, table in metadata.tables.items()
                if name not in ("uid", "source", "storage")
            }
            found["events"] = connection.execute(select(event)).all()
            found["jobs"] = connection.execute(select(job)).all()
            for table in (instance, study, set_aside):
                joined = select(source.c.name, table.c.uid).join(source, table.c.source == source.c.id)
                found[f"sources of {table.name}"] = sorted(map(tuple, connection.execute(joined)))
            return found
    finally:
        index.close()


def reindex(options: NodeOptions) -> list[Indexed]:
    return list(Reindexing(options).results())


def test_the_new_index_is_the_one_before(options: NodeOptions) -> None:
    before = everything(options)
    results = reindex(options)
    assert {each.outcome for each in results} == {Outcome.NEW}
    assert len(results) == 10
    assert everything(options) == before
    assert {each.name for each in options.data.iterdir() if "new" in each.name} == set()


def test_numbers_go_on(options: NodeOptions) -> None:
    index = opened(options)
    with index.reading() as connection:
        last = max(connection.scalars(select(event.c.id)))
    index.close()
    reindex(options)
    index = opened(options)
    put_in(index, options, *save_all(options.data.parent / "f", [member("1.7", "1", 1)]))
    with index.reading() as connection:
        assert min(connection.scalars(select(event.c.id).where(event.c.study_uid == "1.7"))) == last + 1
    index.close()


def test_several_batches(options: NodeOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindexing, "CHUNK", 2)
    monkeypatch.setattr(reindexing, "MAXIMUM_BATCH", 3)
    monkeypatch.setattr(reindexing, "_PAGE", 1)
    before = everything(options)
    reindex(options)
    assert everything(options) == before


def test_rows_without_files_are_gone_and_files_without_rows_are_there(options: NodeOptions, tmp_path: Path) -> None:
    folder = options.data / "studies" / "1.3" / "1.3.1"
    (folder / "1.3.1.1.dcm").unlink()
    (new,) = save_all(tmp_path / "f", [member("1.3", "1", 9)])
    new.rename(folder / "1.3.1.9.dcm")
    (folder / "x.dcm").write_bytes(b"no instance")
    results = {each.path: each for each in reindex(options)}
    assert results["studies/1.3/1.3.1/x.dcm"].error is not None
    assert results["studies/1.3/1.3.1/1.3.1.9.dcm"].outcome is Outcome.NEW
    (folder / "x.dcm").unlink()
    assert "1.3.1.1'" not in (found := "".join(everything(options)["instance"]))
    assert "'1.3.1.9'" in found


def test_a_file_that_is_damaged_is_told(options: NodeOptions) -> None:
    path = "studies/1.3/1.3.1/1.3.1.1.dcm"
    content = (options.data / path).read_bytes()
    (options.data / path).write_bytes(content[:-1] + b"?")
    damaged = [each for each in reindex(options) if each.error is not None]
    assert [(each.path, each.outcome) for each in damaged] == [(path, Outcome.NEW)]
    assert not [each for each in reindex(options) if each.error is not None], "it is what is stored now"


def test_a_disk_that_is_not_mounted_changes_nothing(options: NodeOptions) -> None:
    before = everything(options)
    (options.data / "studies").rename(options.data / "away")
    with pytest.raises(FileNotFoundError, match="is its disk mounted"):
        reindex(options)
    (options.data / "away").rename(options.data / "studies")
    assert everything(options) == before


def test_a_disk_that_is_gone_meanwhile_changes_nothing(options: NodeOptions) -> None:
    before = everything(options)
    results = Reindexing(options).results()
    next(results)
    (options.data / "studies").rename(options.data / "away")
    with pytest.raises(FileNotFoundError, match="is its disk mounted"):
        list(results)
    (options.data / "away").rename(options.data / "studies")
    assert everything(options) == before


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("table", ["job", "event"])
def test_a_server_that_fails_is_no_reason_to_do_without_what_it_has(options: NodeOptions, table: str) -> None:
    before = everything(options)
    engine = make_engine(str(options.index))
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO away"))
    with pytest.raises(SQLAlchemyError):
        reindex(options)
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE away RENAME TO {table}"))
    engine.dispose()
    assert everything(options) == before


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_index_of_which_a_part_is_damaged(options: NodeOptions) -> None:
    with sqlite3.connect(options.data / "index.sqlite") as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'job'").fetchone()
    connection.close()
    with (options.data / "index.sqlite").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"x" * 4096)
    again = Reindexing(options)
    assert {each.outcome for each in again.results()} == {Outcome.NEW, Outcome.SET_ASIDE}
    assert "malformed" in str(again.problem)


def test_what_was_set_aside_of_a_study_that_is_to_be_deleted(options: NodeOptions) -> None:
    index = opened(options)
    with index.writing() as connection:
        remove_study(connection, "1.2")
    index.close()
    before = everything(options)
    assert before["set_aside"] == []
    reindex(options)
    assert everything(options) == before


def test_one_that_was_set_aside_where_it_is_on_a_disk_that_is_not_mounted(options: NodeOptions, tmp_path: Path) -> None:
    index = opened(options)
    put_in(index, options, *save_all(tmp_path / "f", [member("1.3", "1", 1, Rows=9)]), in_place=True)
    index.close()
    before = everything(options)
    (tmp_path / "f").rename(tmp_path / "away")
    reindex(options)
    (tmp_path / "away").rename(tmp_path / "f")
    assert everything(options) == before


def test_an_index_of_a_newer_dimse_is_not_replaced(options: NodeOptions) -> None:
    index = opened(options)
    with index.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    index.close()
    with pytest.raises(NewerVersion, match="a newer dimse has used it"):
        reindex(options)
    engine = make_engine(options.index or index_url(options.data))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    engine.dispose()
    assert not [each.name for each in options.data.iterdir() if "new" in each.name]


def test_other_content_is_set_aside_where_it_is(options: NodeOptions, tmp_path: Path) -> None:
    (other,) = save_all(tmp_path / "f", [member("1.3", "1", 1, Rows=9)])
    stray = options.data / "studies" / "1.3" / "1.3.1" / "0.dcm"
    other.rename(stray)
    results = {each.path: each.outcome for each in reindex(options)}
    assert results["studies/1.3/1.3.1/0.dcm"] is Outcome.SET_ASIDE
    assert results["studies/1.3/1.3.1/1.3.1.1.dcm"] is Outcome.NEW
    index = opened(options)
    with index.reading() as connection:
        assert "studies/1.3/1.3.1/0.dcm" in connection.scalars(select(set_aside.c.path)).all()
    index.close()


def break_it(data: Path) -> None:
    with (data / "index.sqlite").open("r+b") as file:
        file.write(b"x" * 100)


def lose_it(data: Path) -> None:
    (data / "index.sqlite").unlink()


@pytest.mark.parametrize("harm", [break_it, lose_it])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_without_the_index_before(harm: Callable[[Path], None], options: NodeOptions) -> None:
    harm(options.data)
    (options.data / "index.sqlite-wal").write_bytes(b"of the one before")
    before = [path.read_bytes() for path in options.data.glob("index.sqlite")]
    again = Reindexing(options)
    results = list(again.results())
    assert again.problem is not None
    assert {each.outcome for each in results} <= {Outcome.NEW, Outcome.SET_ASIDE}
    index = opened(options)
    with index.reading() as connection:
        assert set(connection.scalars(select(study.c.uid))) == {"1.2", "1.3", "1.5"}  # what was adopted is not known
        assert set(connection.scalars(select(study.c.settled_because))) == {"reindex"}
        assert len(connection.scalars(select(set_aside.c.path)).all()) == 2
    index.close()
    assert [path.read_bytes() for path in options.data.glob("index.damaged.sqlite")] == before


def test_nobody_else_may_use_it(options: NodeOptions) -> None:
    before = everything(options)
    with served(options.data), pytest.raises(OSError, match="stop it first"):
        reindex(options)
    with worked_on(options.data), pytest.raises(OSError, match="another command is at work"):
        reindex(options)
    assert everything(options) == before


def test_an_interrupted_one_changes_nothing(options: NodeOptions) -> None:
    before = everything(options)
    results = Reindexing(options).results()
    next(results)
    results.close()
    assert everything(options) == before
    reindex(options)
    assert everything(options) == before
