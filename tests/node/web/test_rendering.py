"""Pictures from other processes."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from pydicom.data import get_testdata_file

from dimse.errors import DatasetError
from dimse.node.web import rendering
from dimse.node.web.drawing import MAX_MEMORY
from dimse.node.web.rendering import PROCESSES, Busy, Renderer

CT = Path(str(get_testdata_file("CT_small.dcm", download=False)))


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    made = Renderer()
    yield made
    await made.end()
    assert drawing() == []


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A file whose reading never ends."""
    path = tmp_path / "endless.dcm"
    os.mkfifo(path)
    return path


def drawing() -> list[psutil.Process]:
    """The processes that draw for this one."""
    mine = psutil.Process().children()
    return [each for each in mine if "dimse.node.web.drawing" in " ".join(each.cmdline())]


def goes_first(process: psutil.Process) -> bool:
    """Whether Linux ends it before others when it has too little memory."""
    return Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "1000\n"


async def test_processes_begin_when_they_are_needed_and_are_used_again(renderer: Renderer) -> None:
    assert drawing() == []
    for _ in range(3):
        picture = await renderer.render(CT)
        assert picture.jpeg.startswith(b"\xff\xd8")
        assert picture.window == (135.5, 2063.0)
    (process,) = drawing()
    assert process.rlimit(psutil.RLIMIT_AS) == (MAX_MEMORY, MAX_MEMORY)
    assert goes_first(process)


async def test_many_at_once_have_a_bounded_number_of_processes(renderer: Renderer) -> None:
    pictures = await asyncio.gather(*(renderer.render(CT, size=size) for size in range(64, 84)))
    assert len(drawing()) == PROCESSES
    assert len({each.jpeg for each in pictures}) == 20  # each has its own answer


async def test_one_that_takes_too_long_is_ended(
    renderer: Renderer, endless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "MAX_SECONDS", 0.5)
    with pytest.raises(DatasetError, match="longer than"):
        await renderer.render(endless)
    assert drawing() == []
    monkeypatch.undo()
    assert (await renderer.render(CT)).jpeg


async def test_one_that_dies_is_replaced(renderer: Renderer, endless: Path) -> None:
    await renderer.render(CT)
    (process,) = drawing()
    hanging = asyncio.create_task(renderer.render(endless))
    await asyncio.sleep(0)
    process.kill()
    with pytest.raises(DatasetError, match="died"):
        await hanging
    assert (await renderer.render(CT)).jpeg


async def test_a_picture_that_nobody_waits_for_is_not_given_to_the_next(renderer: Renderer, endless: Path) -> None:
    await asyncio.gather(*(renderer.render(CT) for _ in range(PROCESSES)))
    hanging = [asyncio.create_task(renderer.render(endless)) for _ in range(PROCESSES)]
    writer = await asyncio.to_thread(os.open, endless, os.O_WRONLY)  # as soon as one reads it
    try:
        for each in hanging:
            each.cancel()
        pictures = await asyncio.gather(*(renderer.render(CT) for _ in range(PROCESSES)))
        assert {each.window for each in pictures} == {(135.5, 2063.0)}
    finally:
        os.close(writer)


async def test_too_many_that_wait_are_refused(
    renderer: Renderer, endless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "MAX_WAITING", 1)
    waiting = [asyncio.create_task(renderer.render(endless)) for _ in range(PROCESSES + 1)]
    for _ in range(3):
        await asyncio.sleep(0)
    with pytest.raises(Busy, match="try again"):
        await renderer.render(CT)
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)


async def test_elements_come_from_them_too(renderer: Renderer) -> None:
    tags = json.loads(await renderer.tags(CT))["tags"]
    assert tags[0]["tag"] == "(0002,0000)"
    with pytest.raises(DatasetError, match="missing"):
        await renderer.tags(CT.with_name("nothing.dcm"))
