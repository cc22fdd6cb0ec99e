"""C-FIND as SCU: matches as they come and no faster, what a peer may get wrong, and what runs out of time.

How it is left early is in `test_move_scu`, for all operations with many responses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
from pydicom.dataset import Dataset
from tests.sample_objects import EXPLICIT, IMPLICIT, VERIFICATION

from dimse import (
    AssociationAborted,
    AssociationError,
    AssociationTimeout,
    CEchoSCU,
    CFindSCU,
    ClientOptions,
    ConnectionLost,
    DatasetError,
    LocalProtocolError,
    OperationTimeout,
    PresentationContextError,
    Query,
    QueryRequest,
    QueryRetrieveLevel,
    QueryRetrieveModel,
    RemoteProtocolError,
    Server,
    Status,
    StatusError,
    Strictness,
    Timeouts,
    connect,
)
from dimse.dataset.codec import decode, encode
from dimse.messages.message import C_ECHO_RSP, C_FIND_RQ, C_FIND_RSP, C_MOVE_RSP
from dimse.network.association import exchange_of
from dimse.services.find_scu import FindResults
from dimse.testing import Received, Script, ScriptedPeer, listening, message_pdvs, response, store_request, wire
from dimse.uids import PATIENT_ROOT_FIND, STUDY_ROOT_FIND

CONTEXTS = [(STUDY_ROOT_FIND, [EXPLICIT]), (VERIFICATION, [IMPLICIT])]
LENIENT = ClientOptions(strictness=Strictness.LENIENT)
PENDING, FINAL = Status.PENDING, Status.SUCCESS
STUDIES = Query.studies(PatientName="Smith*")
CUT_SHORT = encode(Dataset(), EXPLICIT) + b"\x10\0\x20\0LO\x40\0 too short"


def match(patient_id: str, syntax: str = EXPLICIT, comments: int = 0) -> bytes:
    dataset = Dataset()
    dataset.PatientID = patient_id
    dataset.TextValue = "x" * comments
    return encode(dataset, syntax)


async def asked(peer: ScriptedPeer) -> Received:
    """The association, and the C-FIND that comes on it."""
    await peer.accept()
    received = await peer.receive_message()
    assert isinstance(received.message, C_FIND_RQ)
    return received


async def ids(results: FindResults, found: list[str] | None = None) -> list[str]:
    """The Patient IDs of all matches, also in `found` if it raises."""
    found = [] if found is None else found
    async for match in results:
        found.append(match.PatientID)
    return found


# What is asked and what comes back


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
async def test_identifiers_are_in_the_negotiated_syntax(syntax: str) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        assert isinstance(received.message, C_FIND_RQ)
        assert received.message.affected_sop_class_uid == STUDY_ROOT_FIND
        identifier = decode(received.data or b"", syntax)
        assert (identifier.QueryRetrieveLevel, identifier.PatientName) == ("STUDY", "Smith*")
        assert "StudyInstanceUID" in identifier
        await peer.send(response(received, PENDING, match("1", syntax)), response(received, FINAL))
        await peer.answer_release()

    async with (
        listening(script) as address,
        connect(address, contexts=[(STUDY_ROOT_FIND, [syntax])]) as association,
    ):
        results = CFindSCU(association).find(STUDIES)
        assert results.status is None
        assert await ids(results) == ["1"]
        assert results.status == Status.SUCCESS


async def test_a_raw_identifier() -> None:
    keys = Dataset()
    keys.PatientID = "4711"

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        assert isinstance(received.message, C_FIND_RQ)
        assert received.message.affected_sop_class_uid == PATIENT_ROOT_FIND
        identifier = decode(received.data or b"", EXPLICIT)
        assert [element.keyword for element in identifier] == ["QueryRetrieveLevel", "PatientID"]
        assert (identifier.QueryRetrieveLevel, identifier.PatientID) == ("SERIES", "4711")
        await peer.send(response(received, FINAL))
        await peer.answer_release()

    async with (
        listening(script) as address,
        connect(address, contexts=[(PATIENT_ROOT_FIND, [EXPLICIT])]) as association,
    ):
        results = CFindSCU(association).find(QueryRetrieveLevel.SERIES, keys, model=QueryRetrieveModel.PATIENT_ROOT)
        assert await ids(results) == []
        with pytest.raises(PresentationContextError, match=r"Study Root.*not proposed"):
            CFindSCU(association).find(STUDIES)


async def test_pending_with_a_warning_is_a_match_too() -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        matches = [response(received, status, match(f"{status:X}")) for status in (0xFF01, 0xFF00, 0xFF01)]
        await peer.send(*matches, response(received, FINAL))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        assert await ids(CFindSCU(association).find(STUDIES)) == ["FF01", "FF00", "FF01"]


async def test_our_own_server_answers_one_after_the_other() -> None:
    server = Server(port=0)

    @server.on_c_find
    async def find(request: QueryRequest):  # type: ignore[no-untyped-def]
        for number in range(200):
            found = Dataset()
            found.PatientID = f"{request.identifier.PatientName}{number}"
            yield found

    async with server, connect(f"ANY-SCP@127.0.0.1:{server.port}", contexts=CONTEXTS) as association:
        for _ in range(2):
            assert await ids(CFindSCU(association).find(STUDIES)) == [f"Smith*{number}" for number in range(200)]


# As they come


async def test_a_match_is_given_before_the_next_is_sent() -> None:
    taken = [asyncio.Event() for _ in range(3)]

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        for number, event in enumerate(taken):
            await peer.send(response(received, PENDING, match(str(number))))
            await event.wait()
        await peer.send(response(received, FINAL))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        async with CFindSCU(association).find(STUDIES) as matches:
            async for found in matches:
                taken[int(found.PatientID)].set()
        assert all(event.is_set() for event in taken)


async def test_no_more_is_read_than_is_taken() -> None:
    """64 MB of matches do not fit into the buffers of a socket: the peer has to wait for the consumer."""
    count, unsent = 2000, list[ScriptedPeer]()

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        unsent.append(peer)
        await peer.send(wire(response(received, PENDING, match("1", comments=32_000))) * count)
        await peer.send(response(received, FINAL))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        taken = 0
        async for _ in CFindSCU(association).find(STUDIES):
            taken += 1
            if taken == 1:
                for _turn in range(2000):  # each is enough to receive a full buffer
                    await asyncio.sleep(0)
                assert unsent[0].writer.transport.get_write_buffer_size() > count * 16_000
        assert taken == count


# Failures


async def test_a_failure_status_has_the_peers_comment() -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(response(received, PENDING, match("1")))
        await peer.send(response(received, 0xA700, error_comment="too many"))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        results = CFindSCU(association).find(STUDIES)
        assert (await anext(results)).PatientID == "1"
        with pytest.raises(StatusError, match=r"C-FIND: 0xA700 Out of resources \(too many\)") as caught:
            await anext(results)
        assert (caught.value.status, caught.value.comment, results.status) == (0xA700, "too many", 0xA700)
        with pytest.raises(StopAsyncIteration):
            await anext(results)


async def unreadable(peer: ScriptedPeer) -> None:
    received = await asked(peer)
    await peer.send(*(response(received, PENDING, data) for data in (match("1"), CUT_SHORT, match("2"))))
    await peer.send(response(received, FINAL))
    await peer.answer_release()


async def test_an_identifier_that_cannot_be_read_harms_no_other() -> None:
    found: list[str] = []
    async with listening(unreadable) as address, connect(address, contexts=CONTEXTS) as association:
        with pytest.raises(ExceptionGroup) as caught:
            await ids(CFindSCU(association).find(STUDIES), found)
        assert found == ["1", "2"]
        assert [type(error) for error in caught.value.exceptions] == [DatasetError]
        assert "too short" not in str(caught.value.exceptions[0])


@pytest.mark.parametrize(
    ("agreed", "used", "form"), [(EXPLICIT, IMPLICIT, "Implicit"), (IMPLICIT, EXPLICIT, "Explicit")]
)
@pytest.mark.parametrize("options", [ClientOptions(), LENIENT], ids=["strict", "lenient"])
@pytest.mark.parametrize("nested", [True, False])
async def test_identifiers_in_the_other_vr_form(
    agreed: str, used: str, form: str, options: ClientOptions, nested: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A lenient requestor reads them, with one warning; to a strict one each is a failure, and no more."""

    def identifier(patient: str) -> bytes:
        dataset = decode(match(patient), EXPLICIT)
        if nested:
            dataset.ProcedureCodeSequence = [Dataset()]
            dataset.ProcedureCodeSequence[0].CodeValue = "X"
        return encode(dataset, used)

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(*(response(received, PENDING, identifier(patient)) for patient in "12"))
        await peer.send(response(received, FINAL))
        await peer.answer_release()

    contexts = [(STUDY_ROOT_FIND, [agreed])]
    async with listening(script) as address, connect(address, contexts=contexts, options=options) as association:
        results = CFindSCU(association).find(STUDIES, raise_failures=False)
        found = await ids(results)
    told = f"the identifier is in {form} VR"
    if options is LENIENT:
        assert (found, results.failures) == (["1", "2"], [])
        assert [record.levelname for record in caplog.records if told in record.getMessage()] == ["WARNING"]
    else:
        assert found == []
        assert [told in str(failure) and "--lenient" in str(failure) for failure in results.failures] == [True, True]


