"""Fixtures of `dimse.testing` for pytest, which loads this module if a conftest.py names it in `pytest_plugins`.

Nothing else is imported before a test uses one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dimse.testing import FakeArchive, Script


@pytest.fixture
def dimse_archive_options() -> dict[str, Any]:
    """The arguments of the `FakeArchive` of `dimse_archive`; override it to have others."""
    return {}


@pytest.fixture
def dimse_archive(dimse_archive_options: dict[str, Any]) -> Iterator[FakeArchive]:
    """An archive that runs while the test does; see `dimse.testing.FakeArchive`."""
    from dimse.testing import FakeArchive

    with FakeArchive(**dimse_archive_options) as archive:
        yield archive


@pytest.fixture
def scripted_peer() -> Iterator[Callable[..., str]]:
    """Starts an acceptor that plays a script on each connection, and returns its address.

    See `dimse.testing.listening_in_thread`. The scripts must have run to their end when the test ends.
    """
    from dimse.testing import listening_in_thread

    with ExitStack() as stack:

        def listen(*scripts: Script) -> str:
            return stack.enter_context(listening_in_thread(*scripts))

        yield listen
