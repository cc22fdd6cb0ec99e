"""C-GET as SCP: what was asked for comes on the same association, and the counters say what became of it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO, FileIO
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless
from tests.sample_objects import (
    CT,
    EXPLICIT,
    IMPLICIT,
    MR,
    VERIFICATION,
    dataset_bytes,
    encoded,
    instance,
    pixel_bytes,
    read,
    save,
)
from tests.server_options import server_options

from dimse import (
    CGetSCU,
    DatasetSource,
    Query,
    QueryRequest,
    QueryRetrieveLevel,
    QueryRetrieveModel,
    SendOptions,
    Server,
    Status,
    StatusCategory,
    StoreOptions,
    StoreRequest,
    Timeouts,
    connect,
    retrieval_contexts,
    uids,
)
from dimse import (
    get as dimse_get,
)
from dimse.dataset.codec import decode, encode
from dimse.dataset.located import Located
from dimse.dataset.sources import Reader
from dimse.messages.message import C_CANCEL_RQ, C_ECHO_RSP, C_GET_RQ, C_GET_RSP, C_STORE_RQ, C_STORE_RSP
from dimse.services.given import Source
from dimse.testing import INFORMATION, Received, ScriptedPeer, associate_request, echo_request, message_pdvs
from dimse.upper_layer.items import AsynchronousOperationsWindow, RoleSelection, UserInformation
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_AC, P_DATA_TF, PDV

GET = uids.STUDY_ROOT_GET
RLE = str(RLELossless)
GET_RQ = C_GET_RQ(message_id=1, affected_sop_class_uid=GET)
Handler = Callable[[QueryRequest], AsyncIterator[Source]]
Contexts = Sequence[tuple[str, Sequence[str]]]
STORAGE: Contexts = ((CT, [EXPLICIT]),)


def gives(*sources: Source) -> Handler:
    async def handler(_: QueryRequest) -> AsyncIterator[Source]:
        for source in sources:
            yield source

    return handler


@asynccontextmanager
async def serving(handler: Handler, *, allow_decompression: bool = False, **options: object) -> AsyncIterator[Server]:
    send = SendOptions(allow_decompression=allow_decompression)
    server = Server("ARCHIVE", port=0, options=server_options(send=send, **options))
    server.on_c_get(handler)
    async with server:
        yield server


async def associate(
    peer: ScriptedPeer,
    contexts: Contexts,
    roles: Iterable[RoleSelection] | None = None,
    information: UserInformation = INFORMATION,
) -> A_ASSOCIATE_AC:
    """C-GET on context 1, C-ECHO on 3, and what is to be stored on 5, 7 ... with the SCP role."""
    if roles is None:
        roles = [RoleSelection(uid, False, True) for uid in dict.fromkeys(uid for uid, _ in contexts)]
    ask = associate_request((GET, [EXPLICIT]), (VERIFICATION, [IMPLICIT]), *contexts)
    return await peer.associate(replace(ask, user_information=replace(information, role_selections=tuple(roles))))


@asynccontextmanager
async def peer_of(server: Server, contexts: Contexts = STORAGE) -> AsyncIterator[ScriptedPeer]:
    async with await ScriptedPeer.connect(server.port) as peer:
        await associate(peer, contexts)
        yield peer


def get(message_id: int = 1, level: str = "STUDY") -> list[PDV]:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    identifier.StudyInstanceUID = "1.2.3.1"
    return message_pdvs(replace(GET_RQ, message_id=message_id), encode(identifier, EXPLICIT))


def cancel(message_id: int = 1) -> list[PDV]:
    return message_pdvs(C_CANCEL_RQ(message_id_being_responded_to=message_id))


def stored(received: Received, status: int = Status.SUCCESS) -> list[PDV]:
    """The answer to a C-STORE."""
    message = received.message
    assert isinstance(message, C_STORE_RQ)
    response = C_STORE_RSP(
        message_id_being_responded_to=message.message_id,
        status=Status(status),
        affected_sop_class_uid=message.affected_sop_class_uid,
        affected_sop_instance_uid=message.affected_sop_instance_uid,
    )
    return message_pdvs(response, context=received.presentation_context_id)


def counters(response: C_GET_RSP) -> tuple[int | None, ...]:
    """Remaining, completed, failed, warning."""
    return (
        response.number_of_remaining_suboperations,
        response.number_of_completed_suboperations,
        response.number_of_failed_suboperations,
        response.number_of_warning_suboperations,
    )


@dataclass
class Outcome:
    """All that came of a C-GET."""

    final: C_GET_RSP
    pending: list[tuple[int | None, ...]] = field(default_factory=list)
    stores: list[Received] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """Failed SOP Instance UID List."""

    @property
    def said(self) -> tuple[Status, tuple[int | None, ...], list[str]]:
        return self.final.status, counters(self.final), self.failed

    @property
    def data(self) -> dict[str, bytes | None]:
        return {instance_of(store): store.data for store in self.stores}


def instance_of(store: Received) -> str:
    assert isinstance(store.message, C_STORE_RQ)
    return store.message.affected_sop_instance_uid


async def outcome(peer: ScriptedPeer, message_id: int = 1, statuses: dict[str, int] | None = None) -> Outcome:
    """Answer each C-STORE, by its SOP Instance UID, until the final response."""
    pending, stores = list[tuple[int | None, ...]](), list[Received]()
    while True:
        received = await peer.receive_message()
        message = received.message
        if isinstance(message, C_STORE_RQ):
            stores.append(received)
            await peer.send(stored(received, (statuses or {}).get(message.affected_sop_instance_uid, 0)))
            continue
        assert isinstance(message, C_GET_RSP)
        assert message.message_id_being_responded_to == message_id
        if message.status.category is StatusCategory.PENDING:
            assert received.data is None
            pending.append(counters(message))
            continue
        failed = [] if received.data is None else decode(received.data, EXPLICIT).FailedSOPInstanceUIDList
        return Outcome(message, pending, stores, [failed] if isinstance(failed, str) else list(failed))


async def first_store(peer: ScriptedPeer) -> Received:
    while not isinstance((received := await peer.receive_message()).message, C_STORE_RQ):
        pass
    return received


async def check_usable(peer: ScriptedPeer) -> None:
    """The association is: a C-ECHO is answered, with nothing before it, and so is a release."""
    await peer.send(message_pdvs(echo_request(99), context=3))
    assert isinstance((await peer.receive_message()).message, C_ECHO_RSP)
    await peer.release()


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]


# The roles


@pytest.mark.parametrize(
    ("role", "answered", "is_accepted"),
    [
        (RoleSelection(CT, False, True), (False, True), True),
        (RoleSelection(CT, True, True), (False, True), True),
        (RoleSelection(CT, True, False), None, False),
        (None, None, False),
        (RoleSelection(VERIFICATION, False, True), (False, False), False),
        (RoleSelection(GET, True, True), (True, False), False),
    ],
    ids=["scp", "both", "scu", "none", "not storage", "not storage either"],
)
async def test_the_roles_are_those_that_were_asked_for(
    role: RoleSelection | None, answered: tuple[bool, bool] | None, is_accepted: bool
) -> None:
    async with serving(gives()) as server, await ScriptedPeer.connect(server.port) as peer:
        answer = await associate(peer, STORAGE, [] if role is None else [role])
        roles = [(each.scu_role, each.scp_role) for each in answer.user_information.role_selections]
        assert roles == ([] if answered is None else [answered])
        assert [context.result == 0 for context in answer.presentation_contexts] == [True, True, is_accepted]
        await peer.release()


async def test_without_the_role_nothing_is_sent() -> None:
    """The context is for C-STOREs of the requestor's."""

    async def store(_: StoreRequest) -> Status:
        return Status.SUCCESS

    async with serving(gives(instance())) as server, await ScriptedPeer.connect(server.port) as peer:
        server.on_c_store(store)
        answer = await associate(peer, STORAGE, [])
        assert answer.presentation_contexts[2].result == 0
        await peer.send(get())
        result = await outcome(peer)
        assert result.said == (0xA702, (None, 0, 1, 0), ["1.2.3.4"])
        assert result.stores == []
        await check_usable(peer)


