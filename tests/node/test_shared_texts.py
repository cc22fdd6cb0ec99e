"""Numbers of texts that many rows share."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, insert, select

from dimse.node import shared_texts
from dimse.node.index import Index
from dimse.node.schema import source, uid
from dimse.node.shared_texts import SharedTexts


def test_the_same_number_each_time(index: Index) -> None:
    texts, others = SharedTexts(), SharedTexts()
    with index.writing() as connection:
        first = dict(texts.numbers(connection, uid, ["1.2", "1.3"]))
        assert texts.numbers(connection, uid, ["1.2", "1.3"]).items() >= first.items()
    with index.writing() as connection:
        assert others.numbers(connection, uid, ["1.3", "1.2", "1.4"]).items() > first.items()
        assert len({*others.numbers(connection, uid, ["1.2", "1.3", "1.4"]).values()}) == 3
        assert "1.2" not in others.numbers(connection, source, ["CT1"])


async def test_a_number_of_a_transaction_that_failed_is_not_kept(index: Index) -> None:
    texts = SharedTexts()

    def work(connection: Connection) -> None:
        for _ in range(2):
            texts.numbers(connection, uid, ["1.2"])
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await index.write(work)
    with index.writing() as connection:
        connection.execute(insert(uid), [{"uid": f"9.{number}"} for number in range(1, 4)])
    with index.writing() as connection:
        number = texts.numbers(connection, uid, ["9.1", "1.2"])["1.2"]
        assert connection.execute(select(uid.c.uid).where(uid.c.id == number)).scalar() == "1.2"


def test_memory_is_bounded(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_texts, "MAXIMUM_TEXTS", 3)
    texts = SharedTexts()
    for each in range(8):
        with index.writing() as connection:
            texts.numbers(connection, uid, [f"1.{each}"])
    with index.writing() as connection:
        assert len(texts.numbers(connection, uid, ["1.7"])) <= 4
        assert len(texts.numbers(connection, uid, [f"1.{each}" for each in range(8)])) == 8
