"""C-MOVE as SCP: the instances arrive where they should, and the counters are true whatever the destination does."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from tests.certificate import CERTIFICATE, KEY
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, encoded, instance, read
from tests.server_options import buffered, server_options

import dimse
from dimse import ClientOptions, QueryRequest, RetryPolicy, SendOptions, Server, Status, StoreRequest, uids
from dimse.dataset.codec import decode, encode
from dimse.dataset.located import Located
from dimse.messages.message import C_CANCEL_RQ, C_ECHO_RSP, C_MOVE_RQ, C_MOVE_RSP, C_STORE_RQ, C_STORE_RSP
from dimse.services.given import Source
from dimse.services.move_scp import Destinations
from dimse.testing import ScriptedPeer, associate_request, echo_request, listening, message_pdvs
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, P_DATA_TF, PDV

MOVE = uids.STUDY_ROOT_MOVE
MOVE_RQ = C_MOVE_RQ(message_id=1, affected_sop_class_uid=MOVE, move_destination="WS1")
NO_RETRY = RetryPolicy(retries=0)
ANYWHERE = {"WS1": "WS1@127.0.0.1:104"}
Handler = Callable[[QueryRequest], AsyncIterator[Source]]
Counters = tuple[int | None, ...]


def gives(*sources: Source) -> Handler:
    async def handler(_: QueryRequest) -> AsyncIterator[Source]:
        for source in sources:
            yield source

    return handler


def three() -> Handler:
    return gives(instance("1.2.1"), instance("1.2.2"), instance("1.2.3"))


class Workstation(Server):
    """A destination that keeps what it gets."""

    def __init__(self, **options: object) -> None:
        super().__init__("WS1", port=0, options=buffered(**options))
        self.stored: dict[str, bytes] = {}
        self.requests: list[StoreRequest] = []
        self.answer: Callable[[StoreRequest], int] = lambda _: Status.SUCCESS
        self.on_c_store(self.keep)

    async def keep(self, request: StoreRequest) -> int:
        self.requests.append(request)
        self.stored[request.sop_instance_uid] = bytes(request.data)
        return self.answer(request)

    @property
    def address(self) -> str:
        return f"WS1@localhost:{self.port}"


@pytest.fixture
async def workstation() -> AsyncIterator[Workstation]:
    async with Workstation() as server:
        yield server


@asynccontextmanager
async def serving(
    handler: Handler,
    destinations: Destinations | str | dimse.MoveDestination,
    *,
    associations: int = 1,
    retry: RetryPolicy = NO_RETRY,
    allow_decompression: bool = False,
    **options: object,
) -> AsyncIterator[Server]:
    """An archive that knows these destinations, or one, WS1."""
    if isinstance(destinations, str | dimse.MoveDestination):
        destinations = {"WS1": destinations}
    send = SendOptions(associations=associations, retry=retry, allow_decompression=allow_decompression)
    server = Server("ARCHIVE", port=0, options=server_options(send=send, **options), destinations=destinations)
    server.on_c_move(handler)
    async with server:
        yield server


@asynccontextmanager
async def peer_of(server: Server, calling: str = "PEER") -> AsyncIterator[ScriptedPeer]:
    """C-MOVE on context 1, C-ECHO on 3."""
    async with await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(associate_request((MOVE, [EXPLICIT]), (uids.VERIFICATION, [IMPLICIT]), calling=calling))
        yield peer


def move(message_id: int = 1, destination: str = "WS1", level: str = "STUDY") -> list[PDV]:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    identifier.StudyInstanceUID = "1.2.3.1"
    command = replace(MOVE_RQ, message_id=message_id, move_destination=destination)
    return message_pdvs(command, encode(identifier, EXPLICIT))


def cancel(message_id: int = 1) -> list[PDV]:
    return message_pdvs(C_CANCEL_RQ(message_id_being_responded_to=message_id))


class Outcome(NamedTuple):
    """All that was said of a C-MOVE."""

    status: Status
    counters: Counters
    """Remaining, completed, failed, warning."""
    failed: list[str]
    """Failed SOP Instance UID List."""
    comment: str | None
    pending: list[Counters]

    @property
    def said(self) -> tuple[Status, Counters, list[str]]:
        return self.status, self.counters, self.failed


async def outcome(peer: ScriptedPeer, message_id: int = 1) -> Outcome:
    """Read on to the final response."""
    pending: list[Counters] = []
    while True:
        received = await peer.receive_message()
        response = received.message
        assert isinstance(response, C_MOVE_RSP)
        assert response.message_id_being_responded_to == message_id
        counts = dimse.SubOperations.of(response)
        counters = counts.remaining, counts.completed, counts.failed, counts.warning
        if response.status.category is not dimse.StatusCategory.PENDING:
            failed = [] if received.data is None else decode(received.data, EXPLICIT).FailedSOPInstanceUIDList
            failed = [failed] if isinstance(failed, str) else list(failed)
            return Outcome(response.status, counters, failed, response.error_comment, pending)
        assert received.data is None
        pending.append(counters)


async def check_usable(peer: ScriptedPeer) -> None:
    """The association is: a C-ECHO is answered, with nothing before it, and so is a release."""
    await peer.send(message_pdvs(echo_request(99), context=3))
    assert isinstance((await peer.receive_message()).message, C_ECHO_RSP)
    await peer.release()


async def store_one(peer: ScriptedPeer) -> bytes:
    """As destination: take one instance."""
    received = await peer.receive_message()
    assert isinstance(received.message, C_STORE_RQ)
    response = C_STORE_RSP(message_id_being_responded_to=received.message.message_id, status=Status.SUCCESS)
    await peer.send(message_pdvs(response, context=received.presentation_context_id))
    return received.data or b""


# Where to


@pytest.mark.parametrize(
    "destinations_of",
    [
        lambda address: {"WS1": address},
        lambda address: {"WS1": dimse.Address.parse(address)},
        lambda address: {"WS1": dimse.MoveDestination(address)},
        lambda address: {"WS1": address}.get,
        lambda address: asked_later({"WS1": address}.get),
    ],
    ids=["text", "address", "destination", "function", "async function"],
)
async def test_the_destination(destinations_of: Callable[[str], Destinations], workstation: Workstation) -> None:
    async with serving(three(), destinations_of(workstation.address)) as server, peer_of(server) as peer:
        await peer.send(move())
        assert (await outcome(peer)).said == (Status.SUCCESS, (None, 3, 0, 0), [])
        await check_usable(peer)
    assert workstation.stored == {uid: encoded(instance(uid)) for uid in ("1.2.1", "1.2.2", "1.2.3")}


async def test_the_syntaxes_that_a_destination_is_offered(workstation: Workstation) -> None:
    destination = dimse.MoveDestination(workstation.address, transfer_syntaxes=[IMPLICIT])
    async with serving(three(), destination) as server, peer_of(server) as peer:
        await peer.send(move())
        assert (await outcome(peer)).status == Status.SUCCESS
    for store in workstation.requests:
        assert [each.transfer_syntax for each in store.association.contexts.values()] == [IMPLICIT]


def asked_later(table: Callable[[str], str | None]) -> Callable[[str], Awaitable[str | None]]:
    async def destination(title: str) -> str | None:
        await asyncio.sleep(0)
        return table(title)

    return destination


@pytest.mark.parametrize(
    "destinations", [ANYWHERE, ANYWHERE.get, asked_later(ANYWHERE.get)], ids=["table", "function", "async function"]
)
async def test_an_unknown_destination(destinations: Destinations) -> None:
    asked: list[QueryRequest] = []

    async def handler(request: QueryRequest) -> AsyncIterator[Source]:
        asked.append(request)
        yield instance()

    async with serving(handler, destinations) as server, peer_of(server) as peer:
        await peer.send(move(destination="NOBODY"))
        result = await outcome(peer)
        assert (result.status, result.comment) == (Status.MOVE_DESTINATION_UNKNOWN, "no address is known for 'NOBODY'")
        await check_usable(peer)
    assert not asked


async def test_over_tls(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text(CERTIFICATE)
    (tmp_path / "key.pem").write_text(KEY)
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    trusting = ClientOptions(tls=ssl.create_default_context(cafile=tmp_path / "cert.pem"))
    async with Workstation(tls=ours) as workstation:
        plain, secure = workstation.address, dimse.MoveDestination(workstation.address, trusting)
        async with serving(three(), {"WS1": secure, "WS2": plain}) as server, peer_of(server) as peer:
            await peer.send(move())
            assert (await outcome(peer)).said == (Status.SUCCESS, (None, 3, 0, 0), [])
            await peer.send(move(2, "WS2"))
            assert (await outcome(peer, 2)).counters == (None, 0, 3, 0)
            await check_usable(peer)


@pytest.mark.parametrize("title", ["MODALITY", "Ger\xe4t", "A\\B"])
async def test_who_asked_for_it(title: str, workstation: Workstation) -> None:
    """Our own title calls; the requestor's and its message ID come with each instance (PS3.7 9.1.1.1)."""
    async with serving(three(), workstation.address) as server, peer_of(server, calling=title) as peer:
        await peer.send(move(777))
        assert (await outcome(peer, 777)).counters == (None, 3, 0, 0)
        await check_usable(peer)
    for stored in workstation.requests:
        assert (stored.association.calling_ae_title, stored.association.called_ae_title) == ("ARCHIVE", "WS1")
        if title == "MODALITY":
            assert stored.command.move_originator_application_entity_title == title
            assert stored.command.move_originator_message_id == 777


