"""Events and log lines of associations and operations, of both sides."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from pathlib import Path

import pytest
from pydicom import Dataset
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, VERIFICATION, instance, save
from tests.services.answering import answering, replying

import dimse
from dimse import (
    Access,
    AssociationEnd,
    AssociationEnded,
    AssociationEvent,
    AssociationFailed,
    AssociationOpened,
    CEchoSCU,
    CFindSCU,
    CGetSCU,
    ClientOptions,
    CMoveSCU,
    CStoreSCU,
    DimseError,
    OperationBegan,
    OperationEnded,
    PDUTransferred,
    Query,
    QueryRequest,
    Server,
    ServerOptions,
    Source,
    Status,
    StoreRequest,
    retrieval_contexts,
)
from dimse.testing import FakeArchive

COMMITMENT = "1.2.840.10008.1.20.1"
STUDY = Query.studies(StudyInstanceUID="1.2.3.1")


class Events(list[AssociationEvent]):
    """What `on_event` was called with."""

    def __call__(self, event: AssociationEvent) -> None:
        self.append(event)

    def ended(self) -> list[OperationEnded]:
        return [event for event in self if isinstance(event, OperationEnded)]

    @property
    def kinds(self) -> list[str]:
        return [f"{type(event).__name__} {getattr(event, 'name', '')}".strip() for event in self]


@pytest.fixture
def theirs() -> Events:
    return Events()


@pytest.fixture
def ours() -> Events:
    return Events()


@pytest.fixture
async def server(theirs: Events) -> AsyncIterator[Server]:
    """Stores, finds one match, and gets or moves one instance, to itself."""
    server = Server("ARCHIVE", port=0, destinations=lambda _: own(), options=ServerOptions(on_event=theirs))

    def own() -> str:
        return f"127.0.0.1:{server.port}"

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        return Status.SUCCESS

    @server.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        yield instance()

    @server.on_c_get
    @server.on_c_move
    async def retrieve(request: QueryRequest) -> AsyncIterator[Source]:
        yield instance()

    async with server:
        yield server


def address(server: Server) -> str:
    return f"ARCHIVE@127.0.0.1:{server.port}"


def options(ours: Events) -> ClientOptions:
    return ClientOptions(calling_ae_title="CT1", on_event=ours)


async def test_an_association_from_both_sides(server: Server, ours: Events, theirs: Events) -> None:
    contexts = [(VERIFICATION, [IMPLICIT]), (COMMITMENT, [IMPLICIT]), (CT, ["1.2.3.4"])]
    async with dimse.connect(address(server), contexts=contexts, options=options(ours)) as association:
        await CEchoSCU(association).echo()
        peer_name = association.peer_name
    for events, is_requestor in ((ours, True), (theirs, False)):
        opened, began, done, ended = events
        assert isinstance(opened, AssociationOpened)
        info = opened.association
        assert (info.calling_ae_title, info.called_ae_title, info.is_requestor) == ("CT1", "ARCHIVE", is_requestor)
        assert [(each.abstract_syntax, each.accepted, each.reason) for each in opened.contexts] == [
            (VERIFICATION, IMPLICIT, ""),
            (COMMITMENT, None, "abstract syntax not supported"),
            (CT, "1.2.3.4", ""),
        ]
        assert opened.implementation.startswith("DIMSE_")
        assert isinstance(began, OperationBegan)
        assert (began.name, began.is_requested_by_peer, began.message_id) == ("C-ECHO", not is_requestor, 1)
        assert isinstance(done, OperationEnded)
        assert (done.request, done.status, done.error) == (began, Status.SUCCESS, None)
        assert isinstance(ended, AssociationEnded)
        assert (ended.requested, ended.served) == ((1, 0) if is_requestor else (0, 1))
        assert {event.association for event in events} == {info}
    assert ours[0].association.peer == peer_name
    assert ours[0].association.id != theirs[0].association.id
    mine, other = ours[-1], theirs[-1]
    assert isinstance(mine, AssociationEnded)
    assert isinstance(other, AssociationEnded)
    assert (mine.end, other.end) == (AssociationEnd.RELEASED, AssociationEnd.RELEASED_BY_PEER)
    assert (mine.bytes_sent, mine.bytes_received) == (other.bytes_received, other.bytes_sent)


async def test_what_operations_tell(server: Server, ours: Events, theirs: Events) -> None:
    async with dimse.connect(address(server), options=options(ours)) as association:
        await CStoreSCU(association).send(instance("1.2.3.9"))
        assert [match async for match in CFindSCU(association).find(STUDY)]
        assert [each async for each in CMoveSCU(association).move(STUDY, "ARCHIVE")]
    store, find, move = ours.ended()
    sub, *_ = [each for each in theirs.ended() if each.request.move_originator is not None]
    assert store.request.sop_instance_uid == "1.2.3.9"
    assert store.dataset_bytes > 1000
    assert (find.matches, find.status) == (1, Status.SUCCESS)
    assert move.request.move_destination == "ARCHIVE"
    assert move.suboperations is not None
    assert move.suboperations.completed == 1
    assert sub.request.move_originator == ("CT1", move.request.message_id)
    served = [each for each in theirs.ended() if each.request.is_requested_by_peer]
    assert [each.dataset_bytes for each in served if each.request.sop_instance_uid == "1.2.3.9"] == [
        store.dataset_bytes
    ]
    assert [each.matches for each in served if each.request.name == "C-FIND"] == [1]
    assert [each.dataset_bytes for each in served if each.request.name == "C-FIND"] == [find.dataset_bytes]
    # The archive sends its instances on an association of its own, which its callback is told of too.
    assert [each.request.sop_instance_uid for each in theirs.ended() if not each.request.is_requested_by_peer] == [
        "1.2.3.4"
    ]


async def test_the_instances_of_a_c_get_are_operations_that_the_peer_requests(
    server: Server, ours: Events, tmp_path: Path
) -> None:
    contexts = retrieval_contexts([CT])
    async with dimse.connect(address(server), contexts=contexts, options=options(ours)) as association:
        async for got in CGetSCU(association).get(STUDY):
            await got.save(tmp_path / "a.dcm")
    assert ours.kinds[1:-1] == [
        "OperationBegan C-GET",
        "OperationBegan C-STORE",
        "OperationEnded",
        "OperationEnded",
    ]
    store, get = ours.ended()
    assert (store.request.is_requested_by_peer, store.status) == (True, Status.SUCCESS)
    assert store.dataset_bytes > 1000
    assert get.suboperations is not None


async def test_a_rejection_is_told_on_both_sides(ours: Events, theirs: Events) -> None:
    access = Access(called_ae_titles=["OTHER"])
    server = Server("ARCHIVE", port=0, options=ServerOptions(on_event=theirs, access=access))
    async with server:
        with pytest.raises(dimse.AssociationRejected):
            async with dimse.connect(address(server), options=options(ours)):
                pass
    (mine,), (other,) = ours, theirs
    assert isinstance(mine, AssociationFailed)
    assert isinstance(other, AssociationFailed)
    assert mine.rejection == other.rejection == (1, 1, 7)
    assert "does not know the called AE title" in mine.reason
    assert other.reason == "its called AE title is not one of ours"


async def test_a_peer_that_cannot_be_reached_is_told_of(ours: Events) -> None:
    with pytest.raises(DimseError) as raised:
        async with dimse.connect("ARCHIVE@127.0.0.1:1", options=options(ours)):
            pass
    (failed,) = ours
    assert isinstance(failed, AssociationFailed)
    assert (failed.rejection, failed.reason) == (None, str(raised.value))
    assert failed.association.called_ae_title == "ARCHIVE"


async def test_an_operation_that_breaks_is_told_of(ours: Events, theirs: Events) -> None:
    server = Server("ARCHIVE", port=0, options=ServerOptions(on_event=theirs))

    @server.on_c_echo
    async def echo(request: dimse.EchoRequest) -> Status:
        request.association.abort()
        return Status.SUCCESS

    async with server:
        with pytest.raises(dimse.AssociationAborted):
            async with dimse.connect(address(server), options=options(ours)) as association:
                await CEchoSCU(association).echo()
    assert ours.kinds == ["AssociationOpened", "OperationBegan C-ECHO", "OperationEnded", "AssociationEnded"]
    for events, end in ((ours, AssociationEnd.ABORTED_BY_PEER), (theirs, AssociationEnd.ABORTED)):
        (done,) = events.ended()
        assert done.status is None
        assert isinstance(done.error, dimse.AssociationAborted)
        (ended,) = [event for event in events if isinstance(event, AssociationEnded)]
        assert ended.end is end
        assert ended.error is not None


async def test_a_lost_connection_is_told_of(server: Server, theirs: Events) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(dimse_request())
    await reader.readexactly(6)
    writer.transport.abort()
    while not any(isinstance(event, AssociationEnded) for event in theirs):  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0)
    assert isinstance(theirs[-1], AssociationEnded)
    assert theirs[-1].end is AssociationEnd.LOST


def dimse_request() -> bytes:
    from dimse.testing.wire import associate_request

    return associate_request((VERIFICATION, [IMPLICIT])).encode()


async def test_a_connection_without_a_request_is_no_association(server: Server, theirs: Events) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.close()
    async with dimse.connect(address(server)):
        pass
    await server.stop()
    assert theirs.kinds == ["AssociationOpened", "AssociationEnded"]


CURRENT: ContextVar[str] = ContextVar("CURRENT", default="none")


async def test_a_handler_runs_in_the_context_of_its_events() -> None:
    seen: list[str] = []

    def on_event(event: AssociationEvent) -> None:
        if isinstance(event, OperationBegan):
            CURRENT.set(f"operation {event.message_id}")
        elif isinstance(event, OperationEnded):
            seen.append(f"end of {CURRENT.get()}")

    server = Server("ARCHIVE", port=0, options=ServerOptions(on_event=on_event))

    @server.on_c_echo
    async def echo(request: dimse.EchoRequest) -> Status:
        await asyncio.sleep(0)
        seen.append(CURRENT.get())
        return Status.SUCCESS

    async with server, dimse.connect(address(server)) as association:
        await CEchoSCU(association).echo()
        await CEchoSCU(association).echo()
    assert seen == ["operation 1", "end of operation 1", "operation 2", "end of operation 2"]


async def test_on_event_is_called_in_the_context_of_the_caller(server: Server) -> None:
    seen: list[tuple[str | None, str]] = []

    def on_event(event: AssociationEvent) -> None:
        if isinstance(event, OperationBegan):
            seen.append((event.sop_instance_uid, CURRENT.get()))

    async def send(uid: str) -> None:
        CURRENT.set(uid)
        await CStoreSCU(association).send(instance(uid))

    uids = [f"1.2.3.{number}" for number in range(8)]
    window = ClientOptions(on_event=on_event, operations_window=2)
    async with dimse.connect(address(server), contexts=[(CT, [EXPLICIT])], options=window) as association:
        await asyncio.gather(*map(send, uids))
    assert seen == [(uid, uid) for uid in uids]


async def test_each_pdu_is_told_of(server: Server) -> None:
    pdus: list[PDUTransferred] = []
    pdu_options = ClientOptions(on_pdu=pdus.append)
    async with dimse.connect(
        address(server), contexts=[(VERIFICATION, [IMPLICIT])], options=pdu_options
    ) as association:
        await CEchoSCU(association).echo()
    assert [(pdu.is_sent, pdu.name) for pdu in pdus] == [
        (True, "A-ASSOCIATE-RQ"),
        (False, "A-ASSOCIATE-AC"),
        (True, "P-DATA-TF"),
        (False, "P-DATA-TF"),
        (True, "A-RELEASE-RQ"),
        (False, "A-RELEASE-RP"),
    ]
    assert pdus[2].presentation_context_id == 1
    assert {pdu.association.called_ae_title for pdu in pdus} == {"ARCHIVE"}


# The log


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "dimse"):
        yield caplog


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    return vars(record)


async def test_records_have_fields(server: Server, log: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    path = save(instance("1.2.3.9"), tmp_path / "a.dcm")
    await dimse.send(address(server), [path], calling_ae_title="CT1")
    (record,) = [each for each in log.records if each.name == "dimse.storage" and ">" in each.getMessage()]
    fields = fields_of(record)
    assert fields["operation"] == "C-STORE"
    assert fields["sop_instance_uid"] == "1.2.3.9"
    assert fields["status"] == "0x0000"
    assert isinstance(fields["bytes"], int)
    assert isinstance(fields["seconds"], float)
    assert (fields["calling_ae_title"], fields["called_ae_title"]) == ("CT1", "ARCHIVE")
    opened, *_ = [each for each in log.records if "accepted by" in each.getMessage()]
    assert fields_of(opened)["association"] == fields["association"]
    assert all("peer" in fields_of(each) for each in log.records if "127.0.0.1" in each.getMessage())


async def test_the_negotiation_is_logged_by_result(server: Server, log: pytest.LogCaptureFixture) -> None:
    contexts = [(VERIFICATION, [IMPLICIT]), (COMMITMENT, [IMPLICIT]), (CT, [EXPLICIT])]
    async with dimse.connect(address(server), contexts=contexts):
        pass
    lines = [record.getMessage().partition(":   ")[2] for record in log.records]
    ours = [line for line in lines if line]
    assert ours[: len(ours) // 2] == [
        "accepted in Implicit VR Little Endian: Verification SOP Class",
        "rejected, abstract syntax not supported: Storage Commitment Push Model SOP Class",
        "accepted in Explicit VR Little Endian: CT Image Storage",
    ]


async def test_at_debug_commands_are_logged_and_of_identifiers_the_tags(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "dimse"):
        async with dimse.connect(address(server)) as association:
            query = Query.studies(StudyInstanceUID="1.2.3.1", PatientName="SECRET")
            assert [match async for match in CFindSCU(association).find(query)]
    text = caplog.text
    assert "> C-FIND-RQ  Message ID 1, Affected SOP Class UID" in text
    assert "> identifier  " in text
    assert "(0008,0052)" in text
    assert "(0010,0010)" in text
    assert "SECRET" not in text
    assert "> P-DATA-TF" in text


async def test_a_violation_is_a_warning_only_where_no_error_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    async with answering(replying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        with pytest.raises(dimse.RemoteProtocolError, match="HTTP"):
            async with dimse.connect(f"127.0.0.1:{port}"):
                pass
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_quiet_archive_tells_nothing(log: pytest.LogCaptureFixture) -> None:
    """Below INFO nothing is made: neither events nor lines."""
    logging.getLogger("dimse").setLevel(logging.WARNING)
    with FakeArchive() as archive:
        await dimse.send(archive.address, [instance()])
    assert log.records == []
