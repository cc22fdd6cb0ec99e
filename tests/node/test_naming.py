"""Names that files get before the index is about to have them, and lose again if it does not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from tests.services.test_store_scp import files_under

from dimse.node.naming import Names

PLACE = "studies/1/2/3.dcm"


@pytest.fixture(params=["links", "no links"])
def names(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Names:
    if request.param == "no links":

        def link(*_: object) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", link)
    return Names(str(tmp_path))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "incoming" / "1.dcm"
    made.parent.mkdir()
    made.write_bytes(b"new")
    return made


def test_a_file_has_its_name_before_the_commit_and_only_that_after_it(names: Names, file: Path, tmp_path: Path) -> None:
    names.give(str(file), PLACE)
    assert (tmp_path / PLACE).read_bytes() == b"new"
    names.keep()
    assert files_under(tmp_path) == [PLACE]


def test_without_a_commit_it_has_its_old_name(names: Names, file: Path, tmp_path: Path) -> None:
    names.give(str(file), PLACE)
    names.undo()
    assert files_under(tmp_path) == ["incoming/1.dcm"]
    assert file.read_bytes() == b"new"


def test_a_file_that_is_in_its_place_is_set_aside(names: Names, file: Path, tmp_path: Path) -> None:
    (tmp_path / PLACE).parent.mkdir(parents=True)
    (tmp_path / PLACE).write_bytes(b"old")
    names.give(str(file), PLACE)
    names.keep()
    aside, place = files_under(tmp_path)
    assert aside.startswith("set-aside/3-")
    assert ((tmp_path / aside).read_bytes(), (tmp_path / place).read_bytes()) == (b"old", b"new")
    assert names.set_aside == {PLACE: aside}


def test_without_a_commit_it_has_its_place_again(names: Names, file: Path, tmp_path: Path) -> None:
    (tmp_path / PLACE).parent.mkdir(parents=True)
    (tmp_path / PLACE).write_bytes(b"old")
    names.give(str(file), PLACE)
    names.undo()
    assert files_under(tmp_path) == ["incoming/1.dcm", PLACE]
    assert (file.read_bytes(), (tmp_path / PLACE).read_bytes()) == (b"new", b"old")


def test_a_file_that_has_its_name_already_keeps_it(file: Path, tmp_path: Path) -> None:
    """As after a crash between the link and the commit."""
    for _ in range(2):
        names = Names(str(tmp_path))
        names.give(str(file), PLACE)
    names.keep()
    assert files_under(tmp_path) == [PLACE]


def test_a_name_that_a_file_had_before_stays_without_a_commit(file: Path, tmp_path: Path) -> None:
    (tmp_path / PLACE).parent.mkdir(parents=True)
    (tmp_path / PLACE).hardlink_to(file)
    names = Names(str(tmp_path))
    names.give(str(file), PLACE)
    names.undo()
    assert files_under(tmp_path) == ["incoming/1.dcm", PLACE]


def test_a_file_that_is_gone_is_not_named(names: Names, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        names.give(str(tmp_path / "gone.dcm"), PLACE)


def test_what_another_process_has_put_there_meanwhile_stays(file: Path, tmp_path: Path) -> None:
    names, others = Names(str(tmp_path)), Names(str(tmp_path))
    names.give(str(file), PLACE)
    other = file.with_name("2.dcm")
    other.write_bytes(b"other")
    others.give(str(other), PLACE)
    others.keep()
    names.undo()
    assert (tmp_path / PLACE).read_bytes() == b"other"
    assert file.read_bytes() == b"new"


def test_a_block_that_raises_undoes_them(names: Names, file: Path, tmp_path: Path) -> None:
    names.give(str(file), PLACE)
    with pytest.raises(FileNotFoundError), names:
        names.give(str(tmp_path / "gone.dcm"), PLACE)
    assert files_under(tmp_path) == ["incoming/1.dcm"]