async def test_failures_may_be_looked_at_instead() -> None:
    async with listening(unreadable) as address, connect(address, contexts=CONTEXTS) as association:
        results = CFindSCU(association).find(STUDIES, raise_failures=False)
        assert await ids(results) == ["1", "2"]
        assert [type(error) for error in results.failures] == [DatasetError]


async def test_a_failure_status_may_be_looked_at_instead() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.send(response(await asked(peer), 0xC000))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        results = CFindSCU(association).find(STUDIES, raise_failures=False)
        assert await ids(results) == []
        (failure,) = results.failures
        assert isinstance(failure, StatusError)
        assert failure.status == results.status == 0xC000


# What breaks the protocol


def aborted(*messages: tuple[object, bytes | None], reason: int = 5) -> Script:
    """Says this, and is aborted for it."""

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        for message, data in messages:
            pdvs = response(received, message, data) if isinstance(message, int) else message_pdvs(message, data)  # type: ignore[arg-type]
            with suppress(ConnectionError):
                await peer.send(pdvs)
        await peer.expect_abort(2, reason)

    return script


def ended(status: int, message_id: int = 1) -> C_FIND_RSP:
    return C_FIND_RSP(message_id_being_responded_to=message_id, status=Status(status))


BROKEN: Sequence[tuple[str, Script, str]] = [
    ("another message ID", aborted((ended(FINAL, 7), None)), "does not await it"),
    ("C-ECHO-RSP", aborted((C_ECHO_RSP(message_id_being_responded_to=1, status=FINAL), None)), "does not await it"),
    ("C-MOVE-RSP", aborted((C_MOVE_RSP(message_id_being_responded_to=1, status=PENDING), None)), "does not await it"),
    ("C-STORE-RQ", aborted((store_request(), b"")), "proposed no SCP role"),
    (
        "another SOP class",
        aborted((replace(ended(FINAL), affected_sop_class_uid="1.2"), None), reason=6),
        "another Affected SOP Class UID",
    ),
    ("over 16 MiB", aborted((PENDING, bytes(16 * 1024 * 1024 + 2)), reason=0), "more than 16777216 bytes"),
]


