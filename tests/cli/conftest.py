"""The command line as a user runs it: other processes, free ports, real files.

A process imports for half a second what its command needs. On Linux, it is forked from one that has imported it
(tests/forks.py); the tests of how a process starts and ends start Python itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file
from tests.forks import Forks
from tests.ports import free_port

from dimse.cli.app import COMMANDS

TIMEOUT = 50
STARTED = [sys.executable, "-m", "dimse"]
"""Starts Python."""
_FORKS = Forks(*(each.module for each in COMMANDS.values()))
COMMAND = [*_FORKS.command, "-m", "dimse"]
"""Forks, on Linux."""
_NODE = ("dimse.cli.node", "dimse.cli.node_archive", "dimse.node.node", "alembic.runtime.environment", "alembic.script")
_NODE_FORKS = Forks(*_NODE)
"""For commands of an archive, which import a database for half a second; a process with it takes longer to fork."""
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
"""Without the terminal's width, which the readline library and parallel test runners set."""


@pytest.fixture(scope="session", autouse=True)
def _forking() -> Iterator[None]:
    """The process that the commands are forked from."""
    _FORKS.start()
    yield
    _FORKS.stop()
    _NODE_FORKS.stop()


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command that runs in this process sets logging up, which is not the next test's."""
    root, names = logging.getLogger(), ("", "dimse", "dimse.upper_layer", "pydicom")
    handlers, levels = list(root.handlers), {name: logging.getLogger(name).level for name in names}
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


class Ended:
    """What a command left behind. No command ever shows a traceback."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        assert "Traceback" not in out + err, out + err

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output, as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


def run_dimse(*arguments: object, stdin: bytes = b"", **environment: str) -> Ended:
    """Run a command to its end."""
    command = COMMAND
    if arguments[:1] == ("node",):
        _NODE_FORKS.start()
        command = [*_NODE_FORKS.command, "-m", "dimse"]
    done = subprocess.run(  # noqa: S603 - our own
        [*command, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        env=ENVIRONMENT | environment,
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


async def run_beside(*arguments: object, **environment: str) -> Ended:
    """Run a command to its end, while the servers of the test answer it."""
    return await asyncio.to_thread(lambda: run_dimse(*arguments, stdin=b"", **environment))


async def start_beside(*arguments: object) -> asyncio.subprocess.Process:
    """Start a command that the test wants to interrupt."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *COMMAND, *map(str, arguments), stdout=pipe, stderr=pipe, env=ENVIRONMENT
    )


class Receiver:
    """A `dimse receive` that runs during the test."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.folder = folder
        self.process = subprocess.Popen(  # noqa: S603 - our own
            [*COMMAND, "receive", "--port", "0", "--into", str(folder), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        self.ended: Ended | None = None

    @property
    def port(self) -> int:
        if self.first_line.startswith("{"):
            return int(json.loads(self.first_line)["port"])
        return int(self.first_line.rsplit(":", 1)[1].split()[0])

    @property
    def address(self) -> str:
        return f"ANY@127.0.0.1:{self.port}"

    def line(self) -> str:
        """The next line of its standard output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self, number: int = signal.SIGINT) -> Ended:
        """Ask it to end, and take what it had to say."""
        if self.ended is None:
            self.process.send_signal(number)
            out, err = self.process.communicate(timeout=TIMEOUT)
            self.ended = Ended(self.process.returncode, self.first_line + out, err)
        return self.ended

    def files(self) -> set[str]:
        """What it has written."""
        return {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture
def dimse() -> Callable[..., Ended]:
    return run_dimse


@pytest.fixture
def beside() -> Callable[..., Awaitable[Ended]]:
    return run_beside


@pytest.fixture
def start() -> Callable[..., Awaitable[asyncio.subprocess.Process]]:
    return start_beside


@pytest.fixture
def receive(tmp_path: Path) -> Iterator[Callable[..., Receiver]]:
    """Starts receivers, each into a folder of its own, and ends them."""
    started: list[Receiver] = []

    def start(*arguments: object) -> Receiver:
        started.append(Receiver(tmp_path / f"received-{len(started)}", *arguments))
        return started[-1]

    yield start
    for receiver in started:
        receiver.end()


@pytest.fixture(scope="session")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """One that takes anything, for every test that has no wishes."""
    shared = Receiver(tmp_path_factory.mktemp("received"), "--no-fsync")
    yield shared
    assert shared.end().code == 0


@pytest.fixture(scope="session")
def ct() -> Path:
    return sample("CT_small.dcm")


@pytest.fixture(scope="session")
def mr() -> Path:
    return sample("MR_small.dcm")


@pytest.fixture(scope="session")
def dicomdir() -> Path:
    return sample("TINY_ALPHA/DICOMDIR")


@pytest.fixture
def closed_port() -> int:
    """A port where nobody listens."""
    return free_port()


def sample(name: str) -> Path:
    """A file that pydicom ships."""
    path = get_testdata_file("CT_small.dcm", download=False)
    assert isinstance(path, str)
    folder = Path(path).parent
    return folder / "dicomdirtests" / name if "/" in name else folder / name


@pytest.fixture
def refused(closed_port: int) -> str:
    """What a command says that cannot connect to `A` at `closed_port`."""
    address = f"A@127.0.0.1:{closed_port}"
    return f"dimse: cannot connect to {address}: Connection refused (see dimse explain {address})\n"
