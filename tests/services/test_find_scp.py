"""C-FIND as SCP: each match when it is made, no more than the peer takes, and no handler that outlives its peer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian
from tests.sample_objects import EXPLICIT, IMPLICIT, VERIFICATION
from tests.server_options import server_options

import dimse
from dimse import Match, QueryRequest, Server, Status, uids
from dimse.dataset.codec import decode, encode
from dimse.messages.message import C_CANCEL_RQ, C_ECHO_RSP, C_FIND_RQ, C_FIND_RSP
from dimse.services.query_models import LEVELS
from dimse.testing import ScriptedPeer, associate_request, echo_request, message_pdvs
from dimse.upper_layer.pdu import A_ABORT, A_RELEASE_RP, A_RELEASE_RQ, PDV

FIND, PATIENT_FIND = uids.STUDY_ROOT_FIND, uids.PATIENT_ROOT_FIND
FIND_RQ = C_FIND_RQ(message_id=1, affected_sop_class_uid=FIND)
Handler = Callable[[QueryRequest], AsyncIterator[Dataset | Match]]


@asynccontextmanager
async def serving(handler: Handler, **options: object) -> AsyncIterator[Server]:
    server = Server("ARCHIVE", port=0, options=server_options(**options))
    server.on_c_find(handler)
    async with server:
        yield server


@asynccontextmanager
async def peer_of(server: Server, *contexts: tuple[str, Sequence[str]]) -> AsyncIterator[ScriptedPeer]:
    """C-FIND in Study Root goes on context 1, C-ECHO on 3."""
    async with await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(associate_request(*(contexts or ((FIND, [EXPLICIT]), (VERIFICATION, [IMPLICIT])))))
        yield peer


def find(message_id: int = 1, *, level: str | None = "STUDY", **keys: Any) -> list[PDV]:
    identifier = dataset(StudyInstanceUID="", **keys)
    if level is not None:
        identifier.QueryRetrieveLevel = level
    return message_pdvs(replace(FIND_RQ, message_id=message_id), encode(identifier, EXPLICIT))


def cancel(message_id: int = 1) -> list[PDV]:
    return message_pdvs(C_CANCEL_RQ(message_id_being_responded_to=message_id))


def dataset(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def study(number: int, *, size: int = 0) -> Dataset:
    """A match, with about `size` bytes."""
    return (
        dataset(StudyInstanceUID=f"1.2.{number}", EncapsulatedDocument=bytes(size))
        if size
        else dataset(StudyID=str(number))
    )


async def response_of(peer: ScriptedPeer, message_id: int = 1) -> tuple[C_FIND_RSP, Dataset | None]:
    received = await peer.receive_message()
    response = received.message
    assert isinstance(response, C_FIND_RSP)
    assert response.message_id_being_responded_to == message_id
    assert (response.status.category is dimse.StatusCategory.PENDING) == (received.data is not None)
    return response, None if received.data is None else decode(received.data, EXPLICIT)


async def outcome(peer: ScriptedPeer, message_id: int = 1) -> tuple[list[Dataset], C_FIND_RSP]:
    """All matches that still come, and the final response."""
    matches: list[Dataset] = []
    while True:
        response, identifier = await response_of(peer, message_id)
        if identifier is None:
            return matches, response
        matches.append(identifier)


def final(status: Status) -> C_FIND_RSP:
    """A final response that says this and no more."""
    return C_FIND_RSP(message_id_being_responded_to=1, status=status, affected_sop_class_uid=FIND)


async def status_of(peer: ScriptedPeer, message_id: int = 1) -> Status:
    return (await outcome(peer, message_id))[1].status


async def check_usable(peer: ScriptedPeer) -> None:
    """The association is: a C-ECHO is answered, with nothing before it, and so is a release."""
    await peer.send(message_pdvs(echo_request(99), context=3))
    assert isinstance((await peer.receive_message()).message, C_ECHO_RSP)
    await peer.release()


async def round_trip(server: Server) -> None:
    """What peers have sent before it is read by the server after it: its loop has looked at every socket since."""
    async with dimse.connect(f"ARCHIVE@127.0.0.1:{server.port}") as association:
        await dimse.CEchoSCU(association).echo()


async def nothing(_: QueryRequest) -> AsyncIterator[Dataset]:
    for match in list[Dataset]():
        yield match


async def two(_: QueryRequest) -> AsyncIterator[Dataset]:
    yield study(1)
    yield study(2)


class Waits:
    """A handler that yields one match and then waits for `go_on`; it notes how it ends."""

    def __init__(self) -> None:
        self.waiting, self.go_on, self.closed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.ended_by: type[BaseException] | None = None

    async def find(self, _: QueryRequest) -> AsyncIterator[Dataset]:
        try:
            yield study(1)
            self.waiting.set()
            await self.go_on.wait()
            yield study(2)
        except BaseException as error:
            self.ended_by = type(error)
            raise
        finally:
            await asyncio.sleep(0)  # a handler may have to wait while it cleans up
            self.closed.set()


class Floods:
    """A handler that would give 64 MB, and notes how much was asked for and how it ends."""

    SIZE = 256 * 1024

    def __init__(self) -> None:
        self.made = 0
        self.closed = asyncio.Event()
        self.ended_by: type[BaseException] | None = None

    async def find(self, _: QueryRequest) -> AsyncIterator[Dataset]:
        try:
            while self.made < 256:
                self.made += 1
                yield study(self.made, size=self.SIZE)
        except BaseException as error:
            self.ended_by = type(error)
            raise
        finally:
            self.closed.set()

    async def stopped(self, server: Server) -> None:
        """Nothing more is asked for, however much else the server does."""
        before = -1
        while self.made != before:
            before = self.made
            for _ in range(20):
                await round_trip(server)


# What is asked and answered


@pytest.mark.parametrize(
    ("model", "level"),
    [
        *((dimse.QueryRetrieveModel.PATIENT_ROOT, level) for level in LEVELS),
        *((dimse.QueryRetrieveModel.STUDY_ROOT, level) for level in LEVELS[1:]),
    ],
)
async def test_the_request(model: dimse.QueryRetrieveModel, level: dimse.QueryRetrieveLevel) -> None:
    seen: list[QueryRequest] = []

    async def handler(request: QueryRequest) -> AsyncIterator[Dataset]:
        seen.append(request)
        yield study(1)

    command = C_FIND_RQ(message_id=7, affected_sop_class_uid=model.sop_class("find"))
    identifier = dataset(QueryRetrieveLevel=str(level), PatientName="SMITH*", StudyDate="20240101-")
    async with serving(handler) as server, peer_of(server, (model.sop_class("find"), [EXPLICIT])) as peer:
        await peer.send(message_pdvs(command, encode(identifier, EXPLICIT), size=10))
        matches, final = await outcome(peer, 7)
        await peer.release()
    assert [found.QueryRetrieveLevel for found in matches] == [level]
    assert (final.status, final.affected_sop_class_uid) == (Status.SUCCESS, model.sop_class("find"))
    (query,) = seen
    assert (query.model, query.level, query.identifier) == (model, level, identifier)
    assert (query.command, query.move_destination) == (command, None)
    assert (query.association.calling_ae_title, query.association.called_ae_title) == ("PEER", "ARCHIVE")


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, str(ExplicitVRBigEndian), str(DeflatedExplicitVRLittleEndian)])
async def test_identifiers_are_in_the_syntax_of_the_context(syntax: str) -> None:
    async def handler(request: QueryRequest) -> AsyncIterator[Dataset]:
        yield dataset(PatientName=request.identifier.PatientName, NumberOfStudyRelatedSeries=300)

    async with (
        serving(handler) as server,
        dimse.connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=[(FIND, [syntax])]) as association,
    ):
        query = dimse.Query.studies(PatientName="SMITH*")
        (match,) = [match async for match in dimse.CFindSCU(association).find(query)]
    assert match == dataset(QueryRetrieveLevel="STUDY", PatientName="SMITH*", NumberOfStudyRelatedSeries=300)


@pytest.mark.parametrize(
    ("strictness", "status"),
    [(dimse.Strictness.LENIENT, Status.SUCCESS), (dimse.Strictness.STRICT, Status.CANNOT_UNDERSTAND)],
)
async def test_an_identifier_in_the_other_vr_form(strictness: dimse.Strictness, status: Status) -> None:
    keys = Dataset()
    keys.QueryRetrieveLevel, keys.PatientID = "STUDY", ""
    pdvs = message_pdvs(C_FIND_RQ(message_id=1, affected_sop_class_uid=FIND), encode(keys, IMPLICIT))
    async with serving(nothing, strictness=strictness) as server, peer_of(server) as peer:
        await peer.send(pdvs)
        assert await status_of(peer) == status
        await peer.release()


async def test_no_match() -> None:
    async with serving(nothing) as server, peer_of(server) as peer:
        await peer.send(find())
        assert await outcome(peer) == ([], final(Status.SUCCESS))
        await check_usable(peer)


async def test_the_level_of_the_query_is_that_of_its_matches() -> None:
    """Whatever the handler's own data set has, which stays as it is."""
    mine, other = study(1), dataset(QueryRetrieveLevel="SERIES", StudyID="2")

    async def handler(_: QueryRequest) -> AsyncIterator[Dataset]:
        yield mine
        yield other

    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send(find())
        matches, _ = await outcome(peer)
        await peer.release()
    assert matches == [dataset(QueryRetrieveLevel="STUDY", StudyID=each) for each in "12"]
    assert (mine, other) == (study(1), dataset(QueryRetrieveLevel="SERIES", StudyID="2"))


