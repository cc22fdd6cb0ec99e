"""The open transactions of a provider, in memory and in SQLite: the same behavior, and SQLite keeps them."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.commitment_steps import UIDS, Step, does

from dimse import LocalProtocolError, MemoryTransactions, OpenTransaction, SQLiteTransactions
from dimse.services.commitment_store import Transactions

STEPS = st.lists(
    st.tuples(st.sampled_from(("add", "add again", "get", "decide", "remove", "restart")), st.sampled_from(UIDS)),
    max_size=12,
)


async def does_or_restarts(store: Transactions, step: Step, model: dict[str, OpenTransaction]) -> None:
    """`does`, and the step that begins the store again."""
    await does(store, step, model)
    if step[0] == "restart":
        await store.close()
        assert list(await store.open()) == [(each, model[each].requestor, 2) for each in model]


@pytest.mark.parametrize("kind", ["memory", "SQLite"])
@settings(max_examples=12, deadline=None)
@given(steps=STEPS)
def test_a_store_does_what_a_dictionary_does(kind: str, steps: list[Step]) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "open.sqlite"
            store: Transactions = MemoryTransactions() if kind == "memory" else SQLiteTransactions(path)
            model: dict[str, OpenTransaction] = {}
            assert list(await store.open()) == []
            for step in steps:
                await does_or_restarts(store, step, model)
            for uid in UIDS:
                assert await store.get(uid) == model.get(uid)
            await store.close()

    asyncio.run(main())


async def test_one_process_uses_a_file_at_a_time(tmp_path: Path) -> None:
    first, second = SQLiteTransactions(tmp_path / "open"), SQLiteTransactions(tmp_path / "open")
    await first.open()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        await second.open()
    await first.close()
    await second.open()
    await second.close()


async def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").write_bytes(b"not a database" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        await SQLiteTransactions(tmp_path / "open").open()


async def test_a_store_that_is_not_open_says_so(tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError, match="not open"):
        await SQLiteTransactions(tmp_path / "open").get("1.2")