@pytest.mark.parametrize(("script", "why"), [each[1:] for each in BROKEN], ids=[each[0] for each in BROKEN])
async def test_it_is_aborted_where_a_strict_reader_has_to(script: Script, why: str) -> None:
    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        async with CFindSCU(association).find(STUDIES) as results:
            with pytest.raises(RemoteProtocolError, match=why):
                await anext(results)
        assert not association.is_open


async def test_a_response_after_the_final_one_is_aborted() -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(wire(response(received, FINAL), response(received, PENDING, match("late"))))
        await peer.expect_abort(2, 5)

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        assert await ids(CFindSCU(association).find(STUDIES)) == []
        await exchange_of(association).over
        assert isinstance(association.error, RemoteProtocolError)


@pytest.mark.parametrize("options", [ClientOptions(), LENIENT], ids=["strict", "lenient"])
@pytest.mark.parametrize("announced", [True, False])
async def test_what_means_nothing_is_skipped(announced: bool, options: ClientOptions) -> None:
    """Pending responses without an identifier, and a final one with a data set, announced or not."""

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        nothing = response(received, PENDING, dataset_follows=announced)
        await peer.send(nothing, response(received, PENDING, match("1")), nothing)
        await peer.send(response(received, FINAL, match("2", comments=60_000), dataset_follows=announced))
        await peer.answer_echo()
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS, options=options) as association:
        assert await ids(CFindSCU(association).find(STUDIES)) == ["1"]
        await CEchoSCU(association).echo()


