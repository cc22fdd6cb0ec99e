"""Procedure steps that a node keeps, and what they say about studies."""

from __future__ import annotations

import itertools
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
from pydicom import Dataset
from sqlalchemy import select
from tests.node.studies import arrive, settled
from tests.sample_objects import EXPLICIT, instance
from tests.services.test_procedure_step import dataset, worklist_match

from dimse import (
    NormalizedSCU,
    Server,
    Status,
    StatusError,
    StepLeftOpen,
    StepStatus,
    connect,
    performed_step,
    started_step,
    uids,
)
from dimse.dataset.codec import encode
from dimse.node import procedure_steps
from dimse.node.index import Index
from dimse.node.options import SettlingOptions
from dimse.node.procedure_steps import KEPT, IndexStepStore, forget_old, instances_of, serve_procedure_steps, studies_of
from dimse.node.schema import expected, procedure_step
from dimse.node.settling import Settling

STEP = started_step(worklist_match())
STUDY = STEP.ScheduledStepAttributesSequence[0].StudyInstanceUID
LONG = ["encode", "instances_of", "decode"]
"""What takes as long as a step is."""
MPPS, RETRIEVE = uids.PERFORMED_PROCEDURE_STEP, uids.PERFORMED_PROCEDURE_STEP_RETRIEVE


@asynccontextmanager
async def serving(index: Index, ended: list[None] | None = None) -> AsyncIterator[str]:
    server = Server("ARCHIVE", port=0)
    serve_procedure_steps(server, index, lambda: ended.append(None) if ended is not None else None)
    async with server:
        yield f"ARCHIVE@127.0.0.1:{server.port}"


async def expectations(index: Index) -> dict[str, list[str] | None]:
    """What is expected of the studies of the steps that are kept."""
    return await index.read(lambda c: {row.study_uid: row.instances for row in c.execute(select(expected))})


async def test_what_a_step_lists_settles_its_study(index: Index) -> None:
    ended: list[None] = []
    settling = Settling(index, SettlingOptions(quiet=1e9), clock=lambda: 0)
    async with serving(index, ended) as address, performed_step(address, STEP) as step:
        assert await expectations(index) == {STUDY: None}
        for uid in ("1.1", "1.2"):
            await index.write(partial(arrive, study_uid=STUDY, instance_uid=uid, at=0))
            step.add(instance(uid, pixels=0))
        await settling.look()
        assert settled(index) == {}
        assert ended == []
    assert ended == [None]
    await settling.look()
    assert settled(index) == {STUDY: "mpps"}
    assert await expectations(index) == {}


async def test_a_step_that_began_before_a_restart(index: Index) -> None:
    async with serving(index) as address:
        contexts = [(uid, uids.LITTLE_ENDIAN) for uid in (MPPS, RETRIEVE)]
        async with connect(address, contexts=contexts) as association:
            await NormalizedSCU(association).create(MPPS, STEP, sop_instance_uid="8.1")
    async with serving(index) as address, connect(address, contexts=contexts) as association:
        scu = NormalizedSCU(association)
        with pytest.raises(StatusError) as refused:
            await scu.create(MPPS, STEP, sop_instance_uid="8.1")
        assert refused.value.status == Status.DUPLICATE_SOP_INSTANCE
        await scu.set(MPPS, "8.1", dataset(PerformedProcedureStepDescription="Schädel"))
        read = (await scu.get(RETRIEVE, "8.1")).dataset
        assert read is not None
        assert (read.PatientID, read.PerformedProcedureStepDescription) == (STEP.PatientID, "Schädel")
    assert await expectations(index) == {STUDY: None}


async def test_a_step_that_lists_nothing_says_nothing(index: Index) -> None:
    async with serving(index) as address:
        async with performed_step(address, STEP):
            pass
        assert await expectations(index) == {}
        with suppress(RuntimeError):
            async with performed_step(address, STEP) as step:
                step.add(instance("1.1", pixels=0))
                raise RuntimeError("out of film")
    assert await expectations(index) == {STUDY: ["1.1"]}, "also a discontinued one lists what it has"


async def kept(index: Index) -> list[str]:
    """The UIDs of the steps that are kept, the one that changed longest ago first."""
    steps = select(procedure_step.c.uid).order_by(procedure_step.c.changed_at)
    return await index.read(lambda c: list(c.scalars(steps)))


def store_of(index: Index) -> IndexStepStore:
    """A store in which each change is a second after the one before."""
    return IndexStepStore(index, lambda: None, clock=itertools.count(1).__next__)


def step(uid: str, *listed: str) -> Dataset:
    """A step of the study `uid` that has ended."""
    made = started_step(worklist_match())
    made.ScheduledStepAttributesSequence[0].StudyInstanceUID = uid
    made.PerformedProcedureStepStatus = str(StepStatus.COMPLETED if listed else StepStatus.IN_PROGRESS)
    references = [{"ReferencedSOPInstanceUID": each} for each in listed]
    made.PerformedSeriesSequence = [dataset(ReferencedImageSequence=references)]
    return made


