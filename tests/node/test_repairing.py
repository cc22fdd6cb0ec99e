"""A repair mends the index, and loses no file."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import OperationalError
from tests.node.archives import left_in_incoming, put_in, save_all, stored
from tests.node.arrivals import Said, arrival
from tests.node.rows import member

from dimse.node import readers
from dimse.node.arrival import OnDuplicate
from dimse.node.index import Index
from dimse.node.options import NodeOptions
from dimse.node.placing import place
from dimse.node.readers import Result, Task
from dimse.node.recount import correct, recount
from dimse.node.repairing import Repairer, note
from dimse.node.schema import event, instance, job, set_aside, study
from dimse.node.shared_texts import SharedTexts
from dimse.node.verifying import Fault, Finding, Verifier


@pytest.fixture
def options(index: Index, tmp_path: Path) -> NodeOptions:
    """An archive with four instances, and one that was set aside."""
    options = NodeOptions(data=tmp_path / "data")
    put_in(index, options, *save_all(tmp_path / "a", [member("1.2", "1", number) for number in range(1, 5)]))
    put_in(index, options, *save_all(tmp_path / "b", [member("1.2", "1", 1, Rows=7)]))
    return options


def repair(index: Index, options: NodeOptions) -> dict[Finding, bool]:
    """What was found, and whether it was mended."""
    result = {}
    with Repairer(index, options) as repairer:
        for found in Verifier(index, options.data).findings():
            mended = repairer.repair(found)
            note(index, found, mended)
            result.update({each: each in mended for each in found})
    return result


def file_of(options: NodeOptions, number: int) -> Path:
    return options.data / "studies" / "1.2" / "1.2.1" / f"1.2.1.{number}.dcm"


def is_right(index: Index, options: NodeOptions) -> bool:
    return not any(Verifier(index, options.data, digests=True).findings()) and not left_in_incoming(options.data)


def test_files_without_a_row_are_put_into_the_index(index: Index, options: NodeOptions) -> None:
    before = stored(index, options.data)
    with index.writing() as connection:
        connection.execute(delete(study))
    assert set(repair(index, options).values()) == {True}
    assert stored(index, options.data) == before
    assert is_right(index, options)


def test_a_file_in_another_place_gets_its_own(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    (new,) = save_all(tmp_path / "c", [member("1.5", "1", 1)])
    content = new.read_bytes()
    new.rename(file_of(options, 1).with_name("x.dcm"))
    assert list(repair(index, options).values()) == [True]
    assert stored(index, options.data)["1.5.1.1"] == content
    assert is_right(index, options)


def test_a_file_that_is_stored_already_is_not_twice(index: Index, options: NodeOptions) -> None:
    before = stored(index, options.data)
    file_of(options, 1).with_name("x.dcm").write_bytes(file_of(options, 1).read_bytes())
    assert list(repair(index, options).values()) == [True]
    assert stored(index, options.data) == before
    assert is_right(index, options)


def test_files_below_a_link_are_put_into_the_index(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    """As of an archive whose files are elsewhere."""
    (options.data / "studies").rename(tmp_path / "elsewhere")
    (options.data / "studies").symlink_to(tmp_path / "elsewhere")
    test_files_without_a_row_are_put_into_the_index(index, options)


def test_a_repair_that_fails_loses_no_file(index: Index, options: NodeOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [file_of(options, number).read_bytes() for number in range(1, 5)]
    with index.writing() as connection:
        connection.execute(delete(study))
    (found,) = (found for found in Verifier(index, options.data).findings() if found)

    def fail(*_: object) -> None:
        raise OperationalError("COMMIT", None, Exception("the disk is full"))

    with monkeypatch.context() as patch, Repairer(index, options) as repairer:
        patch.setattr(index.engine.dialect, "do_commit", fail)
        with pytest.raises(OperationalError):
            repairer.repair(found)
    assert [file_of(options, number).read_bytes() for number in range(1, 5)] == before
    assert left_in_incoming(options.data) == []


def test_what_is_stored_in_its_place_meanwhile_stays(
    index: Index, options: NodeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node gets the instance with other content, while its file is adopted."""
    with index.writing() as connection:
        connection.execute(delete(instance).where(instance.c.uid == "1.2.1.2"))
        correct(connection, recount(connection))
    former = file_of(options, 2).read_bytes()
    (found,) = (found for found in Verifier(index, options.data).findings() if found)
    (other,) = save_all(tmp_path / "c", [member("1.2", "1", 2, Rows=9)])

    meanwhile = [other]

    def work(tasks: Sequence[Task]) -> list[Result]:
        result = readers.work(tasks)
        while meanwhile:
            put_in(index, options, meanwhile.pop())
        return result

    monkeypatch.setattr("dimse.node.importing.work", work)
    with Repairer(index, options) as repairer:
        repairer.repair(found)
    assert stored(index, options.data)["1.2.1.2"] == other.read_bytes()
    assert former in [each.read_bytes() for each in (options.data / "set-aside").iterdir()]
    assert is_right(index, options)


