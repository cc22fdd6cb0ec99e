"""No value of a data set is in a log, an exception, an Error Comment or a file name, whatever goes wrong.

Neither does a peer's text reach a log or an exception with anything but printable ASCII in it.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, encoded
from tests.server_options import server_options
from tests.services.canaries import MARKERS, damaged, hits, marked

import dimse
from dimse import (
    CEchoSCU,
    CFindSCU,
    CGetSCU,
    ClientOptions,
    CMoveSCU,
    CommitmentRequest,
    Commitments,
    CommitmentSCP,
    Duplicates,
    Matcher,
    MemoryTransactions,
    PrintedFilm,
    PrintServer,
    ProcedureSteps,
    Query,
    QueryRequest,
    QueryRetrieveLevel,
    QueryRetrieveModel,
    RetryPolicy,
    SendOptions,
    Server,
    ServerOptions,
    Status,
    StatusError,
    StepChange,
    StoreMode,
    StoreRequest,
    Strictness,
    UPSManager,
    UserIdentityRQ,
    WorklistFolder,
    retrieval_contexts,
    started_step,
)
from dimse.dataset.part10 import encode_file_meta
from dimse.messages.message import (
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    N_ACTION_RQ,
    N_CREATE_RQ,
    N_EVENT_REPORT_RQ,
    N_SET_RQ,
    Request,
    Response,
)
from dimse.services.given import Source
from dimse.testing import ScriptedPeer, associate_request, listening, message_pdvs, response, store_request
from dimse.testing.wire import INFORMATION, Received
from dimse.upper_layer.items import PresentationContextRQ, RoleSelection
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

MODEL = Query.studies().model
NO_RETRY = RetryPolicy(retries=0)


_STANDARD = vars(logging.makeLogRecord({})).keys()


class Log(logging.Handler):
    """What `dimse` logs, as the formatter of any program would write it, with tracebacks, and all events."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(logging.Formatter().format(record))
        self.lines.append(repr({name: value for name, value in vars(record).items() if name not in _STANDARD}))
        self.messages.append(record.getMessage())

    def on_event(self, event: object) -> None:
        self.lines.append(repr(event))


@pytest.fixture
def log() -> Iterator[Log]:
    logger, log = logging.getLogger("dimse"), Log()
    level = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.DEBUG)
    yield log
    logger.removeHandler(log)
    logger.setLevel(level)


async def _answer(peer: ScriptedPeer) -> Response:
    message = (await peer.receive_message()).message
    assert isinstance(message, Response)
    return message


async def _associated(server: Server, sop_class: str = CT) -> ScriptedPeer:
    peer = await ScriptedPeer.connect(server.port)
    identity = UserIdentityRQ.username_and_passcode("user", "QXZ7 PASSWORD")
    request = associate_request((sop_class, [EXPLICIT]))
    await peer.associate(replace(request, user_information=replace(INFORMATION, user_identity=identity)))
    return peer


def _texts(error: BaseException) -> Iterator[str]:
    yield "".join(traceback.format_exception(error))
    yield repr(error)
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _texts(each)


# Values of data sets