async def test_a_second_request_behind_the_first_is_answered_after_it() -> None:
    waits = Waits()
    async with serving(waits.find) as server, peer_of(server) as peer:
        await peer.send([*find(1), *find(2)])
        await waits.waiting.wait()
        waits.go_on.set()
        for message_id in (1, 2):
            matches, final = await outcome(peer, message_id)
            assert [match.StudyID for match in matches] == ["1", "2"]
            assert final.status == Status.SUCCESS
        await check_usable(peer)


@pytest.mark.parametrize("registered", [True, False])
async def test_what_has_no_handler_is_not_accepted(registered: bool) -> None:
    server = Server("ARCHIVE", port=0)
    if registered:
        server.on_c_find(nothing)
    async with server, await ScriptedPeer.connect(server.port) as peer:
        answer = await peer.associate(associate_request(*((uid, [EXPLICIT]) for uid in uids.QUERY_RETRIEVE)))
        accepted = [context.result == 0 for context in answer.presentation_contexts]
        assert accepted == [registered and uid in (FIND, PATIENT_FIND) for uid in uids.QUERY_RETRIEVE]
        await peer.release()


# As fast as it goes, and no faster


async def test_each_match_goes_out_when_it_is_made() -> None:
    waits = Waits()
    async with serving(waits.find) as server, peer_of(server) as peer:
        await peer.send(find())
        _, match = await response_of(peer)
        assert match is not None
        assert match.StudyID == "1"
        assert not waits.go_on.is_set()
        waits.go_on.set()
        assert [match.StudyID for match in (await outcome(peer))[0]] == ["2"]
        await check_usable(peer)


