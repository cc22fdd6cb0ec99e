"""What all tests share: which event loops run them, and that asyncio had nothing to complain about."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import hypothesis
import pytest

from dimse import log_limit

# A deadline for an example would be a test of the machine. Each test has its time limit.
hypothesis.settings.register_profile("dimse", deadline=None)
hypothesis.settings.load_profile("dimse")

# No test reads or writes what the user has configured. This file is no folder: tests that need one make it.
for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "APPDATA", "LOCALAPPDATA"):
    os.environ[name] = __file__
for name in ("DIMSE_CONFIG", "DIMSE_CALLING"):
    os.environ.pop(name, None)

# For `from tests.ports import ...`: pytest's import mode importlib leaves the path alone.
sys.path.insert(0, str(Path(__file__).parent.parent))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("both_loops", "Folders whose tests run on both loops.", type="args", default=["network"])
    parser.addini("on_uvloop", "Folders whose tests run on uvloop, and not on asyncio's loop.", type="args", default=[])


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What calls the loop runs on asyncio's and on uvloop; services on one in `make test`, compiled on the other."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    folder, configured = item.path.parent.name, item.config.getini
    if folder in configured("both_loops") or folder in configured("on_uvloop"):
        try:
            import uvloop
        except ImportError:  # pragma: no cover - there is none for Windows
            return factories
        factories["uvloop"] = uvloop.new_event_loop
    if folder in configured("on_uvloop"):
        del factories["asyncio"]
    return factories


def pytest_collection_finish() -> None:
    """Leave ten thousand collected tests out of each garbage collection: it would take a quarter of a second."""
    gc.freeze()


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with certificates, keys and revocation lists; see `tests/pki.py`. Copy what a test changes."""
    from tests.pki import make  # few tests need it, and what it imports

    folder = tmp_path_factory.mktemp("pki")
    make(folder)
    return folder


@pytest.fixture(autouse=True)
def _no_log_lines_are_left_out() -> Iterator[None]:
    """Each test counts from zero: together they cause more warnings of a kind than are logged in a minute."""
    yield
    for name in log_limit._LOGGERS:
        logger = logging.getLogger(name)
        for limit in [each for each in logger.filters if isinstance(each, log_limit.LogLimit)]:
            logger.removeFilter(limit)


@pytest.fixture(autouse=True)
def _asyncio_is_content() -> Iterator[None]:
    """No exception of a task or future was left unseen: asyncio only logs those."""
    complaints: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    assert not complaints
