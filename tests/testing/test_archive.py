"""The fake archive: it serves what it has, keeps account, and fails to order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from pathlib import Path

import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from tests.sample_objects import CT, VERIFICATION, instance, pixel_bytes, save

import dimse
from dimse import (
    AssociationAborted,
    AssociationRejected,
    AssociationTimeout,
    CEchoSCU,
    CFindSCU,
    CGetSCU,
    ClientOptions,
    CMoveSCU,
    ConnectionLost,
    CStoreSCU,
    Query,
    RetryPolicy,
    Status,
    StatusError,
    Timeouts,
    retrieval_contexts,
)
from dimse.testing import Abort, Answer, Delay, Drop, FakeArchive, Fault, Refuse

ONCE = RetryPolicy(retries=0)
STUDY = Query.studies(StudyInstanceUID="1.2.3.1")


async def echo(archive: FakeArchive, timeouts: Timeouts | None = None) -> None:
    options = ClientOptions(calling_ae_title="TESTER", timeouts=timeouts or Timeouts())
    async with dimse.connect(archive.address, options=options) as association:
        await CEchoSCU(association).echo()


def files_in(folder: Path) -> list[Path]:
    return list(folder.rglob("*.dcm"))


async def test_it_keeps_what_it_is_sent_and_notes_each_request() -> None:
    with FakeArchive() as archive:
        await echo(archive)
        await dimse.send(archive.address, [instance("1.2.3.4"), instance("1.2.3.5")])
    assert [(request.operation, request.calling_ae_title) for request in archive.requests] == [
        ("C-ECHO", "TESTER"),
        ("C-STORE", "DIMSE"),
        ("C-STORE", "DIMSE"),
    ]
    assert [stored.SOPInstanceUID for stored in archive.instances] == ["1.2.3.4", "1.2.3.5"]
    assert archive.instances[0].PixelData == pixel_bytes(1000)
    assert archive.requests[1].dataset is archive.instances[0]
    assert archive.connections == 2


async def test_it_has_the_files_of_a_folder_and_writes_what_it_receives(tmp_path: Path) -> None:
    save(instance("1.2.3.4"), tmp_path / "first.dcm")
    with FakeArchive(folder=tmp_path) as archive:
        await dimse.send(archive.address, instance("1.2.3.5"))
    assert len(files_in(tmp_path)) == 2
    assert [there.SOPInstanceUID for there in FakeArchive(folder=tmp_path).instances] == ["1.2.3.5", "1.2.3.4"]


async def test_it_finds_by_the_keys_of_the_identifier() -> None:
    other = instance("1.2.3.9")
    other.StudyInstanceUID, other.PatientName = "1.2.3.8", "Someone^Else"
    with FakeArchive([instance(), other]) as archive:
        async with dimse.connect(archive.address, contexts=retrieval_contexts()) as association:
            query = Query.studies(PatientName="some*", StudyInstanceUID=None)
            found = [match async for match in CFindSCU(association).find(query)]
    assert [match.StudyInstanceUID for match in found] == ["1.2.3.8"]
    assert archive.requests[0].dataset is not None
    assert archive.requests[0].dataset.PatientName == "some*"


@pytest.mark.parametrize("moves", [False, True])
async def test_it_gives_what_it_has(moves: bool, tmp_path: Path) -> None:
    with FakeArchive([instance("1.2.3.4"), instance("1.2.3.5")]) as archive, FakeArchive(ae_title="WS1") as receiver:
        archive.destinations["WS1"] = receiver.address
        async with dimse.connect(archive.address, contexts=retrieval_contexts([CT])) as association:
            if moves:
                counts = [count async for count in CMoveSCU(association).move(STUDY, "WS1")]
                assert counts[-1].completed == 2
                assert len(receiver.instances) == 2
            else:
                got = [one async for one in CGetSCU(association).get(STUDY, into=tmp_path)]
                assert [one.sop_instance_uid for one in got] == ["1.2.3.4", "1.2.3.5"]
    assert [request.operation for request in archive.requests] == ["C-MOVE" if moves else "C-GET"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Refuse(), AssociationRejected),
        (Refuse(result=2, source=3, reason=2), AssociationRejected),
        (Abort(), AssociationAborted),
        (Drop(), ConnectionLost),
    ],
)
async def test_it_ends_associations_before_they_begin(fault: Fault, error: type[Exception]) -> None:
    with FakeArchive() as archive:
        archive.on("A-ASSOCIATE", fault, nth=2)
        await echo(archive)
        with pytest.raises(error) as raised:
            await echo(archive)
        await echo(archive)
    assert archive.connections == 3
    if isinstance(fault, Refuse):
        assert isinstance(raised.value, AssociationRejected)
        assert (raised.value.result, raised.value.reason) == (fault.result, fault.reason)


async def test_it_is_slow_to_accept() -> None:
    with FakeArchive() as archive:
        archive.on("A-ASSOCIATE", Delay(3600), nth=1)
        with pytest.raises(AssociationTimeout):
            await echo(archive, Timeouts(association=0.1))
        archive.on("A-ASSOCIATE", Delay(0.01), nth=1)
        await echo(archive)


@pytest.mark.parametrize("operation", ["C-ECHO", "C-STORE", "C-FIND", "C-GET", "C-MOVE"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [(Answer(0x0110, "to order"), StatusError), (Abort(), AssociationAborted), (Drop(), ConnectionLost)],
)
async def test_it_fails_each_operation(operation: str, fault: Fault, error: type[Exception], tmp_path: Path) -> None:
    with FakeArchive([instance()], destinations={"WS1": "WS1@127.0.0.1:1"}) as archive:
        archive.on(operation, fault)
        with pytest.raises(error) as raised:
            await perform(operation, archive.address, tmp_path)
    assert [request.operation for request in archive.requests] == [operation]
    if isinstance(raised.value, StatusError):
        assert (raised.value.status, raised.value.comment) == (0x0110, "to order")


async def perform(operation: str, address: str, folder: Path) -> None:
    contexts = retrieval_contexts([CT]) if operation == "C-GET" else None
    async with dimse.connect(address, contexts=contexts) as association:
        match operation:
            case "C-ECHO":
                await CEchoSCU(association).echo()
            case "C-STORE":
                await CStoreSCU(association).send(instance())
            case "C-FIND":
                await consume(CFindSCU(association).find(STUDY))
            case "C-GET":
                await consume(CGetSCU(association).get(STUDY, into=folder))
            case "C-MOVE":
                await consume(CMoveSCU(association).move(STUDY, "WS1"))


async def consume(results: AsyncIterable[object]) -> None:
    async for _ in results:
        pass


async def test_a_fault_is_for_the_nth_operation_from_now_or_for_each() -> None:
    with FakeArchive() as archive:
        await dimse.send(archive.address, instance("1.2.3.1"))
        archive.on("C-STORE", Delay(0.01), nth=2)
        archive.on("C-STORE", Answer(Status.OUT_OF_RESOURCES), nth=2)
        sources = [instance(f"1.2.3.{number}") for number in (2, 3, 4)]
        report = await dimse.send(archive.address, sources, raise_failures=False, retry=ONCE)
        assert [result.status for result in report.results] == [0, 0xA700, 0]
        archive.on("C-STORE", Answer(Status.CANNOT_UNDERSTAND))
        report = await dimse.send(archive.address, sources, raise_failures=False, retry=ONCE)
        assert [result.status for result in report.results] == [0xC000] * 3
        archive.clear_faults()
        await dimse.send(archive.address, sources)
    assert len(archive.instances) == 4


def test_it_serves_clients_that_block(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeArchive() as archive:
        archive.on("C-STORE", Answer(0xA700), nth=2)
        client = AE("PYNETDICOM")
        client.add_requested_context(VERIFICATION)
        client.add_requested_context(CT, ExplicitVRLittleEndian)
        association = client.associate(archive.host, archive.port, ae_title=archive.ae_title)
        assert association.is_established
        # As in tests/peers/pynetdicom_peer.py: its reactor would at times take a response for a request.
        dimse, take = association.dimse, association.dimse.get_msg
        monkeypatch.setattr(dimse, "get_msg", lambda block=False: take(block=True) if block else (None, None))
        assert association.send_c_echo().Status == 0
        sent = instance()
        sent.file_meta = FileMetaDataset()
        sent.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        assert [association.send_c_store(sent).Status for _ in range(2)] == [0, 0xA700]
        association.release()
    assert [request.calling_ae_title for request in archive.requests] == ["PYNETDICOM"] * 3


async def test_it_ends_while_a_client_still_waits() -> None:
    with FakeArchive() as archive:
        archive.on("C-ECHO", Delay(3600))
        waiting = asyncio.create_task(echo(archive))
        while not archive.requests:  # noqa: ASYNC110 - its event would be of another loop
            await asyncio.sleep(0.01)
    with pytest.raises((AssociationAborted, ConnectionLost)):
        await waiting