async def test_beyond_a_number_those_are_forgotten_that_changed_longest_ago(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procedure_steps, "MAXIMUM_STEPS", 2)
    store = store_of(index)
    for uid in ("8.1", "8.2"):
        await store.put(uid, step(uid))
    await store.put("8.1", step("8.1", "1.1"))
    assert await kept(index) == ["8.2", "8.1"]
    await store.put("8.3", step("8.3"))
    assert await kept(index) == ["8.1", "8.3"]
    assert await expectations(index) == {"8.1": ["1.1"], "8.3": None}


async def test_beyond_a_number_of_bytes_too(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step lists is kept with each of its studies, and counts."""
    store, uids = store_of(index), [f"1.2.840.{number:050}" for number in range(20)]
    await store.put("8.0", step("9"))
    await store.put("8.1", step("9", *uids))
    small, long = await index.read(lambda c: c.scalars(select(procedure_step.c.bytes).order_by("changed_at")).all())
    assert long - small > len(encode(step("9", *uids), EXPLICIT)) - len(encode(step("9"), EXPLICIT))
    monkeypatch.setattr(procedure_steps, "MAXIMUM_STEP_BYTES", long + 2 * small)
    for number in (2, 3):
        await store.put(f"8.{number}", step("9"))
    assert await kept(index) == ["8.1", "8.2", "8.3"]
    await store.put("8.1", step("9", *uids))
    assert await kept(index) == ["8.2", "8.3", "8.1"]
    await store.put("8.4", step("9", *uids))
    assert await kept(index) == ["8.4"]
    with pytest.raises(StatusError) as refused:
        await store.put("8.5", step("9", *(f"{uid}.{number}" for uid in uids for number in range(5))))
    assert refused.value.status == Status.RESOURCE_LIMITATION
    assert await kept(index) == ["8.4"]


async def test_the_event_loop_does_not_wait_for_long_lists(
    sqlite_index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, functions = dict[str, int](), {name: getattr(procedure_steps, name) for name in LONG}

    def noted(name: str, *given: Any) -> Any:
        threads[name] = threading.get_ident()
        return functions[name](*given)

    for name in LONG:
        monkeypatch.setattr(procedure_steps, name, partial(noted, name))
    store = store_of(sqlite_index)
    await store.put("8.1", step("9", "1.1"))
    assert (await store.get("8.1")) is not None
    assert list(threads) == LONG
    assert threading.get_ident() not in threads.values()


async def test_no_step_is_kept_forever(index: Index) -> None:
    await store_of(index).put("8.1", step("8.1", "1.1"))
    await index.write(lambda c: forget_old(c, 1 + KEPT))
    assert await expectations(index) == {"8.1": ["1.1"]}
    await index.write(lambda c: forget_old(c, 2 + KEPT))
    assert await expectations(index) == {}


def test_what_a_step_names() -> None:
    def references(*values: str) -> list[dict[str, str]]:
        return [{"ReferencedSOPInstanceUID": value} for value in values]

    images, others = references("1", "2", "1"), references("3", "")
    series = [
        {"ReferencedImageSequence": images, "ReferencedNonImageCompositeSOPInstanceSequence": others},
        {"ReferencedImageSequence": references("4")},
        {},
    ]
    studies = [{"StudyInstanceUID": uid} for uid in ("8", "9", "8", "")]
    step = dataset(PerformedSeriesSequence=series, ScheduledStepAttributesSequence=studies)
    assert instances_of(step) == ["1", "2", "3", "4"]
    assert studies_of(step) == ["8", "9"]
    assert (instances_of(dataset()), studies_of(dataset())) == ([], [])


async def test_what_a_step_lists_is_bounded_as_it_is_kept_with_each_study(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procedure_steps, "MAXIMUM_LISTED", 5)
    step = started_step(worklist_match())
    item = step.ScheduledStepAttributesSequence[0]
    others = [deepcopy(item) for _ in range(procedure_steps.MAXIMUM_STUDIES)]
    for number, other in enumerate(others):
        other.StudyInstanceUID = f"9.{number}"
    async with serving(index) as address:
        step.ScheduledStepAttributesSequence = [item, *others]
        with pytest.raises(StatusError) as refused:
            async with performed_step(address, step):
                pass
        assert refused.value.status == Status.RESOURCE_LIMITATION
        step.ScheduledStepAttributesSequence = [item, others[0]]
        performing = performed_step(address, step)
        performed = await performing.__aenter__()
        for uid in ("1.1", "1.2", "1.3"):
            performed.add(instance(uid, pixels=0))
        with pytest.raises(StepLeftOpen, match="too many studies and instances"):
            await performing.__aexit__(None, None, None)