async def test_storing_tells_no_value(log: Log, tmp_path: Path) -> None:
    temporary: set[str] = set()

    async def save(request: StoreRequest) -> Status:
        saving = asyncio.ensure_future(request.save_under(tmp_path / "saved"))
        await asyncio.sleep(0)
        temporary.update(path.name for path in await asyncio.to_thread(lambda: list((tmp_path / "saved").rglob("*"))))
        await saving
        return Status.SUCCESS

    async def save_by_values(request: StoreRequest) -> Status:
        await request.save_under(tmp_path, "{PatientBirthDate}/{SOPInstanceUID}")
        return Status.SUCCESS

    async def decode(request: StoreRequest) -> Status:
        assert request.dataset
        return Status.SUCCESS

    async def full(_: StoreRequest) -> Status:
        raise OSError(28, "No space left on device", "/QXZ7/path")

    async def refuse(_: StoreRequest) -> Status:
        raise StatusError(Status.DATASET_DOES_NOT_MATCH, "no")

    comments: list[str] = []
    whole = encoded(marked())
    for mode in StoreMode:
        for strictness in Strictness:
            for handler in (save, save_by_values, decode, full, refuse):
                options = server_options(
                    mode=mode,
                    strictness=strictness,
                    fsync=False,
                    duplicates=Duplicates.REPLACE,
                    on_event=log.on_event,
                    on_pdu=log.on_event,
                )
                server = Server("ARCHIVE", port=0, options=options)
                server.on_c_store(handler)
                async with server:
                    peer = await _associated(server)
                    for data in (whole, *damaged(whole, cuts=10, flips=15)):
                        try:
                            await peer.send(message_pdvs(store_request(), data))
                            comments.append(str(await _answer(peer)))
                        except (AssertionError, OSError):
                            peer = await _associated(server)
                    peer.writer.close()
    assert len(comments) > 300
    assert hits(comments) == []
    assert hits(line for line in log.lines if "/QXZ7/path" not in line) == []
    assert any(name.endswith(".part") for name in temporary)
    assert hits(temporary) == []


async def test_queries_tell_no_value(log: Log) -> None:
    archived = [marked()]
    send = SendOptions(retry=NO_RETRY)
    server = Server(
        "ARCHIVE",
        port=0,
        destinations={"WS": "WS@127.0.0.1:1"},
        options=ServerOptions(send=send, on_event=log.on_event, on_pdu=log.on_event),
    )

    @server.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        for match in Matcher(request.identifier).find(archived):
            yield match

    @server.on_c_get
    @server.on_c_move
    async def retrieve(request: QueryRequest) -> AsyncIterator[Source]:
        bad = marked()
        bad.add(DataElement("Rows", "US", "QXZ7", validation_mode=0))
        yield bad
        yield marked()

    cases = {
        "PatientName": "QXZ7*",
        "PatientID": "QXZ7?\\QXZ7",
        "StudyDate": "19770707-QXZ7",
        "StudyTime": "070707.77-",
        "StudyInstanceUID": "QXZ7",
        "QueryRetrieveLevel": "QXZ7",
    }
    comments: list[str] = []
    async with server:
        for keyword, value in cases.items():
            identifier = Dataset()
            identifier.QueryRetrieveLevel = "STUDY"
            identifier.add(DataElement(keyword, dictionary_VR(keyword), value, validation_mode=0))
            whole = encoded(identifier)
            for kind, sop_class in (
                (C_FIND_RQ, dimse.uids.STUDY_ROOT_FIND),
                (C_GET_RQ, dimse.uids.STUDY_ROOT_GET),
                (C_MOVE_RQ, dimse.uids.STUDY_ROOT_MOVE),
            ):
                peer = await _associated(server, sop_class)
                more = {"move_destination": "WS"} if kind is C_MOVE_RQ else {}
                command = kind(message_id=1, affected_sop_class_uid=sop_class, **more)  # type: ignore[arg-type]
                for data in (whole, *damaged(whole, cuts=3, flips=6)):
                    try:
                        await peer.send(message_pdvs(command, data))
                        while (answer := await _answer(peer)).status in (0xFF00, 0xFF01):
                            comments.append(str(answer))
                        comments.append(str(answer))
                    except (AssertionError, OSError):
                        peer = await _associated(server, sop_class)
                peer.writer.close()
    assert len(comments) > 100
    assert hits(comments) == []
    assert hits(log.lines) == []