async def test_the_request_and_what_our_own_requestor_makes_of_it(workstation: Workstation) -> None:
    seen: list[QueryRequest] = []

    async def handler(request: QueryRequest) -> AsyncIterator[Source]:
        seen.append(request)
        yield instance("1.2.1", pixels=1_000_000)

    async with (
        serving(handler, workstation.address) as server,
        dimse.connect(f"A@127.0.0.1:{server.port}") as association,
    ):
        query = dimse.Query.series(StudyInstanceUID="1.2.3.1", SeriesInstanceUID="1.2.3.2")
        counters = [counters async for counters in dimse.CMoveSCU(association).move(query, "WS1")]
        await dimse.CEchoSCU(association).echo()
    assert (counters[0], counters[-1]) == (dimse.SubOperations(1, 0, 0, 0), dimse.SubOperations(None, 1, 0, 0))
    assert list(workstation.stored) == ["1.2.1"]
    (request,) = seen
    assert (request.model, request.level) == (dimse.QueryRetrieveModel.STUDY_ROOT, dimse.QueryRetrieveLevel.SERIES)
    assert (request.identifier.SeriesInstanceUID, request.move_destination) == ("1.2.3.2", "WS1")


# What


async def test_nothing_to_send() -> None:
    async with serving(gives(), ANYWHERE) as server, peer_of(server) as peer:
        await peer.send(move())
        assert (await outcome(peer)).said == (Status.SUCCESS, (None, 0, 0, 0), [])
        await check_usable(peer)


