"""What `dimse node --check` finds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.ports import free_port

from dimse import AuditLog
from dimse.node import Node, NodeOptions, NodeServerOptions, WebOptions
from dimse.node.checking import problems
from dimse.node.index import Index


async def test_nothing_is_wrong_and_nothing_is_changed(tmp_path: Path) -> None:
    assert await problems(NodeOptions(data=tmp_path / "a" / "b", port=0)) == []
    assert not (tmp_path / "a").exists()


async def test_a_node_that_serves_has_its_port(tmp_path: Path) -> None:
    async with Node(NodeOptions(data=tmp_path, port=0)) as node:
        assert await problems(NodeOptions(data=tmp_path, port=node.port)) == []
        found = await problems(NodeOptions(data=tmp_path / "other", port=node.port))
    assert found == [f"cannot listen on localhost:{node.port}: Address already in use; choose another port"]


async def test_a_folder_that_is_a_file_and_an_index_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    url = "postgresql://dimse:secret@localhost:1/archive"
    folder, index = await problems(NodeOptions(data=tmp_path / "file" / "data", port=0, index=url))
    assert folder == f"{tmp_path / 'file'}: is not a folder"
    assert index.startswith("the index cannot be used: ")
    assert "secret" not in index


async def test_folders_of_the_archive_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "studies").symlink_to(tmp_path / "not mounted")
    (tmp_path / "incoming").touch()
    (tmp_path / "disk").mkdir()
    (tmp_path / "set-aside").symlink_to(tmp_path / "disk")
    assert await problems(NodeOptions(data=tmp_path, port=0)) == [
        f"{tmp_path / 'studies'}: is a link to {tmp_path / 'not mounted'}, which is not there; is its disk mounted?",
        f"{tmp_path / 'incoming'}: is not a folder",
    ]
    assert [*(tmp_path / "disk").iterdir()] == []


@pytest.mark.parametrize("name", ["studies", "incoming", "set-aside"])
async def test_a_node_does_not_start_on_a_folder_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(OSError, match=f"is not a folder: .*{name}"):
        async with Node(NodeOptions(data=tmp_path, port=0)):
            pass


@pytest.fixture
def other_disk(tmp_path: Path) -> Path:
    """A folder on another file system, in which nothing is written."""
    folder = Path("/dev/shm")  # noqa: S108 - as it says
    if not folder.exists() or folder.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system only")
    return folder


async def test_folders_of_the_archive_on_several_file_systems(tmp_path: Path, other_disk: Path) -> None:
    options = NodeOptions(data=tmp_path, port=0)
    (tmp_path / "studies").symlink_to(other_disk)
    (problem,) = await problems(options)
    assert problem.startswith(f"{tmp_path}: studies, incoming, set-aside must be on one file system: ")
    for name in ("incoming", "set-aside"):
        (tmp_path / name).symlink_to(other_disk)
    assert await problems(options) == []


async def test_an_index_that_is_there(index_url: str, tmp_path: Path) -> None:
    options = NodeOptions(data=tmp_path, port=0, index=index_url if index_url.startswith("postgresql") else None)
    assert await problems(options) == []
    index = Index(index_url)
    assert await problems(options) == []
    with index.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    index.close()
    (problem,) = await problems(options)
    assert "a newer dimse has used it" in problem


@pytest.mark.parametrize("harm", [lambda path: path.write_text("no database"), Path.mkdir], ids=["text", "folder"])
async def test_an_index_that_is_none(harm: Callable[[Path], object], tmp_path: Path) -> None:
    harm(tmp_path / "index.sqlite")
    (problem,) = await problems(NodeOptions(data=tmp_path, port=0))
    assert problem.startswith(f"the index {tmp_path / 'index.sqlite'} cannot be used: ")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
async def test_an_index_that_cannot_be_written(tmp_path: Path) -> None:
    Index.at(tmp_path / "index.sqlite").close()
    (tmp_path / "index.sqlite").chmod(0o444)
    assert await problems(NodeOptions(data=tmp_path, port=0)) == [
        f"{tmp_path / 'index.sqlite'}: cannot be written: Permission denied"
    ]


async def test_an_index_that_is_lost(tmp_path: Path) -> None:
    (tmp_path / "studies" / "1.2").mkdir(parents=True)
    (problem,) = await problems(NodeOptions(data=tmp_path, port=0))
    assert problem == f"{tmp_path}: has instances, but no index.sqlite; dimse node reindex rebuilds it"
    (tmp_path / "index.sqlite").touch()
    (problem,) = await problems(NodeOptions(data=tmp_path, port=0))
    assert problem == f"{tmp_path}: has instances, but an empty index.sqlite; dimse node reindex rebuilds it"


async def test_a_file_that_the_configuration_names(tmp_path: Path) -> None:
    nothing = tmp_path / "none" / "file"
    options = NodeOptions(data=tmp_path, port=0, server=NodeServerOptions(audit=AuditLog(nothing)))
    assert await problems(options) == [f"[node] audit: {nothing}: cannot be written"]


async def test_the_page_cannot_have_the_port_of_the_node(tmp_path: Path) -> None:
    port = free_port()
    found = await problems(NodeOptions(data=tmp_path, port=port, web=WebOptions(port=port)))
    taken = f"the page cannot listen on 127.0.0.1:{port}: Address already in use; choose another port"
    assert found == [f"{taken}; --web off leaves the page out"]