@pytest.mark.filterwarnings("ignore")  # pydicom's quote values, and would be errors here
async def test_requesting_tells_no_value(log: Log, tmp_path: Path) -> None:
    told: list[str] = []
    unsound: list[tuple[str, Any]] = [
        ("PatientName", "QXZ7^^^^^^^^^"),
        ("StudyDate", "QXZ7"),
        ("StudyTime", "QXZ7"),
        ("PatientID", "QXZ7" * 50),
        ("StudyInstanceUID", "QXZ7"),
    ]
    for keyword, value in unsound:
        for by_text in (False, True):
            try:
                if by_text:
                    Query.parse(QueryRetrieveLevel.STUDY, [f"{keyword}={value}"]).find_identifier()
                else:
                    Query.studies(**{keyword: value}).find_identifier()
            except ValueError as error:
                told += _texts(error)
    meta = encode_file_meta(
        sop_class_uid=CT,
        sop_instance_uid="1.2.3.4",
        transfer_syntax_uid=EXPLICIT,
        source_ae_title="A",
        sending_ae_title="A",
        receiving_ae_title="B",
    )
    given: list[Source] = []
    for number, data in enumerate(damaged(encoded(marked()), cuts=15, flips=40)):
        given.append(tmp_path / str(number))
        await asyncio.to_thread((tmp_path / str(number)).write_bytes, meta + data)
    wrong: list[tuple[str, object]] = [("Rows", "QXZ7"), ("Rows", 7770707), ("SpecificCharacterSet", "QXZ7")]
    for keyword, wrong_value in wrong:
        bad = marked()
        bad.add(DataElement(keyword, dictionary_VR(keyword), wrong_value, validation_mode=0))
        given.append(bad)
    foreign = marked()
    foreign.SpecificCharacterSet, foreign.PatientName = "ISO_IR 100", "QXZ7漢字"
    given.append(foreign)
    server = Server("ARCHIVE", port=0)

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        return Status.SUCCESS

    async with server:
        address = f"ARCHIVE@127.0.0.1:{server.port}"
        options = ClientOptions(on_event=log.on_event, on_pdu=log.on_event)
        for syntaxes in (None, [IMPLICIT]):
            report = await dimse.send(
                address, given, raise_failures=False, retry=NO_RETRY, transfer_syntaxes=syntaxes, options=options
            )
            for result in report.failures:
                if result.error is not None:
                    told += _texts(result.error)
    assert len(told) > 20
    assert hits(told) == []
    assert hits(log.lines) == []


# The services of DIMSE-N, and worklists


def _step() -> Dataset:
    step = Dataset()
    step.update(dict(marked().items()))
    step.ScheduledProcedureStepPriority, step.ProcedureStepLabel = "LOW", "QXZ7 LABEL"
    step.ScheduledProcedureStepStartDateTime, step.InputReadinessState = "19770707070707.77", "READY"
    step.ProcedureStepState, step.TransactionUID = "SCHEDULED", ""
    step.ScheduledProcessingParametersSequence = [marked()]
    return step


def _of(**values: object) -> Dataset:
    dataset = marked()
    del dataset.PixelData
    for keyword, value in values.items():
        tag, vr = dimse.dataset.pydicom_names.tag_for_keyword(keyword) or 0, dictionary_VR(keyword)
        dataset.add(DataElement(tag, vr, value, validation_mode=0))
    return dataset