@pytest.mark.parametrize(
    ("roles", "contexts", "comment"),
    [
        ([], STORAGE, "the requestor proposed no SCP role for a SOP class"),
        (None, [(CT, ["1.2.840.10008.1.2.4.50"])], f"no context in {EXPLICIT}"),
    ],
    ids=["no role", "no context"],
)
async def test_the_error_comment_says_what_was_not_proposed(
    roles: list[RoleSelection] | None, contexts: Contexts, comment: str
) -> None:
    async with serving(gives(instance("1.2.1"))) as server, await ScriptedPeer.connect(server.port) as peer:
        await associate(peer, contexts, roles)
        await peer.send(get())
        final = (await outcome(peer)).final
    assert (final.status, final.error_comment) == (0xA702, comment)


async def test_without_a_handler_no_context_is_accepted() -> None:
    async with Server("ARCHIVE", port=0) as server, await ScriptedPeer.connect(server.port) as peer:
        answer = await associate(peer, STORAGE)
        assert [context.result == 0 for context in answer.presentation_contexts] == [False, True, False]
        await peer.release()


def test_a_handler_must_be_an_async_generator() -> None:
    async def coroutine(_: QueryRequest) -> list[Source]:
        return []

    def generator(_: QueryRequest) -> Iterator[Source]:
        yield instance()

    server, handlers = Server(destinations={}), (coroutine, generator, lambda _: gives()(_))
    for decorate in (server.on_c_find, server.on_c_get, server.on_c_move):
        for handler in handlers:
            with pytest.raises(TypeError, match="must be an async def that yields"):
                decorate(handler)  # type: ignore[arg-type]