@pytest.mark.parametrize("allowed", [True, False])
async def test_compressed_where_only_uncompressed_is_taken(allowed: bool) -> None:
    path = Path(str(get_testdata_file("MR_small_RLE.dcm", download=False)))
    data: list[bytes] = []

    async def destination(peer: ScriptedPeer) -> None:
        await peer.accept(syntaxes=[IMPLICIT])
        if allowed:
            data.append(await store_one(peer))
        await peer.answer_release()

    async with (
        listening(destination) as address,
        serving(gives(path), address, allow_decompression=allowed) as server,
        peer_of(server) as peer,
    ):
        await peer.send(move())
        result = await outcome(peer)
        await check_usable(peer)
    if allowed:
        assert result.said == (Status.SUCCESS, (None, 1, 0, 0), [])
        plain = read(Path(str(get_testdata_file("MR_small.dcm", download=False))))
        assert decode(data[0], IMPLICIT).PixelData == plain.PixelData
    else:
        assert result.said == (0xA702, (None, 0, 1, 0), [read(path).SOPInstanceUID])


async def failing(_: QueryRequest) -> AsyncIterator[Source]:
    yield instance()
    raise KeyError("SECRET^NAME")


async def refusing(_: QueryRequest) -> AsyncIterator[Source]:
    yield instance()
    raise dimse.StatusError(Status(0xA701), "C-MOVE", "too many")


