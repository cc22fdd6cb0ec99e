"""Everything in which index and files may disagree is found, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Table, delete, insert, select, update
from tests.node.archives import put_in, save_all
from tests.node.rows import member

from dimse.node.index import Index
from dimse.node.options import NodeOptions
from dimse.node.recount import correct, recount
from dimse.node.removing import remove_study
from dimse.node.schema import instance, series, set_aside, study
from dimse.node.verifying import Fault, Finding, Verifier


@pytest.fixture
def data(index: Index, tmp_path: Path) -> Path:
    """The folder of an archive with two studies, and an instance in place and one that was set aside."""
    options = NodeOptions(data=tmp_path / "data")
    made = [member(study, str(series), number) for study in ("1.2", "1.3") for series in (1, 2) for number in (1, 2)]
    put_in(index, options, *save_all(tmp_path / "a", made))
    put_in(index, options, *save_all(tmp_path / "b", [member("1.2", "1", 1, Rows=7)]))
    put_in(index, options, *save_all(tmp_path / "c", [member("1.2", "3", 1)]), in_place=True)
    return options.data


def found(index: Index, data: Path, *, digests: bool = False) -> list[Finding]:
    verifier = Verifier(index, data, digests=digests)
    return [each for study in verifier.findings() for each in study]


def file_of(data: Path, study: str, series: str, number: int) -> Path:
    return data / "studies" / study / f"{study}.{series}" / f"{study}.{series}.{number}.dcm"


@pytest.mark.parametrize("digests", [False, True])
def test_nothing_is_wrong(index: Index, data: Path, digests: bool) -> None:
    verifier = Verifier(index, data, digests=digests)
    assert [each for each in verifier.findings() if each] == []
    assert (verifier.instances, verifier.total) == (9, 9)
    assert verifier.bytes > 9 * 1000


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def change(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-2] + bytes([content[-2] ^ 1, content[-1]]))


@pytest.mark.parametrize(
    ("damage", "fault"),
    [(os.unlink, Fault.NO_FILE), (cut, Fault.WRONG_LENGTH), (change, Fault.OTHER_CONTENT)],
)
def test_files_that_are_missing_or_damaged(
    damage: Callable[[Path], None], fault: Fault, index: Index, data: Path, tmp_path: Path
) -> None:
    damage(file_of(data, "1.3", "2", 1))
    damage(tmp_path / "c" / "1.2.3.1.dcm")
    stored = Finding(fault, "1.3", "1.3.2", "1.3.2.1", "studies/1.3/1.3.2/1.3.2.1.dcm")
    in_place = Finding(fault, "1.2", "1.2.3", "1.2.3.1", str(tmp_path / "c" / "1.2.3.1.dcm"))
    assert found(index, data, digests=True) == [in_place, stored]
    assert found(index, data) == ([] if fault is Fault.OTHER_CONTENT else [in_place, stored])


def test_files_that_are_not_in_the_index(index: Index, data: Path) -> None:
    file_of(data, "1.2", "1", 1).with_name("x.dcm").write_bytes(b"x")
    (data / "studies" / "1.9" / "1.9.1").mkdir(parents=True)
    (data / "studies" / "1.9" / "1.9.1" / "x.dcm").write_bytes(b"x")
    assert found(index, data) == [
        Finding(Fault.NO_ROW, "1.2", path="studies/1.2/1.2.1/x.dcm"),
        Finding(Fault.NO_ROW, "1.9", path="studies/1.9/1.9.1/x.dcm"),
    ]


def test_what_was_set_aside_and_is_not_in_the_index(index: Index, data: Path) -> None:
    with index.writing() as connection:
        connection.execute(delete(set_aside))
    (aside,) = (data / "set-aside").iterdir()
    assert found(index, data) == [Finding(Fault.NO_ROW, "", path=f"set-aside/{aside.name}")]


def test_rows_that_are_gone(index: Index, data: Path) -> None:
    with index.writing() as connection:
        connection.execute(delete(instance).where(instance.c.uid == "1.2.1.2"))
    assert found(index, data) == [
        Finding(Fault.NO_ROW, "1.2", path="studies/1.2/1.2.1/1.2.1.2.dcm"),
        Finding(Fault.COUNTERS, "1.2"),
    ]


@pytest.mark.parametrize("table", [study, series])
def test_counters(table: Table, index: Index, data: Path) -> None:
    with index.writing() as connection:
        connection.execute(update(table).where(table.c.uid.in_(("1.3", "1.3.1"))).values(instance_count=7))
    assert found(index, data) == [Finding(Fault.COUNTERS, "1.3")]


def test_what_was_set_aside_and_is_missing(index: Index, data: Path) -> None:
    (aside,) = (data / "set-aside").iterdir()
    aside.unlink()
    (finding,) = found(index, data)
    assert (finding.fault, finding.uid, finding.path) == (Fault.NOT_SET_ASIDE, "1.2.1.1", f"set-aside/{aside.name}")


def test_files_of_deleted_studies_wait_for_their_job(index: Index, data: Path) -> None:
    with index.writing() as connection:
        remove_study(connection, "1.3")
    assert file_of(data, "1.3", "1", 1).exists()
    assert found(index, data) == []


def test_what_is_being_stored_is_not_found(index: Index, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file gets its name before its row is committed, which may take until others are waited for."""
    with index.writing() as connection:
        row = connection.execute(select(instance).where(instance.c.uid == "1.3.1.1")).mappings().one()
        connection.execute(delete(instance).where(instance.c.uid == "1.3.1.1"))
        correct(connection, recount(connection))
    writing, committed = index.writing, list[str]()

    def after_the_other_one() -> AbstractContextManager[Connection]:
        with writing() as connection:
            connection.execute(insert(instance).values(**row))
            correct(connection, recount(connection))
        committed.append(row["uid"])
        return writing()

    monkeypatch.setattr(index, "writing", after_the_other_one)
    assert found(index, data) == []
    assert committed == ["1.3.1.1"]


def test_a_disk_that_is_not_mounted(index: Index, data: Path, tmp_path: Path) -> None:
    (data / "studies").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="is its disk mounted"):
        found(index, data)


def test_an_empty_archive(index: Index, tmp_path: Path) -> None:
    assert found(index, tmp_path) == []