async def test_a_handler_that_never_waits_does_not_keep_the_loop() -> None:
    """A C-CANCEL is seen, and other associations go on, though the socket takes all that there is."""
    made = 0

    async def handler(_: QueryRequest) -> AsyncIterator[Dataset]:
        nonlocal made
        for made in range(1, 1001):
            yield study(made)

    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send(find())
        await response_of(peer)
        assert made < 1000
        await peer.send(cancel())
        assert await status_of(peer) == Status.CANCEL
        await check_usable(peer)


async def test_a_requestor_that_does_not_read_is_waited_for() -> None:
    """And its C-CANCEL is read all the same."""
    flood = Floods()
    async with serving(flood.find) as server, peer_of(server) as peer:
        await peer.send(find())
        await flood.stopped(server)
        asked = flood.made
        assert asked * flood.SIZE < 20_000_000
        await peer.send(cancel())
        await round_trip(server)
        matches, final = await outcome(peer)
        assert (len(matches), final.status) == (asked, Status.CANCEL)
        assert flood.ended_by is GeneratorExit
        await check_usable(peer)


async def test_a_requestor_that_never_reads_again_is_aborted() -> None:
    flood = Floods()
    async with serving(flood.find, timeouts=dimse.Timeouts(idle=0.2)) as server, peer_of(server) as peer:
        await peer.send(find())
        await flood.closed.wait()
        assert flood.ended_by is GeneratorExit
        assert not server.associations


