"""`dimse node delete` deletes studies, and asks before."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.cli.test_progress import Terminal

from dimse.cli import app
from dimse.node.data_folder import served
from dimse.node.index import Index
from dimse.node.schema import event, job, study

Run = Callable[..., Any]


@pytest.fixture
def data(dimse: Run, ct: Path, mr: Path, tmp_path: Path) -> Path:
    """The folder of an archive with two studies."""
    assert dimse("node", "import", "--data", tmp_path / "data", ct, mr).code == 0
    return tmp_path / "data"


def studies_of(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "studies").iterdir())


def test_a_study_is_deleted_with_its_files(dimse: Run, data: Path) -> None:
    first, second = studies_of(data)
    done = dimse("node", "delete", first, "--yes", "--data", data)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{first}: deleted, 1 instance\n"
    assert studies_of(data) == [second]
    index = Index.at(data / "index.sqlite")
    with index.reading() as connection:
        assert connection.scalars(select(study.c.uid)).all() == [second]
        kinds = connection.execute(select(event.c.kind).where(event.c.study_uid == first)).scalars().all()
        assert kinds[-1] == "study-deleted"
        assert connection.execute(select(job.c.kind).where(job.c.kind == "delete-files")).all() == []
    index.close()
    assert dimse("node", "verify", "--data", data).code == 0


def test_what_a_crash_left_of_it_is_deleted_too(dimse: Run, data: Path) -> None:
    first, _ = studies_of(data)
    (file,) = (data / "studies" / first).rglob("*.dcm")
    left = data / "incoming" / "killed" / "1.dcm"
    left.parent.mkdir(parents=True)
    left.hardlink_to(file)
    assert dimse("node", "delete", first, "--yes", "--data", data).code == 0
    assert not left.exists()
    assert first not in studies_of(data)


def test_files_that_cannot_be_deleted_are_told_and_tried_again(dimse: Run, data: Path) -> None:
    first, second = studies_of(data)
    (file,) = (data / "studies" / first).rglob("*.dcm")
    file.unlink()
    (file / "in the way").mkdir(parents=True)
    done = dimse("node", "delete", first, "--yes", "--data", data)
    assert (done.code, done.out) == (1, f"{first}: deleted, 1 instance\n")
    assert "dimse: files are left, which a node or the next delete tries again: " in done.err
    assert str(file) in done.err
    assert studies_of(data) == [first, second]


def test_a_node_that_serves_deletes_the_files(dimse: Run, data: Path) -> None:
    first, second = studies_of(data)
    with served(data):
        assert dimse("node", "delete", first, "--yes", "--data", data, "--json").lines == [
            {"event": "deleted", "study_instance_uid": first, "instances": 1}
        ]
    assert studies_of(data) == [first, second]
    assert dimse("node", "verify", "--data", data).code == 0


def test_one_that_is_not_there(dimse: Run, data: Path) -> None:
    first, _ = studies_of(data)
    done = dimse("node", "delete", "1.2.3", first, "--yes", "--data", data)
    assert (done.code, done.err) == (1, "dimse: 1.2.3: not in the archive\n")
    assert len(studies_of(data)) == 1
    assert dimse("node", "delete", "1.2.3", "--yes", "--data", data).code == 1


def test_without_a_terminal_it_needs_to_be_told(dimse: Run, data: Path) -> None:
    done = dimse("node", "delete", studies_of(data)[0], "--data", data)
    assert (done.code, done.out) == (2, "")
    assert "add --yes" in done.err
    assert len(studies_of(data)) == 2
    assert dimse("node", "delete", "--yes", "--data", data).code == 2


class Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "left"), [("y\n", 1), ("yes\n", 1), ("\n", 2), ("n\n", 2), ("", 2)])
def test_at_a_terminal_it_asks(answer: str, left: int, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    with monkeypatch.context() as patched:
        patched.setattr("sys.stderr", terminal)
        patched.setattr("sys.stdin", Keyboard(answer))
        code = app.run(["node", "delete", studies_of(data)[0], "--data", str(data)])
    assert "Delete 1 study, 1 instance, " in terminal.getvalue()
    assert (code, len(studies_of(data))) == (0 if left == 1 else 1, left)