def test_a_file_that_may_be_the_only_whole_one_stays(index: Index, options: NodeOptions) -> None:
    content = file_of(options, 1).read_bytes()
    stray = file_of(options, 1).with_name("x.dcm")
    stray.write_bytes(content)
    file_of(options, 1).write_bytes(content[:-1] + b"?")
    assert list(repair(index, options).values()) == [False]
    assert stray.read_bytes() == content


def test_other_content_is_set_aside(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    before = stored(index, options.data)
    (other,) = save_all(tmp_path / "c", [member("1.2", "1", 2, Rows=9)])
    content = other.read_bytes()
    other.rename(file_of(options, 1).with_name("x.dcm"))
    assert list(repair(index, options).values()) == [True]
    assert stored(index, options.data) == before
    assert content in [each.read_bytes() for each in (options.data / "set-aside").iterdir()]


def test_what_is_no_instance_stays(index: Index, options: NodeOptions) -> None:
    stray = file_of(options, 1).with_name("x.dcm")
    stray.write_bytes(b"text")
    assert list(repair(index, options).values()) == [False]
    assert stray.read_bytes() == b"text"
    assert left_in_incoming(options.data) == []


def test_rows_without_a_file_are_removed_with_an_event(index: Index, options: NodeOptions) -> None:
    file_of(options, 2).unlink()
    file_of(options, 3).unlink()
    found = repair(index, options)
    assert {(each.fault, each.is_loss, mended) for each, mended in found.items()} == {(Fault.NO_FILE, True, True)}
    assert set(stored(index, options.data)) == {"1.2.1.1", "1.2.1.4"}
    with index.reading() as connection:
        (detail,) = connection.scalars(select(event.c.detail).where(event.c.kind == "missing"))
    assert detail == {"faults": {"no file": 2}, "instances": ["1.2.1.2", "1.2.1.3"], "removed": 2}
    assert is_right(index, options)


def test_damaged_files_stay_with_their_rows(index: Index, options: NodeOptions) -> None:
    file_of(options, 2).write_bytes(b"")
    assert list(repair(index, options).values()) == [False]
    assert len(stored(index, options.data)) == 4


def test_counters_are_corrected(index: Index, options: NodeOptions) -> None:
    with index.writing() as connection:
        connection.execute(delete(instance).where(instance.c.uid == "1.2.1.4"))
        connection.execute(update(study).values(modalities="\\XX\\"))
    file_of(options, 4).unlink()
    assert {each.fault for each in repair(index, options)} == {Fault.COUNTERS}
    assert is_right(index, options)


def test_what_was_set_aside_and_is_missing_is_forgotten(index: Index, options: NodeOptions) -> None:
    for each in (options.data / "set-aside").iterdir():
        each.unlink()
    assert list(repair(index, options).values()) == [True]
    with index.reading() as connection:
        assert connection.execute(select(set_aside)).all() == []


def test_what_was_set_aside_and_is_not_in_the_index(index: Index, options: NodeOptions) -> None:
    before = stored(index, options.data)
    content = [each.read_bytes() for each in (options.data / "set-aside").iterdir()]
    with index.writing() as connection:
        connection.execute(delete(set_aside))
    assert list(repair(index, options).values()) == [True]
    assert stored(index, options.data) == before
    with index.reading() as connection:
        paths = connection.scalars(select(set_aside.c.path)).all()
    assert [(options.data / path).read_bytes() for path in paths] == content
    assert is_right(index, options)


def test_each_study_has_its_own_event_of_what_was_set_aside(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    put_in(index, options, *save_all(tmp_path / "c", [member("1.3", "1", 1)]))
    put_in(index, options, *save_all(tmp_path / "d", [member("1.3", "1", 1, Rows=7)]))
    for each in (options.data / "set-aside").iterdir():
        each.unlink()
    assert list(repair(index, options).values()) == [True, True]
    with index.reading() as connection:
        told = connection.execute(select(event.c.study_uid, event.c.detail).where(event.c.kind == "missing")).all()
    assert [(row.study_uid, row.detail["instances"]) for row in told] == [("1.2", ["1.2.1.1"]), ("1.3", ["1.3.1.1"])]


def test_a_file_that_has_come_again_is_kept_with_its_row(index: Index, options: NodeOptions) -> None:
    before = stored(index, options.data)
    content = file_of(options, 2).read_bytes()
    file_of(options, 2).unlink()
    (found,) = (found for found in Verifier(index, options.data).findings() if found)
    file_of(options, 2).write_bytes(content)
    with Repairer(index, options) as repairer:
        assert repairer.repair(found) == set()
    assert stored(index, options.data) == before
    with index.reading() as connection:
        assert connection.execute(select(job)).all() == []


def test_the_row_of_a_file_on_a_disk_that_is_not_mounted_stays(
    index: Index, options: NodeOptions, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "mounted" / "c"
    put_in(index, options, *save_all(elsewhere, [member("1.3", "1", 1), member("1.3", "1", 2)]), in_place=True)
    before = stored(index, options.data)
    elsewhere.rename(tmp_path / "away")
    assert list(repair(index, options).values()) == [False, False]
    (tmp_path / "away").rename(elsewhere)
    assert stored(index, options.data) == before
    (elsewhere / "1.3.1.1.dcm").unlink()
    assert list(repair(index, options).values()) == [True]


def test_the_row_of_one_that_was_set_aside_there_stays_too(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    elsewhere = tmp_path / "mounted" / "c"
    put_in(index, options, *save_all(elsewhere, [member("1.2", "1", 2, Rows=9)]), in_place=True)
    elsewhere.rename(tmp_path / "away")
    assert list(repair(index, options).values()) == [False]
    (tmp_path / "away").rename(elsewhere)
    assert is_right(index, options)
    (elsewhere / "1.2.1.2.dcm").unlink()
    assert list(repair(index, options).values()) == [True]


def test_the_folder_of_those_that_were_set_aside_may_be_on_another_disk(
    index: Index, options: NodeOptions, tmp_path: Path
) -> None:
    (options.data / "set-aside").rename(tmp_path / "away")
    assert list(repair(index, options).values()) == [False]
    (tmp_path / "away").rename(options.data / "set-aside")
    assert is_right(index, options)


def test_a_disk_that_is_gone_meanwhile_loses_no_row(index: Index, options: NodeOptions, tmp_path: Path) -> None:
    before = stored(index, options.data)
    file_of(options, 2).rename(tmp_path / "2.dcm")
    (found,) = (found for found in Verifier(index, options.data).findings() if found)
    (options.data / "studies").rename(tmp_path / "away")
    with Repairer(index, options) as repairer, pytest.raises(FileNotFoundError, match="is its disk mounted"):
        repairer.repair(found)
    (tmp_path / "away").rename(options.data / "studies")
    (tmp_path / "2.dcm").rename(file_of(options, 2))
    assert stored(index, options.data) == before


def test_what_another_process_adds_meanwhile_is_counted(index: Index, index_url: str, options: NodeOptions) -> None:
    with index.writing() as connection:
        connection.execute(update(study).values(instance_count=9))
    (found,) = (found for found in Verifier(index, options.data).findings() if found)
    other = Index(index_url)
    with ThreadPoolExecutor(1) as thread, Repairer(index, options) as repairer:
        with other.writing() as connection:
            place(connection, [arrival(Said("1.2", "1.2.1", "1.2.1.5"))], OnDuplicate.KEEP, SharedTexts())
            mending = thread.submit(repairer.repair, found)
            while not index.is_sqlite and not mending.done() and not _waits(other):
                pass
        assert mending.result() == set(found)
    other.close()
    with index.reading() as connection:
        assert recount(connection) == []


def _waits(index: Index) -> bool:
    """Whether a transaction of PostgreSQL waits for another one."""
    with index.reading() as connection:
        return bool(connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))
