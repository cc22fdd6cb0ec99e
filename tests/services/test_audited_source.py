"""What is sent is audited with its study and patient, whatever the source, and arrives as it was."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

from tests.sample_objects import CT, IMPLICIT, instance, save
from tests.services.member_archive import STUDY, Archive, retrieve

import dimse
from dimse import (
    AuditLog,
    CGetSCU,
    ClientOptions,
    CMoveSCU,
    Query,
    QueryRequest,
    RetryPolicy,
    Server,
    ServerOptions,
    Status,
    StatusError,
    StoreRequest,
    StreamSource,
    retrieval_contexts,
)
from dimse.services.given import Source

_TRANSFER = re.compile(
    r'EventOutcomeIndicator="(\d)".*?Instances Transferred.*?AETITLES=(\w+).*?originalText="(\w+) Role ID".*'
    r'ParticipantObjectID="([\w.]+)".*NumberOfInstances="(\d+)".*ParticipantObjectID="(\w+)"'
)


async def _transfers(log: AuditLog) -> list[tuple[str, ...]]:
    """Outcome, requestor, its role, study, number of instances and patient of each message."""
    await asyncio.to_thread(log.close)
    lines = (await asyncio.to_thread(log.path.read_text)).splitlines()
    return sorted(found.groups() for line in lines if (found := _TRANSFER.search(line)) is not None)


async def test_what_is_sent_from_any_source_is_audited(tmp_path: Path) -> None:
    log, received = AuditLog(tmp_path / "audit.log"), list[str]()
    server = Server("ARCHIVE", port=0)

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        received.append(request.sop_instance_uid)
        if request.sop_instance_uid == "1.5":
            raise StatusError(Status.OUT_OF_RESOURCES, "full")
        assert [len(part) async for part in request.pixels()]
        return Status.SUCCESS

    objects = [instance(f"1.{number}", pixels=200_000) for number in range(1, 6)]
    for each in objects:
        each.StudyInstanceUID, each.PatientID = "1.2.1", "P1"
    file = save(objects[1], tmp_path / "file.dcm")
    stream = await asyncio.to_thread(save(objects[2], tmp_path / "stream.dcm", IMPLICIT).read_bytes)
    given: list[Source] = [objects[0], file, StreamSource(BytesIO(stream)), objects[3], objects[4]]
    options = ClientOptions(calling_ae_title="CT1", audit=log)
    async with server:
        address = f"ARCHIVE@127.0.0.1:{server.port}"
        report = await dimse.send(address, given, options=options, raise_failures=False, retry=RetryPolicy(retries=0))
    assert len(report.stored) == 4
    assert sorted(received) == ["1.1", "1.2", "1.3", "1.4", "1.5"]
    transfers = await _transfers(log)
    assert {(*each[:4], each[5]) for each in transfers} == {
        ("0", "CT1", "Source", "1.2.1", "P1"),
        ("4", "CT1", "Source", "1.2.1", "P1"),
    }
    assert sum(int(each[4]) for each in transfers if each[0] == "0") == 4


async def test_what_an_archive_sends_by_c_get_is_audited(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    server = Server("ARCHIVE", port=0, options=ServerOptions(audit=log))
    sent = instance("1.1")
    sent.StudyInstanceUID, sent.PatientID = "1.2.1", "P1"

    @server.on_c_get
    async def get(request: QueryRequest) -> AsyncIterator[Source]:
        yield sent

    async with server:
        contexts = retrieval_contexts([CT])
        address = f"ARCHIVE@127.0.0.1:{server.port}"
        async with dimse.connect(address, contexts=contexts, calling_ae_title="WS1") as association:
            query = Query.studies(StudyInstanceUID="1.2.1")
            async for each in CGetSCU(association).get(query, into=tmp_path / "got"):
                assert each.sop_instance_uid == "1.1"
    assert await _transfers(log) == [("0", "WS1", "Destination", "1.2.1", "1", "P1")]


async def test_what_an_archive_moves_is_audited_by_the_receiver_of_a_retrieval(tmp_path: Path) -> None:
    ours = AuditLog(tmp_path / "ours.log")
    async with Archive(move=True) as archive:
        options = ClientOptions(audit=ours)
        await retrieve(archive, STUDY, tmp_path / "got", options=options)
    moved = [each for each in await _transfers(ours) if each[:2] == ("0", "ARCHIVE")]
    assert moved == [("0", "ARCHIVE", "Source", "1.1", "3", "Ada")]


async def test_what_a_server_moves_is_in_its_own_audit_trail(tmp_path: Path) -> None:
    log, sent = AuditLog(tmp_path / "audit.log"), instance("1.1")
    sent.StudyInstanceUID, sent.PatientID = "1.2.1", "P1"
    receiver = Server("WS1", port=0)

    @receiver.on_c_store
    async def store(request: StoreRequest) -> Status:
        return Status.SUCCESS

    async with receiver:
        destinations = {"WS1": f"WS1@127.0.0.1:{receiver.port}"}
        server = Server("ARCHIVE", port=0, options=ServerOptions(audit=log), destinations=destinations)

        @server.on_c_move
        async def move(request: QueryRequest) -> AsyncIterator[Source]:
            yield sent

        async with server, dimse.connect(f"ARCHIVE@127.0.0.1:{server.port}") as association:
            async for _ in CMoveSCU(association).move(Query.studies(StudyInstanceUID="1.2.1"), "WS1"):
                pass
    assert await _transfers(log) == [("0", "ARCHIVE", "Source", "1.2.1", "1", "P1")]
