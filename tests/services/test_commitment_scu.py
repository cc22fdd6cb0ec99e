"""Storage commitment as SCU: a request, and the reports that peers send for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from pydicom import Dataset
from tests.sample_objects import IMPLICIT

import dimse
from dimse import (
    CommitmentResult,
    Commitments,
    CommitmentSCU,
    InstanceReference,
    NormalizedRequest,
    NormalizedSCU,
    NotCommitted,
    PendingCommitment,
    PresentationContextError,
    Server,
    Status,
    StatusError,
    uids,
)
from dimse.dataset.codec import encode
from dimse.messages.message import N_EVENT_REPORT_RQ, N_EVENT_REPORT_RSP
from dimse.services import commitment_scu
from dimse.services.commitment_dataset import report_dataset
from dimse.services.commitment_scu import awaited_of
from dimse.services.commitment_states import RequestEvent, RequestState
from dimse.testing import ScriptedPeer, associate_request, message_pdvs

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
INSTANCES = (InstanceReference(CT, "1.2.3.1"), InstanceReference(CT, "1.2.3.2"))
CONTEXTS = [(uids.STORAGE_COMMITMENT, uids.LITTLE_ENDIAN)]

Answer = Callable[[NormalizedRequest], Awaitable[int]]


async def report(association: dimse.Association, event: int, dataset: Dataset) -> None:
    scu = NormalizedSCU(association)
    await scu.event_report(uids.STORAGE_COMMITMENT, uids.STORAGE_COMMITMENT_INSTANCE, event, dataset)


def all_of(transaction_uid: str) -> Dataset:
    return report_dataset(transaction_uid, dict.fromkeys(INSTANCES))[1]


@asynccontextmanager
async def asked(
    answer: Answer, receiver: Server | None = None
) -> AsyncIterator[tuple[CommitmentSCU, asyncio.Queue[dimse.Association]]]:
    """An association with a provider that answers like that, and its own association of it."""
    provider, arrived = Server("ARCHIVE", port=0), asyncio.Queue[dimse.Association]()

    @provider.on_n_action(uids.STORAGE_COMMITMENT)
    async def act(request: NormalizedRequest) -> int:
        await arrived.put(request.association)
        return await answer(request)

    commitments = Commitments(receiver or Server("WS1", port=0))
    async with (
        provider,
        dimse.connect(
            f"ARCHIVE@localhost:{provider.port}", contexts=CONTEXTS, services=commitments.server
        ) as association,
    ):
        yield CommitmentSCU(association, commitments), arrived


async def success(request: NormalizedRequest) -> int:
    return Status.SUCCESS


def words(results: tuple[CommitmentResult, ...]) -> list[str]:
    return [str(each.error).partition(": ")[2] if each.error else "committed" for each in results]


async def reported(dataset: Callable[[str], Dataset], event: int = 1) -> tuple[CommitmentResult, ...]:
    """The results after the report that `dataset` makes of the Transaction UID."""
    async with asked(success) as (scu, arrived):
        pending = await scu.request(INSTANCES)
        await report(await arrived.get(), event, dataset(pending.transaction_uid))
        return await pending.results(60)


async def test_all_are_committed() -> None:
    results = await reported(all_of)
    assert words(results) == ["committed", "committed"]
    assert [each.sop_instance_uid for each in results] == ["1.2.3.1", "1.2.3.2"]
    assert len({each.transaction_uid for each in results}) == 1


async def test_failures_have_reasons() -> None:
    outcomes = dict(zip(INSTANCES, (0x0112, 0xBEEF), strict=True))
    results = await reported(lambda uid: report_dataset(uid, outcomes)[1], 2)
    assert words(results) == [
        "0x0112 the peer does not have the instance",
        "0xBEEF a reason that the standard does not define",
    ]
    assert [each.error.reason for each in results if isinstance(each.error, NotCommitted)] == [0x0112, 0xBEEF]


async def test_the_lists_of_a_report_count_and_not_its_type() -> None:
    failed = {INSTANCES[0]: None, INSTANCES[1]: 0x0119}
    assert words(await reported(lambda uid: report_dataset(uid, failed)[1], 1)) == [
        "committed",
        "0x0119 the peer has the instance with another SOP class",
    ]


async def test_what_a_report_does_not_mention_is_not_committed() -> None:
    assert words(await reported(lambda uid: report_dataset(uid, {INSTANCES[1]: None})[1])) == [
        "the report does not mention it",
        "committed",
    ]


async def test_another_class_is_not_committed_and_a_missing_one_is() -> None:
    def dataset(uid: str) -> Dataset:
        _, made = report_dataset(uid, {InstanceReference(MR, "1.2.3.1"): None, INSTANCES[1]: None})
        del made.ReferencedSOPSequence[1].ReferencedSOPClassUID
        return made

    assert words(await reported(dataset)) == ["the report names it with another SOP class", "committed"]


async def test_a_report_that_comes_before_the_response_counts() -> None:
    async def answer(request: NormalizedRequest) -> int:
        await report(request.association, 1, all_of(request.dataset.TransactionUID))
        return Status.SUCCESS

    async with asked(answer) as (scu, _):
        assert words(await (await scu.request(INSTANCES)).results(60)) == ["committed", "committed"]


async def test_a_report_before_a_refusal_does_not_count() -> None:
    async def answer(request: NormalizedRequest) -> int:
        await report(request.association, 1, all_of(request.dataset.TransactionUID))
        return 0x0213

    async with asked(answer) as (scu, _):
        with pytest.raises(StatusError, match="0x0213"):
            await scu.request(INSTANCES)


async def test_the_first_report_counts() -> None:
    async with asked(success) as (scu, arrived):
        pending = await scu.request(INSTANCES)
        association = await arrived.get()
        await report(association, 1, all_of(pending.transaction_uid))
        await report(association, 2, report_dataset(pending.transaction_uid, dict.fromkeys(INSTANCES, 0x0110))[1])
        assert words(await pending.results(60)) == ["committed", "committed"]


async def test_a_report_that_comes_too_late_is_answered() -> None:
    async with asked(success) as (scu, arrived):
        pending = await scu.request(INSTANCES)
        assert words(await pending.results(0.001)) == ["no report within 0.001 s"] * 2
        await report(await arrived.get(), 1, all_of(pending.transaction_uid))
        assert awaited_of(pending).state is RequestState.EXPIRED


async def test_without_another_way_the_end_of_the_association_is_the_end() -> None:
    pending = PendingCommitment("1.2", INSTANCES)
    awaited_of(pending).happened(RequestEvent.LOSS)
    assert words(await pending.results(60))[0].startswith("no report: the association has ended")


async def test_a_report_without_an_event_type_says_the_same() -> None:
    receiver = Server("WS1", port=0)
    async with asked(success, receiver) as (scu, _):
        pending = await scu.request(INSTANCES)
        async with receiver, await ScriptedPeer.connect(receiver.port) as peer:
            await peer.associate(associate_request((uids.STORAGE_COMMITMENT, [IMPLICIT])))
            message = N_EVENT_REPORT_RQ(
                message_id=1,
                affected_sop_class_uid=uids.STORAGE_COMMITMENT,
                affected_sop_instance_uid=uids.STORAGE_COMMITMENT_INSTANCE,
                dataset_follows=True,
            )
            await peer.send(message_pdvs(message, encode(all_of(pending.transaction_uid), IMPLICIT)))
            answer = (await peer.receive_message()).message
            assert isinstance(answer, N_EVENT_REPORT_RSP)
            assert answer.status == Status.SUCCESS
            await peer.release()
        assert words(await pending.results(60)) == ["committed", "committed"]


def no_transaction(uid: str) -> Dataset:
    dataset = all_of(uid)
    del dataset.TransactionUID
    return dataset


@pytest.mark.parametrize(
    ("event", "make", "status"),
    [
        (3, all_of, 0x0113),
        (1, no_transaction, 0x0115),
        (1, lambda _: all_of("1.2.3.4"), 0x0115),
    ],
)
async def test_other_reports_are_refused(event: int, make: Callable[[str], Dataset], status: int) -> None:
    async with asked(success) as (scu, arrived):
        pending = await scu.request(INSTANCES)
        association = await arrived.get()
        with pytest.raises(StatusError) as refused:
            await report(association, event, make(pending.transaction_uid))
        await report(association, 1, all_of(pending.transaction_uid))
        assert words(await pending.results(60)) == ["committed", "committed"]
    assert refused.value.status == status


async def test_the_last_transactions_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment_scu, "REMEMBERED", 1)
    async with asked(success) as (scu, arrived):
        transactions = [(await scu.request(INSTANCES)).transaction_uid for _ in range(2)]
        association = await arrived.get()
        await report(association, 1, all_of(transactions[1]))
        with pytest.raises(StatusError, match="0x0115"):
            await report(association, 1, all_of(transactions[0]))


async def test_a_provider_without_the_service() -> None:
    commitments = Commitments(Server("WS1", port=0))
    async with (
        Server("ARCHIVE", port=0) as provider,
        dimse.connect(
            f"ARCHIVE@localhost:{provider.port}", contexts=[*CONTEXTS, (uids.VERIFICATION, uids.LITTLE_ENDIAN)]
        ) as association,
    ):
        with pytest.raises(PresentationContextError):
            await CommitmentSCU(association, commitments).request(INSTANCES)
