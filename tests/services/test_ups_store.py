"""The store in memory."""

from __future__ import annotations

import pytest
from pydicom import Dataset
from tests.sample_objects import EXPLICIT

from dimse import StatusError
from dimse.dataset.codec import encode
from dimse.services import ups_store
from dimse.services.ups_store import MemoryUPSStore, StoredUPS, UPSSubscription


def stored(uid: str, state: str = "SCHEDULED", *, lock: bool = False) -> StoredUPS:
    step = Dataset()
    step.ProcedureStepState = state
    return StoredUPS(uid, step, "2.25.1", {"WATCHER": lock})


async def test_a_step_is_replaced_as_a_whole() -> None:
    store = MemoryUPSStore()
    await store.put(stored("1"))
    await store.put(stored("1", "COMPLETED"))
    assert [step.state async for step in store.steps()] == ["COMPLETED"]
    assert (await store.get("2"), store.is_persistent) == (None, False)


async def test_the_bytes_of_steps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """N-SET may make a step larger and larger, and what has ended gives way."""
    size = len(encode(stored("1").dataset, EXPLICIT))
    monkeypatch.setattr(ups_store, "MAXIMUM_STEP_BYTES", 3 * size + 20)
    store, large = MemoryUPSStore(), stored("2")
    large.dataset.ProcedureStepLabel = "x" * size
    for step in (stored("1", "COMPLETED"), stored("2"), stored("3")):
        await store.put(step)
    await store.put(large)
    assert [step.sop_instance_uid async for step in store.steps()] == ["2", "3"]
    large = stored("2")
    large.dataset.ProcedureStepLabel = "x" * 3 * size
    with pytest.raises(StatusError, match=r"0x0213.*full"):
        await store.put(large)
    await store.put(stored("2", "COMPLETED"))
    await store.put(stored("4"))
    assert [step.sop_instance_uid async for step in store.steps()] == ["2", "3", "4"]


async def test_steps_may_change_while_they_are_read() -> None:
    store = MemoryUPSStore()
    for uid in "12":
        await store.put(stored(uid))
    async for _ in store.steps():
        await store.put(stored("3"))
    assert len([step async for step in store.steps()]) == 3


async def test_global_subscriptions() -> None:
    store, subscription = MemoryUPSStore(), UPSSubscription(deletion_lock=True)
    await store.put_global_subscription("WATCHER", subscription)
    assert await store.global_subscriptions() == {"WATCHER": subscription}
    for _ in range(2):
        await store.put_global_subscription("WATCHER", None)
    assert await store.global_subscriptions() == {}


@pytest.mark.parametrize(
    ("step", "may"),
    [(stored("1"), False), (stored("1", "CANCELED"), True), (stored("1", "COMPLETED", lock=True), False)],
)
def test_what_a_store_may_delete(step: StoredUPS, *, may: bool) -> None:
    assert step.may_be_deleted is may


def test_a_store_has_room() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        MemoryUPSStore(0)


def test_no_one_sees_the_lock_by_accident() -> None:
    assert "2.25.1" not in repr(stored("1"))