async def test_a_handler_may_take_longer_than_the_idle_timeout() -> None:
    waits = Waits()
    async with serving(waits.find, timeouts=dimse.Timeouts(idle=0.1)) as server, peer_of(server) as peer:
        await peer.send(find())
        await waits.waiting.wait()
        for _ in range(2):
            async with peer_of(server) as idle:
                await idle.expect_abort(0, 0)
        waits.go_on.set()
        matches, final = await outcome(peer)
        assert (len(matches), final.status) == (2, Status.SUCCESS)
        await check_usable(peer)


# C-CANCEL


async def test_a_cancel_closes_a_handler_that_waits() -> None:
    waits = Waits()
    async with serving(waits.find) as server, peer_of(server) as peer:
        await peer.send(find())
        await waits.waiting.wait()
        await peer.send(cancel())
        matches, final = await outcome(peer)
        assert (len(matches), final.status, final.error_comment) == (1, Status.CANCEL, None)
        assert waits.closed.is_set()
        assert waits.ended_by is asyncio.CancelledError
        waits.go_on.set()
        await peer.send(find(2))
        assert await status_of(peer, 2) == Status.SUCCESS
        await check_usable(peer)


async def test_a_cancel_right_behind_the_request() -> None:
    asked: list[QueryRequest] = []

    async def handler(request: QueryRequest) -> AsyncIterator[Dataset]:
        asked.append(request)
        yield study(1)

    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send([*find(), *cancel()])
        assert await outcome(peer) == ([], final(Status.CANCEL))
        await check_usable(peer)
    assert not asked


async def test_a_cancel_for_nothing_is_ignored() -> None:
    waits = Waits()
    async with serving(waits.find) as server, peer_of(server) as peer:
        await peer.send(cancel(1), find(1))
        await waits.waiting.wait()
        await peer.send(cancel(2))
        await round_trip(server)
        waits.go_on.set()
        matches, final = await outcome(peer)
        assert (len(matches), final.status) == (2, Status.SUCCESS)
        await peer.send(cancel(1), find(2))
        assert await status_of(peer, 2) == Status.SUCCESS
        await check_usable(peer)


async def test_a_handler_that_swallows_the_cancellation() -> None:
    """It is closed at its next match, which is not sent."""
    waiting, ends = asyncio.Event(), list[type[BaseException]]()

    async def handler(_: QueryRequest) -> AsyncIterator[Dataset]:
        try:
            waiting.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            ends.append(type(error))
        try:
            yield study(1)
        except GeneratorExit as error:
            ends.append(type(error))
            raise

    async with serving(handler) as server, peer_of(server) as peer:
        for message_id in (1, 2):
            waiting.clear()
            await peer.send(find(message_id))
            await waiting.wait()
            await peer.send(cancel(message_id))
            matches, final = await outcome(peer, message_id)
            assert (matches, final.status) == ([], Status.CANCEL)
        await check_usable(peer)
    assert ends == [asyncio.CancelledError, GeneratorExit] * 2


async def test_a_handler_that_makes_another_error_of_the_cancellation() -> None:
    """As drivers of databases do. That the next one awaits what was cancelled has nothing to do with it."""
    waiting = asyncio.Event()

    async def handler(request: QueryRequest) -> AsyncIterator[Dataset]:
        try:
            waiting.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionResetError from None
        yield study(1)

    async def awaits_what_was_cancelled(_: QueryRequest) -> AsyncIterator[Dataset]:
        other = asyncio.get_running_loop().create_future()
        other.cancel()
        yield study(await other)

    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send(find(1))
        await waiting.wait()
        await peer.send(cancel(1))
        assert await status_of(peer) in (Status.CANCEL, Status.CANNOT_UNDERSTAND)
        server.on_c_find(awaits_what_was_cancelled)
        await peer.send(find(2))
        assert (await status_of(peer, 2)).category is dimse.StatusCategory.FAILURE
        await check_usable(peer)