def no_table(_: str) -> str:
    raise LookupError("SECRET")


@pytest.mark.parametrize(
    ("destinations", "handler", "asked", "status", "comment"),
    [
        (no_table, three(), move(), 0xC000, "the handler failed: LookupError"),
        (ANYWHERE, failing, move(), 0xC000, "the handler failed: KeyError"),
        (ANYWHERE, refusing, move(), 0xA701, "too many"),
        (ANYWHERE, gives(), move(level="PATIENT"), 0xA900, "Study Root has no PATIENT level"),
        (
            ANYWHERE,
            gives(),
            message_pdvs(MOVE_RQ, b"SECRET" * 3),
            0xC000,
            "identifier: unknown value representation at (4553,5243)",
        ),
    ],
    ids=["no table", "failing", "refusing", "level", "identifier"],
)
async def test_a_move_that_fails_as_a_whole(
    destinations: Destinations, handler: Handler, asked: list[PDV], status: int, comment: str
) -> None:
    async with serving(handler, destinations) as server, peer_of(server) as peer:
        await peer.send(asked)
        result = await outcome(peer)
        assert (result.status, result.comment, result.pending) == (status, comment, [])
        await check_usable(peer)


# What the destination does


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ((0, 0xA700, 0), (0xB000, (None, 2, 1, 0), ["1.2.2"])),
        ((0xA700, 0xC000, 0xA900), (0xA702, (None, 0, 3, 0), ["1.2.1", "1.2.2", "1.2.3"])),
        ((0, 0xB000, 0xB007), (0xB000, (None, 1, 0, 2), [])),
        ((0xB000, 0x0110, 0x0122), (0xB000, (None, 0, 2, 1), ["1.2.2", "1.2.3"])),
    ],
    ids=["some refused", "all refused", "some warnings", "all sorts"],
)
async def test_what_it_answers_is_counted(statuses: Sequence[int], said: object, workstation: Workstation) -> None:
    answers = dict(zip(("1.2.1", "1.2.2", "1.2.3"), statuses, strict=True))
    workstation.answer = lambda request: answers[request.sop_instance_uid]
    async with serving(three(), workstation.address) as server, peer_of(server) as peer:
        await peer.send(move())
        result = await outcome(peer)
        assert result.said == said
        assert {sum(count or 0 for count in each) for each in result.pending} == {3}
        await check_usable(peer)


async def test_out_of_resources_is_tried_again(workstation: Workstation) -> None:
    statuses = {"1.2.1": [0, 0xA700], "1.2.2": [0, 0xA701], "1.2.3": [0]}
    workstation.answer = lambda request: statuses[request.sop_instance_uid].pop()
    retry = RetryPolicy(retries=1, delay=0)
    async with serving(three(), workstation.address, retry=retry) as server, peer_of(server) as peer:
        await peer.send(move())
        assert (await outcome(peer)).said == (Status.SUCCESS, (None, 3, 0, 0), [])
        await check_usable(peer)
    assert Counter(each.sop_instance_uid for each in workstation.requests).most_common() == [
        ("1.2.1", 2),
        ("1.2.2", 2),
        ("1.2.3", 1),
    ]


async def test_associations_side_by_side(workstation: Workstation) -> None:
    together = asyncio.Barrier(2)

    async def keep(_: StoreRequest) -> Status:
        await together.wait()
        return Status.SUCCESS

    workstation.on_c_store(keep)
    sources = [instance(f"1.2.{i}") for i in range(4)]
    async with serving(gives(*sources), workstation.address, associations=2) as server, peer_of(server) as peer:
        await peer.send(move())
        assert (await outcome(peer)).said == (Status.SUCCESS, (None, 4, 0, 0), [])
        await check_usable(peer)