def _normalized() -> Iterator[tuple[Request, Dataset]]:
    """A request of each service, with markers in its data set."""
    step, ups, printing = dimse.uids.PERFORMED_PROCEDURE_STEP, dimse.uids.UPS_PUSH, dimse.uids.FILM_SESSION
    commitment, well_known = dimse.uids.STORAGE_COMMITMENT, dimse.uids.STORAGE_COMMITMENT_INSTANCE
    performed = _of()
    performed.update(dict(started_step(Modality="CT", PerformedStationAETitle="CT1", StudyInstanceUID="1.2.3").items()))
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID, item.FailureReason = CT, "1.2", 0x0110
    bad = Dataset()
    bad.add(DataElement("ReferencedSOPInstanceUID", "UI", "QXZ7", validation_mode=0))
    session, image = Dataset(), marked()
    session.ReferencedSOPInstanceUID = "1.2.9"
    for uid, given in (("1.2.1", performed), ("1.2.2", _of(PerformedProcedureStepStatus="QXZ7"))):
        yield N_CREATE_RQ(message_id=1, affected_sop_class_uid=step, affected_sop_instance_uid=uid), given
    for given in (_of(PerformedProcedureStepStatus="COMPLETED"), _of(PerformedProcedureStepStatus="QXZ7"), _of()):
        yield N_SET_RQ(message_id=1, requested_sop_class_uid=step, requested_sop_instance_uid="1.2.1"), given
    for given in (_step(), _of(ProcedureStepState="QXZ7")):
        yield N_CREATE_RQ(message_id=1, affected_sop_class_uid=ups, affected_sop_instance_uid="1.2.3"), given
    for given in (_of(TransactionUID="QXZ7"), _of(ProcedureStepProgressInformationSequence=[marked()])):
        yield N_SET_RQ(message_id=1, requested_sop_class_uid=ups, requested_sop_instance_uid="1.2.3"), given
    actions = [
        (ups, "1.2.3", 1, _of(ProcedureStepState="QXZ7")),
        (ups, "1.2.3", 2, _of(ReasonForCancellation="QXZ7")),
        (ups, dimse.uids.UPS_FILTERED_SUBSCRIPTION_INSTANCE, 3, _of(ReceivingAE="WS", DeletionLock="QXZ7")),
        (commitment, dimse.uids.STORAGE_COMMITMENT_INSTANCE, 1, _of(TransactionUID="QXZ7")),
        (commitment, dimse.uids.STORAGE_COMMITMENT_INSTANCE, 1, _of(TransactionUID="1.2", ReferencedSOPSequence=[bad])),
        (
            commitment,
            dimse.uids.STORAGE_COMMITMENT_INSTANCE,
            1,
            _of(TransactionUID="1.2", ReferencedSOPSequence=[item]),
        ),
        (printing, "1.2.9", 1, _of()),
    ]
    for sop_class, uid, action, given in actions:
        yield (
            N_ACTION_RQ(
                message_id=1, requested_sop_class_uid=sop_class, requested_sop_instance_uid=uid, action_type_id=action
            ),
            given,
        )
    for given in (_of(TransactionUID="1.2", FailedSOPSequence=[item]), _of(TransactionUID="QXZ7")):
        yield (
            N_EVENT_REPORT_RQ(
                message_id=1,
                affected_sop_class_uid=commitment,
                affected_sop_instance_uid=well_known,
                event_type_id=2,
            ),
            given,
        )
    for keyword in ("MediumType", "FilmSessionLabel", "PrintPriority"):
        yield (
            N_CREATE_RQ(message_id=1, affected_sop_class_uid=printing, affected_sop_instance_uid="1.2.9"),
            _of(**{keyword: "QXZ7"}),
        )
    box = _of(ImageDisplayFormat="QXZ7", ReferencedFilmSessionSequence=[session])
    yield N_CREATE_RQ(message_id=1, affected_sop_class_uid=dimse.uids.FILM_BOX, affected_sop_instance_uid="1.2.8"), box
    image.Rows = 65535
    given = _of(BasicGrayscaleImageSequence=[image], ImageBoxPosition=7770)
    yield (
        N_SET_RQ(
            message_id=1, requested_sop_class_uid=dimse.uids.GRAYSCALE_IMAGE_BOX, requested_sop_instance_uid="1.2.7"
        ),
        given,
    )


_CLASSES = (
    *(dimse.uids.PERFORMED_PROCEDURE_STEP, dimse.uids.UPS_PUSH, dimse.uids.STORAGE_COMMITMENT),
    *(dimse.uids.GRAYSCALE_PRINT_META, dimse.uids.MODALITY_WORKLIST_FIND, dimse.uids.UPS_PULL),
)