# What is sent


async def test_whatever_can_be_sent(tmp_path: Path) -> None:
    """A path, a folder, a stream, a data set; a file in a folder that is not DICOM is not a failure."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("not DICOM")
    paths = [
        save(instance("1.2.1", pixels=100_001), tmp_path / "a"),
        save(instance("1.2.2"), tmp_path / "folder" / "b"),
        save(instance("1.2.3"), tmp_path / "folder" / "c"),
        save(instance("1.2.4", pixels=0), tmp_path / "d"),
    ]
    handler = gives(paths[0], str(tmp_path / "folder"), BytesIO(paths[3].read_bytes()), instance("1.2.5"))
    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send(get())
        result = await outcome(peer)
        await check_usable(peer)
    assert result.data == {
        **{f"1.2.{i}": dataset_bytes(path) for i, path in enumerate(paths, 1)},
        "1.2.5": encoded(instance("1.2.5")),
    }
    assert result.pending[0] == (5, 0, 0, 0)
    assert result.said == (Status.SUCCESS, (None, 5, 0, 0), [])
    commands = [store.message for store in result.stores]
    assert {type(command).__name__ for command in commands} == {"C_STORE_RQ"}
    assert all(command.move_originator_message_id is None for command in commands if isinstance(command, C_STORE_RQ))


async def test_the_request_and_what_our_own_requestor_makes_of_it(tmp_path: Path) -> None:
    seen: list[QueryRequest] = []

    async def handler(request: QueryRequest) -> AsyncIterator[Source]:
        seen.append(request)
        yield instance("1.2.1")
        yield instance("1.2.2", pixels=1_000_000)

    async with (
        serving(handler) as server,
        connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=retrieval_contexts([CT])) as association,
    ):
        query = Query.series(StudyInstanceUID="1.2.3.1", SeriesInstanceUID="1.2.3.2")
        scu = CGetSCU(association, store=StoreOptions(fsync=False))
        got = [got.sop_instance_uid async for got in scu.get(query, into=tmp_path)]
    assert got == ["1.2.1", "1.2.2"]
    assert read(tmp_path / "1.2.3.1" / "1.2.3.2" / "1.2.2.dcm").PixelData == pixel_bytes(1_000_000)
    (request,) = seen
    assert (request.model, request.level) == (QueryRetrieveModel.STUDY_ROOT, QueryRetrieveLevel.SERIES)
    assert (request.identifier.SeriesInstanceUID, request.move_destination) == ("1.2.3.2", None)
    assert request.association.calling_ae_title == "DIMSE"


@pytest.mark.parametrize(
    ("written", "offered", "sent"),
    [
        (EXPLICIT, [EXPLICIT, IMPLICIT], EXPLICIT),
        (IMPLICIT, [EXPLICIT, IMPLICIT], IMPLICIT),
        (EXPLICIT, [IMPLICIT], IMPLICIT),
        (IMPLICIT, [EXPLICIT], EXPLICIT),
        (RLE, [EXPLICIT, RLE], RLE),
    ],
)
async def test_the_context_is_the_one_of_the_syntax(
    written: str, offered: Sequence[str], sent: str, tmp_path: Path
) -> None:
    path = Path(str(get_testdata_file("MR_small_RLE.dcm", download=False))) if written == RLE else tmp_path / "a"
    if written != RLE:
        save(instance(), path, written)
    sop_class = MR if written == RLE else CT
    contexts = [(sop_class, [syntax]) for syntax in offered]
    async with serving(gives(path)) as server, peer_of(server, contexts) as peer:
        await peer.send(get())
        (store,) = (await outcome(peer)).stores
        await peer.release()
    assert store.presentation_context_id == 5 + 2 * offered.index(sent)
    assert store.data == (dataset_bytes(path) if written == sent else encoded(instance(), sent))


@pytest.mark.parametrize("allowed", [True, False])
async def test_compressed_where_only_uncompressed_is_taken(allowed: bool) -> None:
    path = Path(str(get_testdata_file("MR_small_RLE.dcm", download=False)))
    uid = str(read(path).SOPInstanceUID)
    handler, contexts = gives(path, instance()), [(MR, [IMPLICIT]), *STORAGE]
    async with serving(handler, allow_decompression=allowed) as server, peer_of(server, contexts) as peer:
        await peer.send(get())
        result = await outcome(peer)
        await check_usable(peer)
    if not allowed:
        assert result.said == (0xB000, (None, 1, 1, 0), [uid])
        assert list(result.data) == ["1.2.3.4"]
        return
    assert result.said == (Status.SUCCESS, (None, 2, 0, 0), [])
    sent = decode(result.data[uid] or b"", IMPLICIT)
    assert sent.PixelData == read(Path(str(get_testdata_file("MR_small.dcm", download=False)))).PixelData


async def test_a_second_retrieval_and_the_message_ids(tmp_path: Path) -> None:
    """Those of the sub-operations are the server's, and may be the requestor's too."""
    async with serving(gives(instance("1.2.1"), instance("1.2.2"))) as server, peer_of(server) as peer:
        identifiers = list[int]()
        for message_id in (1, 2):
            await peer.send(get(message_id))
            result = await outcome(peer, message_id)
            assert result.said == (Status.SUCCESS, (None, 2, 0, 0), [])
            identifiers += [
                store.message.message_id for store in result.stores if isinstance(store.message, C_STORE_RQ)
            ]
        await check_usable(peer)
    assert identifiers == [1, 2, 3, 4]


class Noted(DatasetSource):
    """A small data set; `read` is set when it has been read to its end."""

    sop_class_uid, transfer_syntax_uid, length, repeatable = CT, EXPLICIT, 8, True

    def __init__(self, uid: str) -> None:
        self.name = self.sop_instance_uid = uid
        self.read = asyncio.Event()

    def open(self) -> Reader:
        return NotingReader(self.read)


class NotingReader(Reader):
    def __init__(self, read: asyncio.Event) -> None:
        self._read = read
        self._left = 8

    async def read_into(self, buffer: memoryview) -> int:
        count = min(len(buffer), self._left)
        buffer[:count] = bytes(count)
        self._left -= count
        return count

    def close(self) -> None:
        self._read.set()


async def test_two_retrievals_at_once_have_one_c_store_outstanding() -> None:
    """The window lets the requestor invoke 4 operations, and perform 1 (PS3.7 D.3.3.3)."""
    information = replace(INFORMATION, asynchronous_operations_window=AsynchronousOperationsWindow(4, 1))
    sources = [Noted("1.2.1"), Noted("1.2.2")]
    given = iter(sources)

    async def handler(_: QueryRequest) -> AsyncIterator[Source]:
        yield next(given)

    async with serving(handler) as server, await ScriptedPeer.connect(server.port) as peer:
        await associate(peer, STORAGE, information=information)
        await peer.send(get(1), get(2))
        for source in sources:
            await source.read.wait()
        await peer.send(message_pdvs(echo_request(3), context=3))
        before_echo, after_echo = list[Received](), list[Received]()
        while not isinstance((received := await peer.receive_message()).message, C_ECHO_RSP):
            before_echo.append(received)
        (store,) = [each for each in before_echo if isinstance(each.message, C_STORE_RQ)]
        await peer.send(stored(store))
        while sum(isinstance(each.message, C_GET_RSP) for each in before_echo + after_echo) < 4:
            after_echo.append(await peer.receive_message())
            if isinstance(after_echo[-1].message, C_STORE_RQ):
                await peer.send(stored(after_echo[-1]))
        responses = [each.message for each in before_echo + after_echo if isinstance(each.message, C_GET_RSP)]
        assert [response.status for response in responses].count(Status.SUCCESS) == 2
        await check_usable(peer)


# What becomes of it


# C-CANCEL


async def test_a_cancel_between_two_instances() -> None:
    sources = [instance(f"1.2.{i}") for i in range(1, 5)]
    async with serving(gives(*sources)) as server, peer_of(server) as peer:
        await peer.send(get())
        await peer.send(stored(await first_store(peer), 0xA700))
        await peer.send(cancel(), stored(await first_store(peer)))
        result = await outcome(peer)
        assert result.said == (Status.CANCEL, (2, 1, 1, 0), ["1.2.1"])
        assert result.stores == []
        await peer.send(get(2))
        assert (await outcome(peer, 2)).said == (Status.SUCCESS, (None, 4, 0, 0), [])
        await check_usable(peer)


async def test_a_cancel_while_one_instance_after_the_other_fails() -> None:
    """As on a disk that is gone: nothing has to wait, but others must have their turns."""

    def fail() -> FileIO:
        raise OSError("no such disk")

    sources = [Located(CT, f"1.2.{number}", EXPLICIT, 100, fail) for number in range(5000)]
    async with serving(gives(*sources)) as server, peer_of(server) as peer:
        await peer.send(get())
        await peer.receive()
        await peer.send(cancel())
        result = await outcome(peer)
        assert result.said[0] == Status.CANCEL
        await check_usable(peer)


class Waits:
    """A handler that waits forever after its first instance."""

    def __init__(self) -> None:
        self.waiting, self.closed = asyncio.Event(), asyncio.Event()
        self.ended_by: type[BaseException] | None = None

    async def get(self, _: QueryRequest) -> AsyncIterator[Source]:
        try:
            yield instance()
            self.waiting.set()
            await asyncio.Event().wait()
        except BaseException as error:
            self.ended_by = type(error)
            raise
        finally:
            self.closed.set()


async def test_a_cancel_while_the_handler_works() -> None:
    waits = Waits()
    async with serving(waits.get) as server, peer_of(server) as peer:
        await peer.send(get())
        await waits.waiting.wait()
        await peer.send(cancel(2), cancel(1))
        result = await outcome(peer)
        assert result.final.status == Status.CANCEL
        assert result.stores == []
        assert waits.ended_by is asyncio.CancelledError
        await check_usable(peer)


async def test_a_cancel_while_an_instance_is_looked_at() -> None:
    """The handler is not waiting for anything then, and is closed all the same before the answer."""
    loop, looked_at, go_on, closed = asyncio.get_running_loop(), asyncio.Event(), threading.Event(), list[str]()

    class Slow(BytesIO):
        def seekable(self) -> bool:
            loop.call_soon_threadsafe(looked_at.set)
            go_on.wait()
            return True

    async def handler(_: QueryRequest) -> AsyncIterator[Source]:
        try:
            yield Slow()
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send(get())
        await looked_at.wait()
        await peer.send(cancel())
        go_on.set()
        assert (await outcome(peer)).final.status == Status.CANCEL
        assert closed
        await check_usable(peer)


async def test_a_cancel_for_nothing_is_ignored() -> None:
    async with serving(gives(instance("1.2.1"), instance("1.2.2"))) as server, peer_of(server) as peer:
        await peer.send(cancel(), get())
        await peer.send(cancel(2), stored(await first_store(peer)))
        assert (await outcome(peer)).said == (Status.SUCCESS, (None, 2, 0, 0), [])
        await peer.send(cancel())
        await check_usable(peer)


# The end of the association


@pytest.mark.parametrize("how", ["abort", "close", "reset"])
@pytest.mark.parametrize("when", ["working", "sending", "waiting"])
async def test_the_end_of_the_association_ends_it_all(how: str, when: str, caplog: pytest.LogCaptureFixture) -> None:
    waits = Waits()
    pixels = 20_000_000 if when == "sending" else 1000
    handler = waits.get if when == "working" else gives(instance("1.2.1", pixels=pixels), instance("1.2.2"))
    async with serving(handler) as server:
        async with peer_of(server) as peer:
            await peer.send(get())
            if when == "working":
                await waits.waiting.wait()
            elif when == "sending":
                for _ in range(3):
                    await peer.expect(P_DATA_TF)
            else:
                await first_store(peer)
            if how == "abort":
                await peer.send(A_ABORT(0, 0))
                await peer.closed()
            elif how == "reset":
                peer.reset()
        if when == "working":
            await waits.closed.wait()
        await server.stop()
    assert complaints(caplog) == []


async def test_a_requestor_that_never_answers_is_aborted() -> None:
    handler = gives(instance("1.2.1"), instance("1.2.2"))
    async with serving(handler, timeouts=Timeouts(store=0.2)) as server, peer_of(server) as peer:
        await peer.send(get())
        await first_store(peer)
        await peer.expect_abort(0, 0)


class Shrinks(DatasetSource):
    """A file that becomes shorter while it is being read."""

    name, sop_class_uid, sop_instance_uid, transfer_syntax_uid = "shrinks.dcm", CT, "1.2.1", EXPLICIT
    length, repeatable = 1_000_000, True

    def open(self) -> Reader:
        return ShrunkReader()


class ShrunkReader(Reader):
    left = 500_000

    async def read_into(self, buffer: memoryview) -> int:
        count = min(len(buffer), self.left)
        buffer[:count] = bytes(count)
        self.left -= count
        return count

    def close(self) -> None: ...


async def test_an_instance_that_ends_too_early_is_never_completed(caplog: pytest.LogCaptureFixture) -> None:
    """What is half sent cannot be taken back; the server goes on, and says in its log what was wrong."""
    async with serving(gives(Shrinks(), instance("1.2.2"))) as server:
        async with peer_of(server) as peer:
            await peer.send(get())
            await peer.expect_abort(0, 0)
        async with peer_of(server) as peer:
            await check_usable(peer)
    assert any("shrinks.dcm: fewer than the 1000000 bytes" in complaint for complaint in complaints(caplog))
    assert not [record for record in caplog.records if record.exc_info]


async def test_other_models_keep_the_bulk_data_of_the_same_handler(tmp_path: Path) -> None:
    server = Server(port=0)
    models = QueryRetrieveModel.WITHOUT_BULK_DATA, QueryRetrieveModel.COMPOSITE_INSTANCE_ROOT

    @server.on_c_get(*models)
    async def get(request: QueryRequest) -> AsyncIterator[Source]:
        yield instance("1.2.9")

    async with server:
        for model in models:
            query = Query.instances(SOPInstanceUID="1.2.9", model=model)
            await dimse_get(
                f"DIMSE@localhost:{server.port}", query, into=tmp_path / model.name, template="{SOPInstanceUID}"
            )
    left, whole = (read(tmp_path / model.name / "1.2.9") for model in models)
    assert "PixelData" not in left
    assert whole.PixelData == instance().PixelData