Script = Callable[[ScriptedPeer], Awaitable[None]]


async def closes(_: ScriptedPeer) -> None: ...


async def never_associates(peer: ScriptedPeer) -> None:
    await peer.expect(A_ASSOCIATE_RQ)
    await peer.expect_abort(0, 0)


async def never_answers(peer: ScriptedPeer) -> None:
    await peer.accept()
    await peer.expect_abort(0, 0)


async def accepts_nothing(peer: ScriptedPeer) -> None:
    await peer.accept(syntaxes=[])
    await peer.answer_release()


def rejects(result: int, source: int, reason: int) -> Script:
    async def script(peer: ScriptedPeer) -> None:
        await peer.expect(A_ASSOCIATE_RQ)
        await peer.send(A_ASSOCIATE_RJ(result, source, reason))
        await peer.closed()

    return script


def takes(count: int, then: str = "") -> Script:
    """Some instances; at the next it aborts or disappears."""

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        for _ in range(count):
            await store_one(peer)
        if not then:
            await peer.answer_release()
            return
        await peer.receive_message()
        if then == "abort":
            await peer.send(A_ABORT(0, 0))
        else:
            peer.reset()

    return script


NONE = (0xA702, (None, 0, 3, 0), ["1.2.1", "1.2.2", "1.2.3"])


@pytest.mark.parametrize(
    ("scripts", "said"),
    [
        ([rejects(1, 1, 7)], NONE),
        ([rejects(2, 3, 2)], NONE),
        ([accepts_nothing], NONE),
        ([closes], NONE),
        ([never_associates], NONE),
        ([never_answers], NONE),
        ([takes(1, "abort"), takes(1)], (0xB000, (None, 2, 1, 0), ["1.2.2"])),
        ([takes(1, "reset"), closes], (0xB000, (None, 1, 2, 0), ["1.2.2", "1.2.3"])),
    ],
    ids=["rejects", "is busy", "accepts nothing", "closes", "never associates", "never answers", "aborts", "resets"],
)
async def test_a_destination_in_trouble(scripts: list[Script], said: object, caplog: pytest.LogCaptureFixture) -> None:
    options = ClientOptions(timeouts=dimse.Timeouts(association=0.2, store=0.2))
    async with listening(*scripts) as address:
        destination = dimse.MoveDestination(address, options)
        async with serving(three(), destination) as server, peer_of(server) as peer:
            await peer.send(move())
            result = await outcome(peer)
            assert result.said == said
            assert result.pending[0] == (3, 0, 0, 0)
            await check_usable(peer)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (takes(2), (Status.SUCCESS, (None, 66, 0, 0), [])),
        (rejects(1, 1, 7), (0xB000, (None, 64, 2, 0), ["1.2.65", "1.2.66"])),
    ],
    ids=["accepted", "rejected"],
)
async def test_more_sop_classes_than_one_association_has_contexts_for(second: Script, said: object) -> None:
    handler = gives(*(instance(f"1.2.{i}", sop_class=f"1.2.3.99.{i}") for i in range(1, 67)))
    async with listening(takes(64), second) as address, serving(handler, address) as server, peer_of(server) as peer:
        await peer.send(move())
        assert (await outcome(peer)).said == said
        await check_usable(peer)


async def test_a_destination_that_does_not_listen() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with serving(three(), f"WS1@127.0.0.1:{port}") as server, peer_of(server) as peer:
            await peer.send(move())
            assert (await outcome(peer)).said == NONE
            await check_usable(peer)


# The end before the end


class SlowDestination:
    """Takes one instance and never answers the second; `stuck` when that has come, `aborted` when it may forget it."""

    def __init__(self) -> None:
        self.stuck, self.aborted = asyncio.Event(), asyncio.Event()

    async def __call__(self, peer: ScriptedPeer) -> None:
        await peer.accept()
        await store_one(peer)
        await peer.receive_message()
        self.stuck.set()
        await peer.expect_abort(0, 0)
        self.aborted.set()


