"""Storage commitment as SCP: what it answers, what it reports and where, and what it keeps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydicom import Dataset

import dimse
from dimse import (
    CommitmentFailure,
    CommitmentRequest,
    CommitmentSCP,
    DimseError,
    InstanceReference,
    MemoryTransactions,
    NormalizedReply,
    NormalizedRequest,
    NormalizedSCU,
    RetryPolicy,
    Server,
    Status,
    StatusError,
    uids,
)
from dimse.services import commitment_scp, normalized_scu
from dimse.services.commitment_dataset import ReadReport, read_report, request_dataset
from dimse.services.commitment_store import Transactions

CT = "1.2.840.10008.5.1.4.1.1.2"
INSTANCES = (InstanceReference(CT, "1.2.3.1"), InstanceReference(CT, "1.2.3.2"))
CONTEXTS = [(uids.STORAGE_COMMITMENT, uids.LITTLE_ENDIAN)]
AGAIN = RetryPolicy(retries=100, delay=0.01, factor=1)

Outcomes = Mapping[str, CommitmentFailure | None]


async def everything(request: CommitmentRequest) -> Outcomes:
    return {each.sop_instance_uid: None for each in request.instances}


class Requestor:
    """A requestor with a listener of its own, which counts the reports."""

    def __init__(self, status: int = Status.SUCCESS) -> None:
        self.server = Server("WS1", port=0)
        self.reports: asyncio.Queue[tuple[ReadReport, int | None, dimse.Association]] = asyncio.Queue()
        self.statuses = [status]

        @self.server.on_n_event_report(uids.STORAGE_COMMITMENT)
        async def report(request: NormalizedRequest) -> NormalizedReply | int:
            status = self.statuses.pop() if len(self.statuses) > 1 else self.statuses[0]
            if status == Status.SUCCESS:
                await self.reports.put((read_report(request.dataset), request.event_type_id, request.association))
            return status

    @property
    def address(self) -> str:
        return f"WS1@localhost:{self.server.port}"


@asynccontextmanager
async def provider(
    decide: Callable[[CommitmentRequest], Awaitable[Outcomes]] = everything,
    transactions: str | Path | Transactions | None = None,
    **given: Any,
) -> AsyncIterator[str]:
    server = Server("ARCHIVE", port=0)
    scp = CommitmentSCP(server, decide, transactions or MemoryTransactions(), **{"retry": AGAIN, **given})
    async with scp, server:
        yield f"ARCHIVE@localhost:{server.port}"


def asking(address: str, requestor: Requestor) -> Any:
    return dimse.connect(address, contexts=CONTEXTS, calling_ae_title="WS1", services=requestor.server)


async def ask(association: dimse.Association, uid: str, instances: Any = INSTANCES, **changes: Any) -> None:
    given: dict[str, Any] = {
        "sop": uids.STORAGE_COMMITMENT_INSTANCE,
        "action": 1,
        "dataset": request_dataset(uid, instances),
    }
    given |= changes
    scu = NormalizedSCU(association)
    await scu.action(uids.STORAGE_COMMITMENT, given["sop"], given["action"], given["dataset"])


async def test_the_report_comes_on_the_association_that_stays() -> None:
    requestor = Requestor()
    async with provider(same_association=0) as address, asking(address, requestor) as association:
        await ask(association, "1.2")
        report, event, on = await requestor.reports.get()
    assert set(report.committed) == {"1.2.3.1", "1.2.3.2"}
    assert (report.transaction_uid, report.failed, event) == ("1.2", {}, 1)
    assert (on.calling_ae_title, on.called_ae_title) == ("WS1", "ARCHIVE")


async def test_the_event_loop_does_not_wait_for_long_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """To make and encode a report of 10 000 instances takes seconds."""
    threads = dict[str, int]()

    def note(module: ModuleType, name: str) -> None:
        function = getattr(module, name)

        def noted(*given: Any) -> Any:
            threads[name] = threading.get_ident()
            return function(*given)

        monkeypatch.setattr(module, name, noted)

    requestor = Requestor()
    async with provider(same_association=0) as address, asking(address, requestor) as association:
        note(normalized_scu, "encode")
        note(commitment_scp, "report_dataset")
        await ask(association, "1.2")
        await requestor.reports.get()
    assert threads.keys() == {"encode", "report_dataset"}
    assert threading.get_ident() not in threads.values()


async def test_the_moment_of_each_request_begins_when_it_comes() -> None:
    """So ten requests on one association take one moment, not ten."""
    requestor = Requestor()
    async with provider(same_association=0.3) as address, asking(address, requestor) as association:
        for number in range(10):
            await ask(association, f"1.2.9.{number}")
        async with asyncio.timeout(2.5):
            reports = [await requestor.reports.get() for _ in range(10)]
        assert {on for _, _, on in reports} == {association}


@pytest.mark.parametrize("same_association", [1e6, None])
async def test_the_report_comes_on_a_new_association(same_association: float | None) -> None:
    async def decide(request: CommitmentRequest) -> Outcomes:
        return {"1.2.3.1": None, "1.2.3.9": None}

    requestor = Requestor()
    async with (
        requestor.server,
        provider(decide, destinations={"WS1": requestor.address}, same_association=same_association) as address,
    ):
        async with asking(address, requestor) as association:
            await ask(association, "1.2")
        report, event, on = await requestor.reports.get()
    assert (set(report.committed), report.failed, event) == ({"1.2.3.1"}, {"1.2.3.2": 0x0112}, 2)
    assert (on.calling_ae_title, on.called_ae_title) == ("ARCHIVE", "WS1")
    assert [context.requestor_is_scp for context in on.contexts.values()] == [True]


async def test_a_handler_that_fails_commits_to_nothing() -> None:
    async def decide(request: CommitmentRequest) -> Outcomes:
        raise ValueError("the disk is full")

    requestor = Requestor()
    async with provider(decide, same_association=0) as address, asking(address, requestor) as association:
        await ask(association, "1.2")
        report, _, _ = await requestor.reports.get()
    assert report.failed == {"1.2.3.1": 0x0110, "1.2.3.2": 0x0110}


async def test_a_handler_that_cannot_decide_is_called_again() -> None:
    failures = [DimseError("the database is gone")] * 2

    async def decide(request: CommitmentRequest) -> Outcomes:
        if failures:
            raise failures.pop()
        return await everything(request)

    requestor = Requestor()
    async with provider(decide, same_association=0) as address, asking(address, requestor) as association:
        await ask(association, "1.2")
        report, _, _ = await requestor.reports.get()
    assert (set(report.committed), report.failed) == ({"1.2.3.1", "1.2.3.2"}, {})


async def test_the_report_names_the_title_to_retrieve_from() -> None:
    requestor = Requestor()
    given: dict[str, Any] = {"same_association": 0, "retrieve_ae_title": "CACHE"}
    async with provider(**given) as address, asking(address, requestor) as association:
        await ask(association, "1.2")
        report, _, _ = await requestor.reports.get()
    assert {each.retrieve_ae_title for each in report.committed.values()} == {"CACHE"}


def without_transaction() -> Dataset:
    dataset = request_dataset("1.2", INSTANCES)
    del dataset.TransactionUID
    return dataset


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"sop": "1.2.3"}, 0x0112),
        ({"action": 2}, 0x0123),
        ({"dataset": None}, 0x0115),
        ({"dataset": without_transaction()}, 0x0115),
        ({"dataset": request_dataset("1.2", [])}, 0x0115),
        ({"dataset": request_dataset("1.2", [InstanceReference(CT, "")])}, 0x0115),
    ],
)
async def test_what_cannot_be_answered_is_refused(changes: dict[str, Any], status: int) -> None:
    requestor = Requestor()
    async with provider() as address, asking(address, requestor) as association:
        with pytest.raises(StatusError) as refused:
            await ask(association, "1.2", **changes)
    assert refused.value.status == status


async def test_the_same_request_again_is_one_transaction() -> None:
    go, requestor = asyncio.Event(), Requestor()

    async def decide(request: CommitmentRequest) -> Outcomes:
        await go.wait()
        return await everything(request)

    async with provider(decide, same_association=0) as address, asking(address, requestor) as association:
        await ask(association, "1.2")
        await ask(association, "1.2")
        with pytest.raises(StatusError, match=r"0x0115.*in use"):
            await ask(association, "1.2", INSTANCES[:1])
        go.set()
        await requestor.reports.get()
        await ask(association, "1.3")
        report, _, _ = await requestor.reports.get()
    assert report.transaction_uid == "1.3"


@pytest.mark.parametrize(
    ("limit", "value", "comment"),
    [
        ("MAXIMUM_INSTANCES", 1, "more than 1 instances"),
        ("MAXIMUM_OPEN_TRANSACTIONS", 0, "too many open transactions"),
        ("MAXIMUM_OPEN_INSTANCES", 1, "too many open transactions"),
    ],
)
async def test_what_is_too_much_is_refused(
    limit: str, value: int, comment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commitment_scp, limit, value)
    async with provider() as address, asking(address, Requestor()) as association:
        with pytest.raises(StatusError, match=f"0x0213.*{comment}"):
            await ask(association, "1.2")


async def test_a_requestor_that_cannot_be_reached_leaves_room_for_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its title is from the peer: the log has it escaped."""
    monkeypatch.setattr(commitment_scp, "MAXIMUM_OPEN_TRANSACTIONS", 4)
    async with provider(same_association=None, retry=RetryPolicy(retries=100, delay=60)) as address:
        async with asking(address, Requestor()) as association:
            for uid in ("1.1", "1.2"):
                await ask(association, uid)
            with pytest.raises(StatusError, match=r"0x0213.*of this requestor"):
                await ask(association, "1.3")
        async with dimse.connect(address, contexts=CONTEXTS, calling_ae_title="OTHER") as association:
            await ask(association, "1.3")
    assert "storage commitment for 'WS1' refused: 2 reports wait for it" in caplog.text


async def test_a_report_is_sent_until_the_requestor_takes_it(tmp_path: Path) -> None:
    requestor = Requestor()
    requestor.statuses = [Status.SUCCESS, 0x0110, 0x0110]
    store = tmp_path / "open.sqlite"
    given: dict[str, Any] = {"transactions": store, "same_association": 0}
    async with provider(**given) as address, asking(address, requestor) as association:
        await ask(association, "1.2")  # the requestor has no address: the report waits
    async with requestor.server, provider(transactions=store, destinations={"WS1": requestor.address}):
        report, _, _ = await requestor.reports.get()
    assert (report.transaction_uid, set(report.committed)) == ("1.2", {"1.2.3.1", "1.2.3.2"})
    async with requestor.server, provider(transactions=store, destinations={"WS1": requestor.address}):
        pass
    assert requestor.reports.empty()


@pytest.mark.parametrize("given", [{"maximum_pause": 0}, {"same_association": -1}])
def test_arguments_are_checked(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(given))} must be"):
        CommitmentSCP(Server(), everything, MemoryTransactions(), **given)
