"""Callbacks are plain functions; one that is not is refused, or named in the log."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

import dimse
from dimse import CStoreSCU, connect
from tests.sample_objects import CT, EXPLICIT, instance, save
from tests.services.test_transfer_progress import Archive


async def asynchronous(_: object) -> None:
    """Nothing would await it."""


class Asynchronous:
    async def __call__(self, _: object) -> None:
        """Nor this."""


NO_FUNCTIONS = pytest.mark.parametrize("callback", [asynchronous, partial(asynchronous), Asynchronous(), 5])


@NO_FUNCTIONS
@pytest.mark.parametrize("name", ["progress", "on_result"])
async def test_a_job_refuses_an_async_callback(callback: Any, name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} must be a (plain )?function, not"):
        await dimse.send("A@127.0.0.1:1", [], **{name: callback})


@NO_FUNCTIONS
async def test_an_scu_refuses_an_async_callback(callback: Any, tmp_path: Path) -> None:
    path = save(instance(), tmp_path / "a.dcm")
    async with Archive() as archive, connect(archive.address, contexts=[(CT, [EXPLICIT])]) as association:
        with pytest.raises(TypeError, match="progress must be a"):
            await CStoreSCU(association).send(path, callback)


@NO_FUNCTIONS
async def test_retrieve_refuses_an_async_callback(callback: Any, tmp_path: Path) -> None:
    query = dimse.Query.studies(StudyInstanceUID="1.2.3")
    with pytest.raises(TypeError, match="on_result must be a"):
        await dimse.retrieve("A@127.0.0.1:1", query, into=tmp_path, on_result=callback)


async def test_a_callback_that_returns_a_coroutine_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Archive() as archive:
        report = await dimse.send(archive.address, instance(), progress=lambda progress: asynchronous(progress))
    assert len(report.stored) == 1
    assert "the progress callback failed; it is not called again" in caplog.text
    assert "returned a coroutine" in caplog.text