# What fails


async def failing(_: QueryRequest) -> AsyncIterator[Dataset]:
    yield study(1)
    raise KeyError("SECRET^NAME")


async def yields_nonsense(_: QueryRequest) -> AsyncIterator[Dataset]:
    yield study(1)
    nonsense = dataset(StudyID="2")
    nonsense.add_new("Rows", "US", "SECRET")
    yield nonsense


async def yields_none(_: QueryRequest) -> AsyncIterator[Dataset]:
    yield study(1)
    yield None  # type: ignore[misc]


async def says_pending(_: QueryRequest) -> AsyncIterator[Dataset]:
    yield study(1)
    raise dimse.StatusError(Status.PENDING, "SECRET", "SECRET")


@pytest.mark.parametrize("handler", [failing, yields_nonsense, yields_none, says_pending])
async def test_a_handler_that_fails(handler: Handler, caplog: pytest.LogCaptureFixture) -> None:
    """The requestor learns that it did and not with what words: those may be of a patient."""
    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send(find())
        matches, final = await outcome(peer)
        assert [match.StudyID for match in matches] == ["1"]
        assert final.status == Status.CANNOT_UNDERSTAND
        assert final.error_comment
        assert "SECRET" not in final.error_comment
        await check_usable(peer)
    assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR"]


@pytest.mark.parametrize(
    ("status", "comment", "sent"),
    [
        (0xA700, "the disk is full", "the disk is full"),
        (0x0124, None, None),
        (0xC123, "\xe9" * 80, "?" * 64),
    ],
)
async def test_a_status_that_the_handler_chose(status: int, comment: str | None, sent: str | None) -> None:
    async def handler(_: QueryRequest) -> AsyncIterator[Dataset]:
        yield study(1)
        raise dimse.StatusError(Status(status), "C-FIND", comment)

    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send(find())
        matches, final = await outcome(peer)
        assert (len(matches), final.status, final.error_comment) == (1, status, sent)
        await check_usable(peer)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (find(level=None), 0xA900),
        (find(level=""), 0xA900),
        (find(level="FRAME"), 0xA900),
        (find(level="PATIENT"), 0xA900),
        (message_pdvs(replace(FIND_RQ, dataset_follows=False)), 0xA900),
        (message_pdvs(FIND_RQ, b""), 0xA900),
        (message_pdvs(FIND_RQ, b"SECRET" * 5), 0xC000),
        (message_pdvs(FIND_RQ, encode(dataset(StudyID="1"), EXPLICIT)[:-1]), 0xC000),
    ],
    ids=["missing", "empty", "unknown", "patient", "no identifier", "empty identifier", "nonsense", "cut short"],
)
async def test_a_request_that_makes_no_sense(asked: list[PDV], status: int, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[QueryRequest] = []

    async def handler(request: QueryRequest) -> AsyncIterator[Dataset]:
        seen.append(request)
        yield study(1)

    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send(asked)
        matches, final = await outcome(peer)
        assert (matches, final.status, bool(final.error_comment)) == ([], status, True)
        assert "SECRET" not in str(final)
        await check_usable(peer)
    assert not seen
    assert not [record for record in caplog.records if record.exc_info]


async def test_keys_that_would_take_long_to_match(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: QueryRequest) -> AsyncIterator[Dataset]:
        for match in dimse.Matcher(request.identifier).find([study(1)]):
            yield match

    async with serving(handler) as server, peer_of(server) as peer:
        key = b"\x20\x00\x10\x00SH" + (2000).to_bytes(2, "little") + b"?" * 2000
        await peer.send(message_pdvs(FIND_RQ, encode(dataset(QueryRetrieveLevel="STUDY"), EXPLICIT) + key))
        matches, final = await outcome(peer)
        comment = "the key (0020,0010) has more than 1024 characters"
        assert (matches, final.status, final.error_comment) == ([], Status.CANNOT_UNDERSTAND, comment)
        await check_usable(peer)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(("more", "status"), [(0, Status.SUCCESS), (2, Status.OUT_OF_RESOURCES)])
async def test_an_identifier_of_over_16_mib_is_refused(more: int, status: Status) -> None:
    keys = encode(dataset(QueryRetrieveLevel="STUDY"), EXPLICIT)
    padding = dataset(EncapsulatedDocument=bytes(2**24 - len(keys) - 12 + more))
    async with serving(nothing) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(FIND_RQ, keys + encode(padding, EXPLICIT), size=500_000))
        assert await status_of(peer) == status
        await check_usable(peer)