@pytest.mark.parametrize("status", [0xB000, 0xB100, 0x0001])
async def test_a_final_status_that_the_service_does_not_have_is_told(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(response(received, PENDING, match("1")), response(received, status))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        results = CFindSCU(association).find(STUDIES)
        assert await ids(results) == ["1"]
        assert results.status == status
    (record,) = (record for record in caplog.records if f"C-FIND ended with 0x{status:04X}" in record.getMessage())
    assert record.levelname == "WARNING"


async def test_a_failure_that_announces_a_data_set_is_told_with_its_comment() -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(response(received, 0xC000, error_comment="no such table", dataset_follows=True))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        with pytest.raises(StatusError, match="no such table"):
            await ids(CFindSCU(association).find(STUDIES))


# What ends the association


async def vanishes(peer: ScriptedPeer, *matches: bytes) -> None:
    received = await asked(peer)
    await peer.send(*(response(received, PENDING, data) for data in matches))
    begun = wire(response(received, PENDING, match("cut")))
    await peer.send(begun[: len(begun) - 7])


async def test_a_lost_connection_is_told_at_once() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await vanishes(peer, match("1"), match("2"))

    found: list[str] = []
    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        with pytest.raises(ConnectionLost):
            await ids(CFindSCU(association).find(STUDIES), found)
        assert found == ["1", "2"]


@pytest.mark.parametrize("raise_failures", [True, False])
async def test_a_lost_connection_takes_the_earlier_failures_with_it(raise_failures: bool) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await vanishes(peer, CUT_SHORT)

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        results = CFindSCU(association).find(STUDIES, raise_failures=raise_failures)
        with pytest.raises(ExceptionGroup if raise_failures else ConnectionLost) as caught:
            await anext(results)
        if isinstance(caught.value, ExceptionGroup):
            assert [type(error) for error in caught.value.exceptions] == [ConnectionLost, DatasetError]
        assert [type(error) for error in results.failures] == [DatasetError]


async def test_the_peer_releases_in_the_middle() -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(response(received, PENDING, match("1")))
        await peer.release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        results = CFindSCU(association).find(STUDIES)
        assert (await anext(results)).PatientID == "1"
        with pytest.raises(AssociationError, match="released"):
            await anext(results)


async def test_it_ends_with_the_association() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await asked(peer)
        await peer.expect_abort(0, 0)

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        results = CFindSCU(association).find(STUDIES)
        waiting = asyncio.create_task(anext(results))
        await asyncio.sleep(0)
        association.abort()
        with pytest.raises(AssociationAborted):
            await waiting
        with pytest.raises(AssociationAborted):
            await anext(CFindSCU(association).find(STUDIES))


async def test_one_operation_at_a_time() -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(*(response(received, PENDING, match(patient)) for patient in "12"), response(received, FINAL))
        await peer.answer_echo()
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        async with CFindSCU(association).find(STUDIES) as first:
            assert (await anext(first)).PatientID == "1"
            second = CFindSCU(association).find(STUDIES)
            with pytest.raises(LocalProtocolError, match="C-FIND is under way"):
                await anext(second)
            with pytest.raises(LocalProtocolError, match="C-FIND is under way"):
                await CEchoSCU(association).echo()
            assert await ids(first) == ["2"]
        await CEchoSCU(association).echo()


# Timeouts

QUICK = ClientOptions(timeouts=Timeouts(find=0.2, cancel=5))


@pytest.mark.parametrize("matches", [0, 1])
async def test_a_response_that_does_not_come(matches: int) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(*[response(received, PENDING, match("1"))] * matches)
        await peer.expect_abort(0, 0)

    async with listening(script) as address, connect(address, contexts=CONTEXTS, options=QUICK) as association:
        results = CFindSCU(association).find(STUDIES)
        for _ in range(matches):
            await anext(results)
        with pytest.raises(AssociationTimeout, match=r"C-FIND: no progress for 0.2 s \(Timeouts.find\)") as caught:
            await anext(results)
        assert caught.value.timer == "find"
        assert not association.is_open


@pytest.mark.parametrize("waits", [True, False], ids=["the next has come", "the peer waits too"])
async def test_the_consumers_own_time_does_not_count(waits: bool) -> None:
    done = asyncio.Event()

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(response(received, PENDING, match("1")))
        if not waits:
            await done.wait()
        await peer.send(response(received, PENDING, match("2")), response(received, FINAL))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS, options=QUICK) as association:
        found = []
        async for one in CFindSCU(association).find(STUDIES):
            found.append(one.PatientID)
            await asyncio.sleep(0.5)  # longer than the timeout: what the consumer does
            done.set()
        assert found == ["1", "2"]


