"""Whether the node can store."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.node.web.archive import ask, problem, serving

from dimse.node.index import Index
from dimse.node.web import health
from dimse.node.web.health import Health, State


async def test_a_node_that_can_store_is_ready(index: Index, tmp_path: Path) -> None:
    async with serving(index, tmp_path) as web:
        answer = await ask(web, "/readyz")
        assert (answer.status, answer.json) == (200, {"status": "ready", "problems": {}})
        assert (await ask(web, "/healthz")).json == {"status": "alive"}


async def test_what_keeps_it_from_storing_is_said(sqlite_index: Index, tmp_path: Path) -> None:
    async with serving(sqlite_index, tmp_path, minimum_free=2**62, problem=problem("the disk is full")) as web:
        answer = await ask(web, "/readyz")
        assert answer.status == 503
        assert answer.json["problems"]["ingest"] == "the disk is full"
        assert f"minimum_free is {2**62}" in answer.json["problems"]["disk"]
        assert (await ask(web, "/healthz")).status == 200
        node = (await ask(web, "/api/node")).json
        assert node["problems"].keys() == {"disk", "ingest"}
        assert node["free"] > 0  # which is what matters then
        assert b"\ndimse_disk_free_bytes " in (await ask(web, "/metrics")).body


async def test_a_disk_that_does_not_answer_is_said_and_the_loop_goes_on(
    sqlite_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked = threading.Event(), list[Path]()

    def usage(path: Path) -> object:
        asked.append(path)
        answers.wait()
        return SimpleNamespace(free=0)

    monkeypatch.setattr(health, "WITHIN", 0.01)
    monkeypatch.setattr("shutil.disk_usage", usage)
    async with serving(sqlite_index, tmp_path) as web:
        for _ in range(3):
            assert "did not answer" in (await ask(web, "/readyz")).json["problems"]["disk"]
        assert (await ask(web, "/api/node")).json["free"] is None
        assert "dimse_disk_free_bytes" not in (await ask(web, "/metrics")).body.decode()
        assert asked == [tmp_path]  # one look, not one for each request
        answers.set()


async def test_without_memory_for_a_thread_it_is_not_ready(
    sqlite_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    looked = Health(sqlite_index, tmp_path, 0, problem(None))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        assert (await looked.state()).problems.keys() == {"disk"}
    assert (await looked.state()).problems == {}
    await looked.close()


async def test_an_index_that_is_gone_is_said(tmp_path: Path) -> None:
    opened = Index.at(tmp_path / "index.sqlite")
    opened.close()
    looked = Health(opened, tmp_path, 0, problem(None))
    assert "cannot be written" in (await looked.state()).problems["index"]
    assert (await Health(opened, tmp_path / "gone", 0, problem(None)).state()).problems["disk"]


async def test_an_index_that_is_busy_is_said_and_asked_once(
    sqlite_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "WITHIN", 0.01)
    looked, free = Health(sqlite_index, tmp_path, 0, problem(None)), threading.Event()
    busy = asyncio.create_task(sqlite_index.write(lambda _: free.wait()))
    await asyncio.sleep(0)
    for _ in range(3):
        assert "within" in (await looked.state()).problems["index"]
    free.set()
    await busy
    monkeypatch.undo()
    assert (await looked.state()).problems == {}
    await looked.close()


async def test_a_look_that_ends_just_before_another_begins_says_what_it_found(
    sqlite_index: Index, tmp_path: Path
) -> None:
    asked = list[asyncio.Task[State]]()

    async def ask_at_each_turn() -> None:
        for _ in range(10):
            asked.append(asyncio.create_task(looked.state()))
            await asyncio.sleep(0)

    async def ingest() -> None:
        if not asked:
            asking.append(asyncio.create_task(ask_at_each_turn()))

    asking = list[asyncio.Task[None]]()
    looked = Health(sqlite_index, tmp_path, 0, ingest)
    assert not (await looked.state()).problems
    await asyncio.gather(*asking)
    assert not any(each.problems for each in await asyncio.gather(*asked))
    await looked.close()