# The end of the association


@pytest.mark.parametrize("how", ["abort", "close", "reset"])
@pytest.mark.parametrize("reads", [True, False])
async def test_the_end_of_the_association_closes_the_handler(
    how: str, reads: bool, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Waits() if reads else Floods()
    async with serving(handler.find) as server:
        async with peer_of(server) as peer:
            await peer.send(find())
            if isinstance(handler, Waits):
                await handler.waiting.wait()
            else:
                await handler.stopped(server)
            if how == "abort":
                await peer.send(A_ABORT(0, 0))
                await handler.closed.wait()
            elif how == "reset":
                peer.reset()
        await handler.closed.wait()
        await server.stop()
    assert handler.ended_by is (asyncio.CancelledError if reads else GeneratorExit)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_a_release_while_the_handler_works_is_answered_after_it() -> None:
    waits = Waits()
    async with serving(waits.find) as server, peer_of(server) as peer:
        await peer.send(find())
        await waits.waiting.wait()
        await peer.send(A_RELEASE_RQ())
        await round_trip(server)
        waits.go_on.set()
        matches, final = await outcome(peer)
        assert (len(matches), final.status) == (2, Status.SUCCESS)
        await peer.expect(A_RELEASE_RP)


async def test_a_release_in_the_middle_of_the_identifier(caplog: pytest.LogCaptureFixture) -> None:
    """It is answered, as the standard says, and is nothing that went wrong here."""
    async with serving(two) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(FIND_RQ, bytes(100), size=50)[:-1])
        await peer.send(A_RELEASE_RQ())
        await peer.expect(A_RELEASE_RP)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_stop_does_not_wait_for_ever_for_a_handler() -> None:
    waits = Waits()
    async with serving(waits.find, stop_timeout=0.1) as server, peer_of(server) as peer:
        await peer.send(find())
        await waits.waiting.wait()
        await server.stop()
        assert waits.closed.is_set()
        await peer.expect_abort(0, 0)


async def test_a_match_can_say_that_keys_were_not_supported() -> None:
    async def handler(_: QueryRequest) -> AsyncIterator[Dataset | Match]:
        yield study(1)
        yield Match(study(2), unsupported_keys=True)
        yield Match(study(3))

    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send(*find())
        statuses = [(await response_of(peer))[0].status for _ in range(4)]
        assert statuses == [0xFF00, 0xFF01, 0xFF00, 0x0000]
    async with serving(handler) as server, dimse.connect(f"ARCHIVE@127.0.0.1:{server.port}") as association:
        async with dimse.CFindSCU(association).find(dimse.Query.studies()) as matches:
            counts = [matches.unsupported_keys async for _ in matches]
        assert counts == [0, 1, 1]


@pytest.mark.parametrize("syntax", [IMPLICIT, str(ExplicitVRBigEndian)])
async def test_a_match_may_be_encoded_already(syntax: str) -> None:
    async def handler(request: QueryRequest) -> AsyncIterator[Match]:
        yield Match(encode(dataset(QueryRetrieveLevel="STUDY", PatientID="1"), request.transfer_syntax_uid))

    async with (
        serving(handler) as server,
        dimse.connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=[(FIND, [syntax])]) as association,
    ):
        (match,) = [match async for match in dimse.CFindSCU(association).find(dimse.Query.studies())]
    assert match == dataset(QueryRetrieveLevel="STUDY", PatientID="1")
