"""A received file gets the first of its names that no other instance has."""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dimse.dataset.file_writer import Disk, FileWriter, Instance, Stored
from dimse.dataset.part10 import encode_file_meta

SYNTAX = "1.2.840.10008.1.2.1"
HOOKS: list[Callable[[object], None]] = []
"""What is called with the path of each file that this process is about to open: an audit hook cannot be removed."""


@sys.addaudithook
def _opening(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open":
        for hook in HOOKS:
            hook(arguments[0])


async def write(folder: Path, content: bytes, uid: str = "1.2.3", *, replaces: bool = False) -> FileWriter:
    header = encode_file_meta(sop_class_uid="1.2", sop_instance_uid=uid, transfer_syntax_uid=SYNTAX)
    names, instance = ["first.dcm", "second.dcm"], Instance(uid, SYNTAX)
    writer = FileWriter(str(folder), names, header, Disk(), instance, fsync=False, replaces=replaces)
    await writer.write([memoryview(content)], is_last=True)
    return writer


def half_files(folder: Path) -> list[Path]:
    return list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("content", "uid", "replaces", "name", "stored"),
    [
        (b"same", "1.2.3", False, "first.dcm", Stored.SAME),
        (b"other", "1.2.3", False, "first.dcm", Stored.KEPT),
        (b"other", "1.2.3", True, "first.dcm", Stored.REPLACED),
        (b"same", "1.2.4", False, "second.dcm", Stored.NEW),
    ],
)
async def test_a_name_that_is_taken(
    content: bytes, uid: str, replaces: bool, name: str, stored: Stored, tmp_path: Path
) -> None:
    assert (await write(tmp_path, b"same")).stored is Stored.NEW
    writer = await write(tmp_path, content, uid, replaces=replaces)
    assert (Path(writer.path).name, writer.stored) == (name, stored)
    assert not half_files(tmp_path)


async def test_a_name_is_free_again_if_its_file_is_removed_meanwhile(tmp_path: Path) -> None:
    """For instance by the next station of a router, which has sent the instance on."""
    await write(tmp_path, b"there")

    def remove(path: object) -> None:
        if str(path).endswith("first.dcm"):
            (tmp_path / "first.dcm").unlink(missing_ok=True)

    HOOKS.append(remove)
    try:
        writer = await write(tmp_path, b"again")
    finally:
        HOOKS.remove(remove)
    assert (Path(writer.path).name, writer.stored) == ("first.dcm", Stored.NEW)
    assert (tmp_path / "first.dcm").read_bytes().endswith(b"again")


async def test_an_instance_is_not_taken_for_stored_before_it_is_durable(tmp_path: Path) -> None:
    """Its name is there, and the store that gave it fails; until then that store has the lock."""
    await write(tmp_path, b"there")
    path, others = tmp_path / "first.dcm", list[threading.Thread]()
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    def fail(asked: object) -> None:
        """The other store fails when this one waits for it."""
        if str(asked).endswith("first.dcm") and not others:
            others.append(threading.Thread(target=give_up))
            others[0].start()

    def give_up() -> None:
        path.unlink()
        os.close(descriptor)

    HOOKS.append(fail)
    try:
        writer = await write(tmp_path, b"there")
    finally:
        HOOKS.remove(fail)
    (other,) = others
    other.join()
    assert writer.stored is Stored.NEW
    assert path.read_bytes().endswith(b"there")


async def test_a_link_that_leads_nowhere_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "first.dcm").symlink_to(tmp_path / "nowhere")
    writer = await write(tmp_path, b"new")
    assert (Path(writer.path).name, writer.stored) == ("second.dcm", Stored.NEW)