@asynccontextmanager
async def _hospital(log: Log, folder: Path) -> AsyncIterator[Server]:
    """A server with all services beyond query and retrieval."""
    options = ServerOptions(on_event=log.on_event, on_pdu=log.on_event)
    server = Server("RIS", port=0, options=options, destinations={"WS": "WS@127.0.0.1:1"})

    async def changed(_: StepChange) -> None: ...

    async def decide(_: CommitmentRequest) -> dict[str, None]:
        return {}

    ProcedureSteps(server, changed)
    Commitments(server)
    server.on_c_find(QueryRetrieveModel.MODALITY_WORKLIST)(WorklistFolder(folder).find)
    printer = PrintServer(server)

    @printer.on_film
    async def film(_: PrintedFilm) -> None: ...

    commitment = CommitmentSCP(server, decide, MemoryTransactions(), retry=NO_RETRY, same_association=None)
    async with UPSManager(server, retry=NO_RETRY), printer, commitment, server:
        yield server


@pytest.mark.filterwarnings("ignore")  # pydicom's quote values, and would be errors here
async def test_the_other_services_tell_no_value(log: Log, tmp_path: Path) -> None:
    comments: list[str] = []
    await asyncio.to_thread((tmp_path / "1.wl").write_bytes, encoded(marked()))
    requests = [*_normalized()]
    requests += [
        (C_FIND_RQ(message_id=1, affected_sop_class_uid=uid, dataset_follows=True), _of(ProcedureStepState="QXZ7"))
        for uid in _CLASSES[-2:]
    ]

    async def associated(server: Server) -> ScriptedPeer:
        peer = await ScriptedPeer.connect(server.port)
        await peer.associate(associate_request(*((uid, [EXPLICIT]) for uid in _CLASSES), called="RIS"))
        return peer

    async with _hospital(log, tmp_path) as server:
        peer = await associated(server)
        for request, dataset in requests:
            whole = encoded(dataset)
            for data in (whole, *damaged(whole, cuts=2, flips=2)):
                try:
                    await peer.send(message_pdvs(replace(request, dataset_follows=True), data))
                    while (answer := await _answer(peer)).status in (0xFF00, 0xFF01):
                        pass
                    comments.append(str(answer))
                except (AssertionError, OSError):
                    peer = await associated(server)
        peer.writer.close()
    assert len(comments) > 100
    assert len({comment.partition("status")[2][:20] for comment in comments}) > 5
    assert hits(comments) == []
    assert hits(log.lines) == []


# Texts of peers

EVIL = "\x1b[31m\r\nX\x07\x9b1m\x85é\x7f"
"""An escape sequence, lines, control characters of Latin-1, and a letter of it."""


def _requests() -> Iterator[A_ASSOCIATE_RQ]:
    request = associate_request((CT, [EXPLICIT]))
    evil = PresentationContextRQ(3, f"1.2{EVIL}", (f"1.2{EVIL}",))
    information = replace(
        INFORMATION,
        implementation_class_uid=EVIL,
        implementation_version_name=EVIL,
        user_identity=UserIdentityRQ.username(EVIL),
        role_selections=(RoleSelection(EVIL, True, True),),
    )
    yield replace(request, calling_ae_title=EVIL[:16])
    yield replace(request, called_ae_title=EVIL[:16])
    yield replace(request, application_context_name=f"1.2{EVIL}")
    yield replace(request, presentation_contexts=(*request.presentation_contexts, evil))
    yield replace(request, user_information=information)


async def test_what_a_requestor_sends_is_escaped(log: Log) -> None:
    for strictness in Strictness:
        server = Server("ARCHIVE", port=0, options=ServerOptions(strictness=strictness))

        @server.on_c_store
        async def store(request: StoreRequest) -> Status:
            return Status.SUCCESS

        async with server:
            for request in _requests():
                async with await ScriptedPeer.connect(server.port) as peer:
                    await peer.send(request)
                    if not isinstance(await peer.receive(), A_ASSOCIATE_AC):
                        continue
                    for sop_class, uid in ((CT, f"1.2{EVIL}"), (f"1.2{EVIL}", "1.2")):
                        command = C_STORE_RQ(
                            message_id=1, affected_sop_class_uid=sop_class, affected_sop_instance_uid=uid
                        )
                        await peer.send(message_pdvs(command, encoded(marked())))
                        await _answer(peer)
    assert len(log.messages) > 20
    assert [message for message in log.messages if not _is_plain(message)] == []


