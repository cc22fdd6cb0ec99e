"""The audit trail: who did what, when and with what result, in the messages of PS3.15 A.5."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import re
import stat
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from pydicom import DataElement, Dataset

import dimse
from dimse import (
    Access,
    AssociationRejected,
    AuditLog,
    CFindSCU,
    CGetSCU,
    ClientOptions,
    ProposedContext,
    Query,
    QueryRequest,
    RetryPolicy,
    Server,
    ServerOptions,
    Status,
    StatusError,
    StoreRequest,
    UserIdentityRQ,
    retrieval_contexts,
)
from dimse.audit import (
    MAXIMUM_QUERY,
    MAXIMUM_VALUE,
    MAXIMUM_WAITING,
    MAXIMUM_WAITING_BYTES,
    Event,
    Outcome,
    Participant,
    query,
    write,
)
from dimse.testing import ScriptedPeer, associate_request, message_pdvs, store_request
from dimse.testing.wire import INFORMATION
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, MR, encoded, instance

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00"
_LINE = re.compile(rf"<85>1 {_TIME} \S+ dimse \d+ DICOM\+RFC3881 - (<AuditMessage>.*</AuditMessage>)")


def read(path: Path) -> list[ElementTree.Element]:
    """The messages of an audit trail, each checked against the schema of PS3.15 A.5.1."""
    messages = []
    for line in path.read_text("ascii").splitlines():
        found = _LINE.fullmatch(line)
        assert found is not None, line
        message = ElementTree.fromstring(found[1])  # noqa: S314 - our own
        _check(message)
        messages.append(message)
    return messages


def _check(message: ElementTree.Element) -> None:
    names = [each.tag for each in message]
    assert re.fullmatch(
        "EventIdentification( ActiveParticipant)+ AuditSourceIdentification( ParticipantObjectIdentification)*",
        " ".join(names),
    )
    event = message[0]
    assert set(event.keys()) == {"EventActionCode", "EventDateTime", "EventOutcomeIndicator"}
    assert [each.tag for each in event][:1] == ["EventID"]
    for coded in message.iter():
        if coded.tag in ("EventID", "EventTypeCode", "RoleIDCode", "ParticipantObjectIDTypeCode"):
            assert set(coded.keys()) == {"csd-code", "codeSystemName", "originalText"}
    for participant in message.iter("ActiveParticipant"):
        assert {"UserID", "UserIsRequestor"} <= set(participant.keys())
    assert sum(each.get("UserIsRequestor") == "true" for each in message.iter("ActiveParticipant")) <= 1
    for each in message.iter("ParticipantObjectIdentification"):
        kind, named, *_ = (child.tag for child in each)
        assert kind == "ParticipantObjectIDTypeCode"
        assert named in ("ParticipantObjectName", "ParticipantObjectQuery")
        assert each.get("ParticipantObjectID") is not None


def _event(message: ElementTree.Element) -> tuple[str, str]:
    """The meaning of the event, and its outcome."""
    event = message[0]
    return str(event[0].get("originalText")), str(event.get("EventOutcomeIndicator"))


def _participants(message: ElementTree.Element) -> list[tuple[str | None, str | None, str | None]]:
    """The AE title or the user, the role and the requestor."""
    return [
        (
            each.get("AlternativeUserID", each.get("UserID")),
            each[0].get("originalText") if len(each) else None,
            each.get("UserIsRequestor"),
        )
        for each in message.iter("ActiveParticipant")
    ]


def _objects(message: ElementTree.Element) -> list[str | None]:
    return [each.get("ParticipantObjectID") for each in message.iter("ParticipantObjectIdentification")]


def of_study(uid: str, study: str, patient: str, sop_class: str = CT) -> Dataset:
    dataset = instance(uid, sop_class=sop_class)
    dataset.StudyInstanceUID, dataset.PatientID = study, patient
    return dataset


async def test_what_a_server_does_is_audited(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    server = Server("ARCHIVE", port=0, options=ServerOptions(audit=log, access=Access(peers=["CT1"])))

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        if request.sop_instance_uid == "1.4":
            raise StatusError(Status.OUT_OF_RESOURCES, "full")
        return Status.SUCCESS

    @server.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        yield instance()

    query = Query.studies(PatientID="P1")
    async with server:
        address = f"ARCHIVE@127.0.0.1:{server.port}"
        objects = [of_study("1.1", "1.2.1", "P1"), of_study("1.2", "1.2.1", "P1", MR), of_study("1.3", "1.2.2", "P2")]
        objects.append(of_study("1.4", "1.2.2", "P2"))
        await dimse.send(address, objects, calling_ae_title="CT1", raise_failures=False, retry=RetryPolicy(retries=0))
        async with dimse.connect(address, calling_ae_title="CT1") as association:
            async for _ in CFindSCU(association).find(query):
                pass
        with pytest.raises(AssociationRejected):
            async with dimse.connect(address, calling_ae_title="OTHER"):
                pass
    await asyncio.to_thread(log.close)
    start, *between, stop = read(log.path)
    assert [_event(each) for each in (start, stop)] == [("Application Activity", "0")] * 2
    assert [each[0][1].get("originalText") for each in (start, stop)] == ["Application Start", "Application Stop"]
    transfers = [each for each in between if _event(each)[0] == "DICOM Instances Transferred"]
    assert sorted((_event(each)[1], _objects(each), _classes(each)) for each in transfers) == [
        ("0", ["1.2.1", "P1"], {CT: "1", MR: "1"}),
        ("0", ["1.2.2", "P2"], {CT: "1"}),
        ("4", ["1.2.2", "P2"], {CT: "1"}),
    ]
    both = [("AETITLES=CT1", "Source Role ID", "true"), ("AETITLES=ARCHIVE", "Destination Role ID", "false")]
    assert all(_participants(each) == both for each in transfers)
    (asked,) = (each for each in between if _event(each) == ("Query", "0"))
    assert _participants(asked) == both
    assert _objects(asked) == [query.model.sop_class("find")]
    identifier = base64.b64decode(asked.findtext(".//ParticipantObjectQuery") or "")
    assert b"P1" in identifier
    (alert,) = (each for each in between if _event(each) == ("Security Alert", "4"))
    assert alert[0][1].get("originalText") == "Node Authentication"
    assert _participants(alert) == [("AETITLES=ARCHIVE", None, "false"), ("AETITLES=OTHER", None, "true")]
    assert stat.S_IMODE((await asyncio.to_thread(log.path.stat)).st_mode) == 0o600


def _classes(message: ElementTree.Element) -> dict[str | None, str | None]:
    return {each.get("UID"): each.get("NumberOfInstances") for each in message.iter("SOPClass")}


async def test_what_a_requestor_does_is_audited_with_its_user_and_without_secrets(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log", source_id="workstation")
    server = Server("ARCHIVE", port=0)

    @server.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        yield instance()

    @server.on_c_get
    async def get(request: QueryRequest) -> AsyncIterator[Dataset]:
        yield of_study("1.1", "1.2.1", "P1")

    identity = UserIdentityRQ.username_and_passcode("zoë", "SECRET")
    options = ClientOptions(calling_ae_title="WS1", audit=log, user_identity=identity)
    async with server:
        address = f"ARCHIVE@127.0.0.1:{server.port}"
        query = Query.studies(StudyInstanceUID="1.2.1")
        contexts = [*retrieval_contexts([CT]), ProposedContext(query.model.sop_class("find"), [EXPLICIT])]
        async with dimse.connect(address, contexts=contexts, options=options) as association:
            async for _ in CFindSCU(association).find(query):
                pass
            async with CGetSCU(association).get(query, into=tmp_path / "got") as instances:
                async for _ in instances:
                    pass
    await asyncio.to_thread(log.close)
    asked, transferred = read(log.path)
    user = ("zoë", None, "true")
    assert _event(asked) == ("Query", "0")
    assert _participants(asked) == [
        ("AETITLES=WS1", "Source Role ID", "false"),
        ("AETITLES=ARCHIVE", "Destination Role ID", "false"),
        user,
    ]
    assert _event(transferred) == ("DICOM Instances Transferred", "0")
    assert _participants(transferred) == [
        ("AETITLES=WS1", "Destination Role ID", "false"),
        ("AETITLES=ARCHIVE", "Source Role ID", "false"),
        user,
    ]
    assert _objects(transferred) == ["1.2.1", "P1"]
    assert [each.get("AuditSourceID") for each in transferred.iter("AuditSourceIdentification")] == ["workstation"]
    assert "SECRET" not in await asyncio.to_thread(log.path.read_text)


async def test_users_log_in_or_do_not(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    server = Server("ARCHIVE", port=0, options=ServerOptions(audit=log))

    @server.on_association
    async def check(request: dimse.AssociationRequest) -> dimse.VerifiedUser:
        identity = request.user_identity
        if identity is None or identity.secondary_field != b"right":
            raise dimse.RejectAssociation("wrong password")
        return dimse.VerifiedUser(identity.primary_field.decode())

    async with server:
        for passcode in ("right", "SECRET"):
            identity = UserIdentityRQ.username_and_passcode("me", passcode)
            try:
                async with dimse.connect(
                    f"ARCHIVE@127.0.0.1:{server.port}", options=ClientOptions(user_identity=identity)
                ):
                    pass
            except AssociationRejected:
                continue
    await asyncio.to_thread(log.close)
    logins = [each for each in read(log.path) if _event(each)[0] == "User Authentication"]
    assert [_event(each)[1] for each in logins] == ["0", "4"]
    assert all(each[0][1].get("originalText") == "Login" for each in logins)
    assert {_participants(each)[0][2] for each in logins} == {"true"}
    assert "SECRET" not in await asyncio.to_thread(log.path.read_text)


async def test_a_peer_cannot_forge_messages_or_keep_many_in_memory(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    evil = '"/>\n<x&\x1b\x00\x7f\x9bé'
    server = Server(port=0, options=ServerOptions(audit=log))

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        return Status.SUCCESS

    async with server, await ScriptedPeer.connect(server.port) as peer:
        request = associate_request((CT, [EXPLICIT]))
        await peer.associate(replace(request, calling_ae_title=evil, user_information=INFORMATION))
        for number in range(250):
            dataset = of_study("1.2.3.4", f"1.9.{number}", "P")
            dataset.PatientID = "P<&>" if number == 0 else f"P{number}"
            await peer.send(message_pdvs(store_request(), encoded(dataset)))
            await peer.receive_message()
            if number == 120:
                await asyncio.to_thread(_until, lambda: log.path.read_bytes().count(b"Transferred") >= 100)
        await peer.release()
    await asyncio.to_thread(log.close)
    messages = [each for each in read(log.path) if _event(each)[0] == "DICOM Instances Transferred"]
    assert len(messages) == 250
    assert _objects(messages[0])[1] == "P<&>"
    assert {_participants(each)[0][0] for each in messages} == {'AETITLES="/>\\x0a<x&\\x1b\\x00\\x7f\\x9bé'}


def _until(condition: Callable[[], Any]) -> None:
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("not in time")


def test_a_log_that_cannot_be_written_is_told_once_and_waits_for_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(tmp_path / "no folder" / "audit.log")
    someone = [Participant("1", "A", "127.0.0.1")]
    for _ in range(3):
        write(log, Event.QUERY, Outcome.SUCCESS, someone)
        log.close()
    assert len(caplog.messages) == 1
    assert "audit messages are lost" in caplog.messages[0]
    (tmp_path / "no folder").mkdir()
    write(log, Event.QUERY, Outcome.SUCCESS, someone)
    log.close()
    assert caplog.messages[1:] == [f"{log.path} is written again; 3 audit messages were lost"]
    assert len(read(log.path)) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the disk is /dev/full")
def test_a_full_disk_loses_messages_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    log = AuditLog("/dev/full")
    write(log, Event.QUERY, Outcome.SUCCESS, [Participant("1")])
    log.close()
    assert "No space left on device" in caplog.messages[0]


def _closed(log: AuditLog) -> bytes:
    """Close a log whose file is a FIFO, and read it to its end. Returns what was read."""
    descriptor, received = os.open(log.path, os.O_RDWR), bytearray()

    def read_to_end() -> None:
        while not received.endswith(b"END"):
            received.extend(os.read(descriptor, 1024 * 1024))

    reader = threading.Thread(target=read_to_end)
    reader.start()
    log.close()
    os.write(descriptor, b"END")
    reader.join()
    os.close(descriptor)
    return bytes(received)


def test_messages_that_wait_are_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)  # nobody reads it, so that opening it blocks
    log = AuditLog(fifo)
    with caplog.at_level(logging.ERROR):
        for _ in range(2 * MAXIMUM_WAITING + 1):
            write(log, Event.QUERY, Outcome.SUCCESS, [Participant("1")])
    assert any("more than 10000 messages wait" in message for message in caplog.messages)
    received = _closed(log)
    assert MAXIMUM_WAITING <= received.count(b"\n") <= 2 * MAXIMUM_WAITING


async def test_long_values_are_cut_and_the_audited_data_set_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(tmp_path / "audit.log")
    server = Server(port=0, options=ServerOptions(audit=log))
    monkeypatch.setattr("dimse.services.incoming_dataset.IncomingDataset.decode", None)  # it would take seconds

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        return Status.SUCCESS

    @server.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        yield instance()

    async with server, await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(associate_request((CT, [IMPLICIT])))
        for number, patient in enumerate((b"\x01" * 100_000, "zoë".encode("latin-1"))):
            dataset = of_study("1.2.3.4", "1.2", "")
            study = b"1." + b"9" * 100_000 if number == 0 else b"1.2"
            dataset[0x0020000D] = DataElement(0x0020000D, "UN", study)
            dataset.SpecificCharacterSet = "ISO_IR 100"
            dataset[0x00100020] = DataElement(0x00100020, "UN", patient)
            await peer.send(message_pdvs(store_request(), encoded(dataset, IMPLICIT)))
            await peer.receive_message()
        await peer.release()
    await asyncio.to_thread(log.close)
    long, short = (each for each in read(log.path) if _event(each)[0] == "DICOM Instances Transferred")
    assert _objects(short) == ["1.2", "zoë"]
    assert [text[:3] + text[-3:] for text in map(str, _objects(long))] == ["1.9...", "\\x0..."]
    assert all(len(str(each)) < 5 * MAXIMUM_VALUE for each in _objects(long))


def test_the_bytes_that_wait_are_bounded_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)  # nobody reads it, so that opening it blocks
    log = AuditLog(fifo)
    identifier = query("1.2", bytes(2 * MAXIMUM_QUERY), EXPLICIT)
    assert len(identifier) < 2 * MAXIMUM_QUERY
    for _ in range(2 * MAXIMUM_WAITING_BYTES // len(identifier) + 2):
        write(log, Event.QUERY, Outcome.SUCCESS, [Participant("1")], [identifier])
    assert any(f"more than {MAXIMUM_WAITING_BYTES} bytes wait" in message for message in caplog.messages)
    _closed(log)