async def hear_of_the_first(peer: ScriptedPeer) -> None:
    """Read on to a Pending response that says that one of three is stored."""
    while isinstance(response := (await peer.receive_message()).message, C_MOVE_RSP):
        if dimse.SubOperations.of(response) == dimse.SubOperations(2, 1, 0, 0):
            return


@pytest.mark.parametrize(("keep_alive", "times"), [(3600, 1), (0.1, 3)])
async def test_a_cancel_in_the_middle_of_an_instance(
    keep_alive: float, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The requestor hears of each instance, and from time to time where nothing moves."""
    monkeypatch.setattr("dimse.services.move_scp._KEEP_ALIVE", keep_alive)
    slow = SlowDestination()
    async with listening(slow) as address, serving(three(), address) as server, peer_of(server) as peer:
        await peer.send(move())
        await slow.stuck.wait()
        for _ in range(times):
            await hear_of_the_first(peer)
        await peer.send(cancel())
        assert (await outcome(peer)).said == (Status.CANCEL, (2, 1, 0, 0), [])
        await slow.aborted.wait()
        await check_usable(peer)
        await server.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_cancel_just_as_the_destination_fails() -> None:
    """Nobody hears of that failure, and asyncio does not complain that nobody does."""
    peers: list[ScriptedPeer] = []

    async def handler(_: QueryRequest) -> AsyncIterator[Source]:
        yield instance()
        peers[0].writer.writelines(P_DATA_TF((pdv,)).encode() for pdv in cancel())

    async with serving(handler, "WS1@127.0.0.1:1") as server, peer_of(server) as peer:
        peers.append(peer)
        await peer.send(move())
        assert (await outcome(peer)).status in (Status.CANCEL, 0xA702)
        await check_usable(peer)
    gc.collect()


async def test_a_cancel_while_one_instance_after_the_other_fails(workstation: Workstation) -> None:
    """As on a disk that is gone: nothing has to wait, but others must have their turns."""
    peers, opened = list[ScriptedPeer](), list[None]()

    def fail() -> FileIO:
        opened.append(None)
        if len(opened) == 100:
            peers[0].writer.writelines(P_DATA_TF((pdv,)).encode() for pdv in cancel())
        raise OSError("no such disk")

    sources = [Located(CT, f"1.2.{number}", EXPLICIT, 100, fail) for number in range(5000)]
    async with serving(gives(*sources), workstation.address) as server, peer_of(server) as peer:
        peers.append(peer)
        await peer.send(move())
        assert (await outcome(peer)).status == Status.CANCEL
        assert 100 <= len(opened) < len(sources)
        await check_usable(peer)


async def test_a_cancel_while_the_handler_works() -> None:
    waiting, closed = asyncio.Event(), asyncio.Event()

    async def handler(_: QueryRequest) -> AsyncIterator[Source]:
        try:
            yield instance()
            waiting.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with serving(handler, ANYWHERE) as server, peer_of(server) as peer:
        await peer.send(cancel(), move())
        await waiting.wait()
        await peer.send(cancel())
        result = await outcome(peer)
        assert (result.status, result.pending) == (Status.CANCEL, [])
        assert closed.is_set()
        await check_usable(peer)


@pytest.mark.parametrize("how", ["abort", "close", "reset", "stop"])
async def test_the_end_of_the_association_ends_the_move(
    how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dimse.services.move_scp._KEEP_ALIVE", 3600)
    slow = SlowDestination()
    async with listening(slow) as address, serving(three(), address, stop_timeout=0.1) as server:
        async with peer_of(server) as peer:
            await peer.send(move())
            await slow.stuck.wait()
            await hear_of_the_first(peer)
            if how == "abort":
                await peer.send(A_ABORT(0, 0))
                await slow.aborted.wait()
            elif how == "reset":
                peer.reset()
            elif how == "stop":
                await server.stop()
        await slow.aborted.wait()
        await server.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