async def test_what_an_acceptor_sends_is_escaped(log: Log, tmp_path: Path) -> None:
    told: list[str] = []
    results = await _at_evil_archives(told, tmp_path)
    assert results
    assert len(told) > 15
    assert [text for text in told if not _is_plain(text)] == []
    assert [message for message in log.messages if not _is_plain(message)] == []


def _is_plain(text: str) -> bool:
    return all(line.isascii() and line.isprintable() for line in text.split("\n"))


def _element(tag: int, value: str) -> bytes:
    raw = value.encode("latin-1")
    raw += b"\0" * (len(raw) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"UI", len(raw)) + raw


async def _refuse(peer: ScriptedPeer, received: Received) -> None:
    await peer.send(response(received, 0xA700, error_comment=EVIL))


async def _fail(peer: ScriptedPeer, received: Received) -> None:
    failed = _element(0x00080058, f"1.2{EVIL}")
    is_retrieval = isinstance(received.message, C_GET_RQ | C_MOVE_RQ)
    await peer.send(response(received, 0xB000, failed if is_retrieval else None, error_comment=EVIL))


async def _list(peer: ScriptedPeer, received: Received) -> None:
    if not isinstance(received.message, C_FIND_RQ):
        await peer.send(response(received, 0xA900, error_comment=EVIL))
        return
    tags = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)
    await peer.send(response(received, 0xFF00, b"".join(_element(tag, f"1.2{EVIL}") for tag in tags)))
    await peer.send(response(received, 0, error_comment=EVIL))


async def _at_evil_archives(told: list[str], tmp_path: Path) -> int:
    """Ask for everything, of archives that answer with evil texts; collect the texts of the errors."""
    asked = 0
    for answer in (_refuse, _fail, _list):

        async def script(
            peer: ScriptedPeer, answer: Callable[[ScriptedPeer, Received], Awaitable[None]] = answer
        ) -> None:
            with suppress(AssertionError):  # an abort
                await peer.accept(
                    information=replace(INFORMATION, implementation_class_uid=EVIL, implementation_version_name=EVIL)
                )
                while await peer.goes_on():
                    await answer(peer, await peer.receive_message())

        async with listening(script) as address:
            for request in (_echo, _send, _find, _get, _move):
                asked += 1
                try:
                    await request(address)
                except Exception as error:  # noqa: BLE001 - whatever the caller gets
                    told += _messages(error)
            query = Query.studies(StudyInstanceUID="1.2")
            try:
                report = await dimse.retrieve(
                    address, query, into=tmp_path, receiver="127.0.0.1:1", retry=NO_RETRY, raise_failures=False
                )
                told += [str(result.error) for result in report.failures]
            except Exception as error:  # noqa: BLE001
                told += _messages(error)
    return asked


def _messages(error: BaseException) -> Iterator[str]:
    yield str(error)
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _messages(each)


async def _echo(address: str) -> None:
    async with dimse.connect(address) as association:
        await CEchoSCU(association).echo()


async def _send(address: str) -> None:
    await dimse.send(address, [marked()], retry=NO_RETRY)


async def _find(address: str) -> None:
    async with dimse.connect(address) as association:
        async for _ in CFindSCU(association).find(Query.studies()):
            pass


async def _get(address: str) -> None:
    async with dimse.connect(address, contexts=retrieval_contexts([CT])) as association:
        async for _ in CGetSCU(association).get(Query.studies(StudyInstanceUID="1.2")):
            pass


async def _move(address: str) -> None:
    async with dimse.connect(address) as association:
        async for _ in CMoveSCU(association).move(Query.studies(StudyInstanceUID="1.2"), "WS"):
            pass


def test_the_markers_are_in_the_data_set() -> None:
    content = encoded(marked()).decode("latin-1")
    assert [marker for marker in MARKERS if marker not in content] == []
