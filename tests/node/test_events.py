"""Events: what is kept of them, and following them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select, update

from dimse.node import events
from dimse.node.events import Event, EventKind, as_json, before_latest, by_id, follow, forget, in_order, record, since
from dimse.node.index import Index
from dimse.node.schema import event, job, subscription


def happen(connection: Connection, count: int = 1, **about: Any) -> None:
    for number in range(count):
        record(connection, EventKind.STUDY_CREATED, study_uid=str(number), **about)


async def ids(index: Index) -> list[int]:
    return await index.read(lambda c: [each.id for each in since(c, 0)])


async def test_pages_of_events(index: Index) -> None:
    await index.write(partial(happen, count=5, detail={"source": "CT1@10.0.0.7"}))
    assert [each.id for each in await index.read(lambda c: since(c, 1, 2))] == [2, 3]
    assert await index.read(lambda c: [before_latest(c, most) for most in (0, 2, 5, 9)]) == [5, 3, 0, 0]
    found = await index.read(lambda c: by_id(c, 2))
    assert found is not None
    written = as_json(found)
    assert written.pop("at").endswith("+00:00")
    assert written == {
        "event": "study-created",
        "id": 2,
        "study_instance_uid": "1",
        "series_instance_uid": None,
        "sop_instance_uid": None,
        "detail": {"source": "CT1@10.0.0.7"},
    }
    assert await index.read(lambda c: by_id(c, 6)) is None


async def test_who_follows_gets_each_event_once_also_those_to_come(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PACE", 0.001)
    await index.write(partial(happen, count=2))
    seen = []
    async with aclosing(follow(index, 1)) as following:
        async for each in following:
            seen.append(each.id)
            if each.id == 4:
                break
            await index.write(happen)
    assert seen == [2, 3, 4]


def at(number: int, moment: float) -> Event:
    return Event(number, moment, EventKind.STUDY_CREATED, None, None, None, {})


@pytest.mark.parametrize(
    ("found", "last", "told"),
    [
        ([at(1, 100), at(2, 100)], 0, [1, 2]),
        ([at(5, 100), at(6, 100)], 4, [5, 6]),
        ([at(1, 100), at(3, 100)], 0, [1]),
        ([at(1, 97), at(3, 97), at(4, 100)], 0, [1, 3, 4]),
        ([at(3, 101)], 1, []),
        ([at(3, 1000)], 1, [3]),
    ],
)
def test_a_number_that_is_missing_is_waited_for_a_while(found: list[Event], last: int, told: list[int]) -> None:
    assert [each.id for each in in_order(found, last, now=100)] == told


async def test_what_is_kept(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_CHUNK", 2)
    monkeypatch.setattr(events, "MAXIMUM_EVENTS", 4)
    await index.write(
        lambda c: c.execute(insert(subscription).values(event_kind="study-created", queue="q", job_kind="k"))
    )
    await index.write(partial(happen, count=9))
    await index.write(lambda c: c.execute(update(event).values(at=1000.0)))
    more = [await index.write(partial(forget, now=1000.0)) for _ in range(3)]
    assert (more, await ids(index)) == ([True, True, False], [6, 7, 8, 9])
    assert await index.read(lambda c: c.scalar(select(func.count()).select_from(job))) == 4, "jobs go with them"
    await index.write(lambda c: c.execute(update(event).where(event.c.id > 6).values(at=2000.0)))
    await index.write(partial(forget, now=1001.0 + events.KEPT))
    assert await ids(index) == [7, 8, 9]
    await index.write(partial(forget, now=3000.0 + events.KEPT))
    await index.write(partial(forget, now=3000.0 + events.KEPT))
    assert await ids(index) == []
    await index.write(happen)
    assert await ids(index) == [10], "no number is used twice"


async def test_an_event_makes_a_job_for_each_who_wants_it(index: Index) -> None:
    rows = [("study-created", "a", "webhook"), ("study-created", "b", "command"), ("duplicate", "a", "webhook")]
    columns = ("event_kind", "queue", "job_kind")
    await index.write(lambda c: c.execute(insert(subscription), [dict(zip(columns, row, strict=True)) for row in rows]))
    await index.write(partial(happen, count=2))
    made = await index.read(lambda c: c.execute(select(job.c.kind, job.c.queue, job.c.event_id, job.c.payload)).all())
    assert sorted(map(tuple, made), key=lambda row: (row[2], row[1])) == [
        ("webhook", "a", 1, {}),
        ("command", "b", 1, {}),
        ("webhook", "a", 2, {}),
        ("command", "b", 2, {}),
    ]


async def test_following_ends_when_it_is_cancelled(index: Index) -> None:
    following = asyncio.create_task(anext(follow(index, 0)))
    await index.read(lambda _: None)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
