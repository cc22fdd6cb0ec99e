"""Work that is done again and again."""

from __future__ import annotations

import asyncio
import logging

import pytest
from sqlalchemy.exc import OperationalError

from dimse.node.recurring import Recurring, reason

SQL = OperationalError("SELECT 'DOE^JANE'", {"name": "DOE^JANE"}, OSError("database is locked"))


class Work:
    """Fails with each of `errors`, one after the other, and then does not."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.enough = asyncio.Event()

    async def __call__(self) -> float:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        self.enough.set()
        return 3600


async def test_it_is_called_at_once_and_when_it_is_woken() -> None:
    work = Work()
    async with Recurring("the work", work, 3600) as recurring:
        await work.enough.wait()
        assert work.calls == 1
        work.enough.clear()
        recurring.wake()
        await work.enough.wait()
    assert work.calls == 2


async def test_a_failure_is_told_once_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    work = Work(SQL, SQL, SQL, ValueError("no such kind"))
    async with Recurring("the work", work, 0.001):
        await work.enough.wait()
    assert [record.getMessage() for record in caplog.records] == [
        "the work is waiting, as it failed: (builtins.OSError) database is locked",
        "the work is waiting, as it failed: no such kind",
    ]
    assert [record.exc_info is None for record in caplog.records] == [True, False]
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    assert "DOE" not in caplog.text


def test_reasons() -> None:
    assert reason(OSError()) == "OSError"
    assert reason(ValueError("first\nsecond")) == "first"
    assert reason(SQL) == "(builtins.OSError) database is locked"


def test_the_reason_of_an_error_of_a_file_has_its_place_and_no_number() -> None:
    assert reason(PermissionError(13, "Permission denied", "a.dcm")) == "a.dcm: Permission denied"
    assert reason(FileExistsError(17, "File exists", "a.dcm", None, "b.dcm")) == "b.dcm: File exists"
    assert reason(TimeoutError("no answer")) == "no answer"
