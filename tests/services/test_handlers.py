"""What a handler answers: a status with an Error Comment, returned or raised, in the same way for all services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from itertools import product

import pytest
from pydicom.dataset import Dataset
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, VERIFICATION, encoded, instance
from tests.services.leaving import ALL, STORAGE, STUDY, asked, usable, use

import dimse
from dimse import CGetSCU, QueryRequest, Server, Status, StatusError, SubOperationFailed, connect, uids
from dimse.dataset.codec import encode
from dimse.messages.message import C_FIND_RQ, C_STORE_RSP, Response
from dimse.services.verification import EchoRequest
from dimse.testing import (
    Received,
    ScriptedPeer,
    associate_request,
    echo_request,
    listening,
    message_pdvs,
    response,
    store_request,
)
from dimse.upper_layer.pdu import PDV

WORDS = "the quota of this department is used up, ask the archive's administrator for more of it"


def returned(status: int, comment: str | None) -> int:
    return Status(status).with_comment(comment)


def raised(status: int, comment: str | None) -> int:
    raise StatusError(Status(status), comment)


def raised_with_its_operation(status: int, comment: str | None) -> int:
    raise StatusError(Status(status), "another C-STORE", comment)


Say = Callable[[int, str | None], int]
SAY = pytest.mark.parametrize("say", [returned, raised, raised_with_its_operation])
STATUSES = pytest.mark.parametrize(
    ("status", "comment", "sent"),
    [
        (0xC001, WORDS, WORDS[:64]),
        (0xA700, "two\r\nlines \x1b[31m\\ \xe9", "two lines ?[31m? ?"),
        (0x0124, None, None),
        (0xB000, "kept, but not as it came", "kept, but not as it came"),
        (0x0000, "well done", "well done"),
    ],
    ids=lambda value: f"0x{value:04X}" if isinstance(value, int) else "",
)


def server_that(say: Callable[[], int]) -> Server:
    server = Server("ARCHIVE", port=0)

    @server.on_c_echo
    async def on_echo(_: EchoRequest) -> int:
        return say()

    @server.on_c_store
    async def on_store(_: dimse.StoreRequest) -> int:
        return say()

    @server.on_c_find
    async def on_find(_: QueryRequest) -> AsyncIterator[Dataset]:
        say()
        yield Dataset()  # never

    return server


def find() -> list[PDV]:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    command = C_FIND_RQ(message_id=1, affected_sop_class_uid=uids.STUDY_ROOT_FIND)
    return message_pdvs(command, encode(identifier, EXPLICIT), context=5)


REQUESTS = {
    "C-ECHO": message_pdvs(echo_request(), context=1),
    "C-STORE": message_pdvs(store_request(), encoded(instance(pixels=200_000)), context=3),
    "C-FIND": find(),
}


async def answer_of(server: Server, pdvs: list[PDV]) -> Response:
    contexts = (VERIFICATION, [IMPLICIT]), (CT, [EXPLICIT]), (uids.STUDY_ROOT_FIND, [EXPLICIT])
    async with server, await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(associate_request(*contexts))
        await peer.send(pdvs)
        answer = (await peer.receive_message()).message
        assert isinstance(answer, Response)
        await peer.release()
    return answer


@pytest.mark.parametrize(
    ("service", "say"),
    [
        *product(("C-ECHO", "C-STORE"), (returned, raised, raised_with_its_operation)),
        *product(("C-FIND",), (raised, raised_with_its_operation)),
    ],
)
@STATUSES
async def test_a_server_answers_what_its_handler_says(
    service: str, say: Say, status: int, comment: str | None, sent: str | None
) -> None:
    answer = await answer_of(server_that(lambda: say(status, comment)), REQUESTS[service])
    assert (answer.status, answer.error_comment) == (status, sent)


def raised_with_its_tags(status: Status) -> int:
    raise StatusError(status)


def raised_with_other_words(status: Status) -> int:
    raise StatusError(Status(status).with_comment("other words", *status.offending), status.comment)


@pytest.mark.parametrize("service", ["C-STORE", "C-FIND"])
@pytest.mark.parametrize("say", [raised_with_its_tags, raised_with_other_words])
async def test_it_names_what_is_wrong(service: str, say: Callable[[Status], int]) -> None:
    status = Status(0xA900).with_comment("no patient", 0x00100010, 0x00100020)
    answer = await answer_of(server_that(lambda: say(status)), REQUESTS[service])
    assert (answer.status, answer.error_comment) == (0xA900, "no patient")
    assert answer.offending_element == (0x00100010, 0x00100020)


@pytest.mark.parametrize(
    ("service", "status", "wrong"),
    [
        *product(("C-ECHO", "C-STORE"), (0x0110,), (0xFF00, 0xFF01, 0xFE00)),
        *product(("C-FIND",), (0xC000,), (0xFF00, 0xFF01)),
    ],
)
async def test_what_is_no_final_status_is_an_error_of_the_handler(
    service: str, status: int, wrong: int, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await answer_of(server_that(lambda: raised(wrong, "SECRET")), REQUESTS[service])
    assert answer.status == status
    assert (answer.error_comment or "").startswith("the handler failed")
    assert "which a handler must not return" in caplog.text


async def test_a_query_may_end_with_cancel() -> None:
    """As those of Orthanc do, which limits its answers."""
    answer = await answer_of(server_that(lambda: raised(0xFE00, "too many")), REQUESTS["C-FIND"])
    assert (answer.status, answer.error_comment) == (0xFE00, "too many")


@SAY
@STATUSES
async def test_a_receiver_of_a_c_get_answers_it_too(
    say: Say, status: int, comment: str | None, sent: str | None
) -> None:
    async def handler(_: dimse.StoreRequest) -> int:
        return say(status, comment)

    answers: list[Received] = []

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(message_pdvs(store_request(), encoded(instance(pixels=200_000)), context=STORAGE))
        answers.append(await peer.receive_message())
        await peer.send(response(received, Status.SUCCESS))
        await usable(peer)

    async with listening(script) as address, connect(address, contexts=ALL) as association:
        results = CGetSCU(association).get(STUDY, handler=handler, raise_failures=False)
        taken = [each async for each in results]
        await use(association)
    answer = answers[0].message
    assert isinstance(answer, C_STORE_RSP)
    assert answer.status == status
    if Status(status).is_done:
        assert (len(taken), results.failures, answer.error_comment) == (1, [], sent)
    else:
        assert answer.error_comment == sent or comment is None
        (failure,) = results.failures
        assert isinstance(failure, SubOperationFailed)
        assert f"0x{status:04X}" in str(failure)
        assert (comment or "the handler refused it") in str(failure)
