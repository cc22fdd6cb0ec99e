"""Output whose reader is slow, or has exited."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import COMMAND, ENVIRONMENT, TIMEOUT
from tests.sample_objects import instance, save

import dimse
from dimse.cli import unread
from dimse.cli.output import print_error, print_line
from dimse.testing import FakeArchive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a pipe of a known size")


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    (tmp_path / "sent").mkdir()
    return [save(instance(f"1.2.{i}"), tmp_path / "sent" / f"{i}.dcm") for i in range(40)]


@pytest.fixture
def archive() -> Iterator[FakeArchive]:
    with FakeArchive([instance(f"1.2.{i}") for i in range(20)]) as archive:
        yield archive


async def test_a_receiver_whose_lines_are_not_read_receives_and_ends(paths: list[Path], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    assert fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096) == 4096
    command = [*COMMAND, "receive", str(tmp_path / "received"), "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=writing, stderr=writing)  # noqa: ASYNC220, S603 - our own
    os.close(writing)
    with os.fdopen(reading) as lines:
        port = json.loads(lines.readline())["port"]
        report = await dimse.send(f"ANY@127.0.0.1:{port}", paths)
        assert len(report.stored) == len(paths)
        process.terminate()
        assert process.wait(TIMEOUT) == 0
    assert len(list((tmp_path / "received").rglob("*.dcm"))) == len(paths)


def test_lines_are_written_whole_and_in_order(capfd: pytest.CaptureFixture[str]) -> None:
    with unread.never_waiting():
        for number in range(unread.MAXIMUM_LINES // 2):
            print_line(f"line {number}")
        print_error("an error")
    out, err = capfd.readouterr()
    assert out == "".join(f"line {number}\n" for number in range(unread.MAXIMUM_LINES // 2))
    assert err == "an error\n"


ARCHIVE = "ARCHIVE"
COMMANDS = {
    "echo": ["echo", ARCHIVE],
    "echo --json": ["echo", ARCHIVE, "--json"],
    "echo that fails --json": ["echo", "A@127.0.0.1:1", "--json"],
    "explain": ["explain", ARCHIVE],
    "explain --json": ["explain", ARCHIVE, "--json"],
    "find": ["find", ARCHIVE],
    "find --csv": ["find", ARCHIVE, "--csv"],
    "find --json": ["find", ARCHIVE, "--json"],
    "get": ["get", ARCHIVE, "-k", "StudyInstanceUID=1.2.3.1", "--into", "got"],
    "get --json": ["get", ARCHIVE, "-k", "StudyInstanceUID=1.2.3.1", "--into", "got", "--json"],
    "retrieve --json": ["retrieve", ARCHIVE, "-k", "StudyInstanceUID=1.2.3.1", "--into", "got", "--json"],
    "send": ["send", ARCHIVE, "sent"],
    "send --json": ["send", ARCHIVE, "sent", "--json"],
    "help": ["--help"],
    "help of a command": ["send", "--help"],
    "version": ["--version"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_reader_that_has_exited(
    archive: FakeArchive, paths: list[Path], tmp_path: Path, arguments: list[str], closed: str
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    given = [archive.address if word is ARCHIVE else word for word in arguments]
    streams: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, closed: writing}
    done = subprocess.run(  # noqa: S603 - our own
        [*COMMAND, *given], **streams, env=ENVIRONMENT, cwd=tmp_path, timeout=TIMEOUT, check=False, text=True
    )
    os.close(writing)
    if closed == "stderr":
        assert done.returncode in (0, 1, 3)  # as otherwise: the lines are lost
        assert done.stdout
    else:
        assert (done.returncode, done.stderr.replace(SAID, "")) == (1, "")


SAID = "dimse: cannot connect to A@127.0.0.1:1: Connection refused (see dimse explain A@127.0.0.1:1)\n"