@pytest.mark.parametrize("entered", [True, False], ids=["async with", "async for"])
async def test_no_time_is_left_in_all(entered: bool) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.expect_cancel(received)
        await peer.send(response(received, PENDING, match("late")), response(received, Status.CANCEL))
        await peer.answer_echo()
        await peer.answer_release()

    options = ClientOptions(timeouts=Timeouts(find=1))
    async with listening(script) as address, connect(address, contexts=CONTEXTS, options=options) as association:
        results = CFindSCU(association).find(STUDIES, total_timeout=0.1)
        if entered:
            await results.__aenter__()
        with pytest.raises(OperationTimeout, match=r"C-FIND: not finished after 0.1 s") as caught:
            await anext(results)
        assert caught.value.seconds == 0.1
        with pytest.raises(StopAsyncIteration):
            await anext(results)
        await CEchoSCU(association).echo()


async def test_the_total_counts_what_the_consumer_takes() -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(response(received, PENDING, match("1")))
        await peer.expect_cancel(received)
        await peer.send(response(received, Status.CANCEL))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        results = CFindSCU(association).find(STUDIES, total_timeout=0.2)
        await anext(results)
        await asyncio.sleep(0.3)  # what the consumer does
        with pytest.raises(OperationTimeout):
            await anext(results)


async def test_a_raw_query_may_be_of_any_sop_class() -> None:
    worklist = "1.2.840.10008.5.1.4.31"
    requests = list[Received]()

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        requests.append(await peer.receive_message())
        await peer.send(response(requests[0], 0))
        await peer.answer_release()

    wanted = Dataset()
    wanted.PatientID = "4711"
    async with listening(script) as address, connect(address, contexts=[(worklist, [EXPLICIT])]) as association:
        assert [match async for match in CFindSCU(association).find(None, wanted, model=worklist)] == []
    message, data = requests[0].message, requests[0].data
    assert isinstance(message, C_FIND_RQ)
    assert message.affected_sop_class_uid == worklist
    assert decode(data or b"", EXPLICIT) == wanted
