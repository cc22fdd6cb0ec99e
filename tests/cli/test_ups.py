"""`dimse ups`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydicom import Dataset

from dimse import Server
from dimse.services.ups_scp import UPSManager

Beside = Callable[..., Any]
CODE = "110004,DCM,Computer Aided Detection"


@asynccontextmanager
async def managing() -> AsyncIterator[tuple[UPSManager, str]]:
    server = Server("WORKLIST", port=0)
    async with UPSManager(server) as manager, server:
        yield manager, f"WORKLIST@127.0.0.1:{server.port}"


async def state_of(manager: UPSManager, uid: str) -> str:
    stored = await manager.get(uid)
    assert stored is not None
    return str(stored.state)


async def test_a_step_from_its_creation_to_its_end(beside: Beside) -> None:
    async with managing() as (manager, peer):
        result = await beside("ups", "create", peer, "--label", "Chest", "--workitem", CODE, "-k", "PatientID=4711")
        uid = result.out.strip()
        assert (result.code, await state_of(manager, uid)) == (0, "SCHEDULED")
        result = await beside("ups", "list", peer, "-k", "ProcedureStepState=SCHEDULED", "--csv")
        assert result.out.splitlines()[1].endswith(f",Chest,,4711,{uid}")
        result = await beside("ups", "claim", peer, "-k", "PatientID=47*", "--json")
        claimed = json.loads(result.out)
        assert (result.code, claimed["sop_instance_uid"]) == (0, uid)
        lock = ("--transaction", claimed["transaction_uid"])
        result = await beside("ups", "progress", peer, uid, *lock, "--percent", "50", "--text", "half")
        assert (result.code, result.out) == (0, "")
        result = await beside("ups", "complete", peer, uid, *lock)
        assert (result.code, result.out) == (0, f"{uid} is COMPLETED\n")
        result = await beside("ups", "show", peer, uid, "--json")
        shown = json.loads(result.out)
        assert (shown["00741000"]["Value"], "00081195" in shown) == (["COMPLETED"], False)


async def test_a_step_that_is_canceled(beside: Beside) -> None:
    async with managing() as (manager, peer):
        step = Dataset()
        step.ProcedureStepLabel = "Chest"
        one, other = await manager.create(step), await manager.create(step)
        result = await beside("ups", "cancel", peer, one, "--text", "no longer wanted")
        assert (result.code, result.out) == (0, "the request was accepted: 0x0000 Success\n")
        result = await beside("ups", "claim", peer, other)
        transaction = result.out.split()[1]
        result = await beside("ups", "cancel", peer, other, "--transaction", transaction)
        assert (result.code, result.out) == (0, f"{other} is CANCELED\n")
        assert [await state_of(manager, uid) for uid in (one, other)] == ["CANCELED"] * 2
        result = await beside("ups", "show", peer, one)
        assert "no longer wanted" in result.out


async def test_refusals_are_told_in_words(beside: Beside) -> None:
    async with managing() as (manager, peer):
        step = Dataset()
        step.ProcedureStepLabel = "Chest"
        uid = await manager.create(step)
        result = await beside("ups", "complete", peer, uid, "--transaction", "2.25.1")
        assert (result.code, await state_of(manager, uid)) == (1, "SCHEDULED")
        assert "0xC310 The step is not IN PROGRESS" in result.err
        result = await beside("ups", "claim", peer, "-k", "ProcedureStepLabel=Head")
        assert result.code == 1
        assert "no step could be claimed" in result.err


async def test_events_as_they_come(beside: Beside) -> None:
    async with managing() as (manager, peer):
        step = Dataset()
        step.ProcedureStepLabel = "Chest"
        uid = await manager.create(step)
        result = await beside("ups", "watch", peer, uid, "--limit", "1", "--json")
        assert json.loads(result.out) == {
            "event": "state", "sop_instance_uid": uid, "state": "SCHEDULED", "progress": None, "text": None
        }  # fmt: skip
        stored = await manager.get(uid)
        assert stored is not None
        assert (result.code, stored.subscribers) == (0, {})


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("frob",), "must be one of list, show, create"),
        (("show",), "ups show needs UID: the SOP Instance UID of the step"),
        (("create",), "ups create needs --label TEXT: what is to be done"),
        (("complete", "1.2"), "ups complete needs --transaction UID, which ups claim prints"),
        (("watch", "1.2", "-k", "PatientID=1"), "ups watch takes the UID of a step, or keys"),
        (("list", "-k", "Nonsense"), "unknown keyword 'Nonsense'"),
        (("create", "--label", "X", "--workitem", "1"), "must be a code, a coding scheme and a meaning"),
        (("claim", "-k", "ScheduledProcedureStepStartDateTime=soon"), "invalid value"),
    ],
)
async def test_wrong_usage(beside: Beside, words: tuple[str, ...], why: str) -> None:
    result = await beside("ups", words[0], "WORKLIST@localhost:1", *words[1:])
    assert (result.code, why in result.err) == (2, True), result.err
