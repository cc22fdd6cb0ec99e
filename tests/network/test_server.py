"""An acceptor against peers that behave in any way they like; whatever one does, the others are served."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.sample_objects import (
    CT,
    EXPLICIT,
    IMPLICIT,
    MR,
    VERIFICATION,
    encoded,
    instance,
    pixel_bytes,
    save,
)

from dimse import (
    Access,
    AssociationAborted,
    AssociationRejected,
    CEchoSCU,
    CStoreSCU,
    Server,
    ServerOptions,
    Status,
    StatusCategory,
    StatusError,
    StoreMode,
    StoreOptions,
    StoreRequest,
    Strictness,
    Timeouts,
    connect,
)
from dimse.messages import command_set
from dimse.messages.message import (
    C_CANCEL_RQ,
    C_ECHO_RSP,
    C_FIND_RQ,
    C_FIND_RSP,
    C_STORE_RSP,
    N_GET_RQ,
    Response,
)
from dimse.network.association import exchange_of
from dimse.services.verification import EchoRequest
from dimse.testing import INFORMATION, ScriptedPeer, associate_request, echo_request, message_pdvs, store_request
from dimse.upper_layer.items import UserIdentityRQ, UserInformation
from dimse.upper_layer.pdu import (
    A_ABORT,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    A_ASSOCIATE_RQ,
    A_RELEASE_RP,
    A_RELEASE_RQ,
    P_DATA_TF,
    PDV,
)

STRICT = ServerOptions(strictness=Strictness.STRICT)
TITLED = ServerOptions(access=Access(called_ae_titles=["ARCHIVE"]))
CONTEXTS = ((VERIFICATION, [IMPLICIT]), (CT, [EXPLICIT]))
DATA = encoded(instance())


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse.network.exchange.ABORT_GRACE", 0.2)


class Archive(Server):
    """Keeps what it got, in memory."""

    def __init__(self, options: ServerOptions | None = None, mode: StoreMode = StoreMode.BUFFERED) -> None:
        options = replace(options or ServerOptions(stop_timeout=5), store=StoreOptions(mode=mode))
        super().__init__("ARCHIVE", port=0, options=options)
        self.stored: dict[str, bytes] = {}
        self.on_c_store(self.keep)

    async def keep(self, request: StoreRequest) -> Status:
        self.stored[request.sop_instance_uid] = bytes(request.data)
        return Status.SUCCESS

    @property
    def address(self) -> str:
        return f"ARCHIVE@127.0.0.1:{self.port}"


@asynccontextmanager
async def peer_of(server: Server, ask: A_ASSOCIATE_RQ | None = None) -> AsyncIterator[ScriptedPeer]:
    """A scripted peer with an association."""
    async with await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(ask)
        yield peer


async def is_well(server: Server) -> None:
    """The server serves others."""
    async with connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=CONTEXTS) as association:
        assert (await CEchoSCU(association).echo()).status == 0x0000


async def answer_of(peer: ScriptedPeer) -> Response:
    message = (await peer.receive_message()).message
    assert isinstance(message, Response)
    return message


# Who gets in


async def test_the_answer_mirrors_the_request() -> None:
    options = ServerOptions(timeouts=Timeouts(artim=0.2))  # the peer leaves the closing to us
    async with Archive(options) as server, await ScriptedPeer.connect(server.port) as peer:
        identity = UserIdentityRQ(1, b"someone", positive_response_requested=True)
        ask = associate_request(
            (VERIFICATION, [IMPLICIT, EXPLICIT]), ("1.2.840.10008.5.1.4.31", [IMPLICIT]), (CT, ["1.2.3"])
        )
        ask = replace(ask, user_information=replace(INFORMATION, user_identity=identity))
        answer = await peer.associate(ask)
        contexts = {c.presentation_context_id: (c.result, c.transfer_syntax) for c in answer.presentation_contexts}
        assert contexts[1] == (0, IMPLICIT)  # the proposer's order decides
        assert contexts[3][0] == 3  # abstract syntax not supported
        assert contexts[5] == (0, "1.2.3")  # stored as it comes, whatever it is
        assert answer.user_information.maximum_length == server.options.maximum_length
        assert answer.user_information.user_identity_response is None  # nobody has verified it
        assert [association.user_identity for association in server.associations] == [identity]
        assert answer.user_information.asynchronous_operations_window is None
        await peer.release()
        await peer.closed()


@pytest.mark.parametrize(
    ("options", "ask", "rejection"),
    [
        (TITLED, associate_request(called="OTHER"), A_ASSOCIATE_RJ(1, 1, 7)),
        (ServerOptions(), associate_request(calling=""), A_ASSOCIATE_RJ(1, 1, 3)),
        (ServerOptions(), associate_request(called=""), A_ASSOCIATE_RJ(1, 1, 7)),
        (ServerOptions(), associate_request(called="\0" * 16), A_ASSOCIATE_RJ(1, 1, 7)),
        (ServerOptions(), replace(associate_request(), application_context_name="1.2.3"), A_ASSOCIATE_RJ(1, 1, 2)),
        (ServerOptions(), replace(associate_request(), application_context_name=""), A_ASSOCIATE_RJ(1, 1, 2)),
        (ServerOptions(), replace(associate_request(), protocol_version=2), A_ASSOCIATE_RJ(1, 2, 2)),
        (STRICT, associate_request(calling="PEER\0"), A_ASSOCIATE_RJ(1, 1, 3)),
        (STRICT, associate_request(called=" ARCHIVE"), A_ASSOCIATE_RJ(1, 1, 7)),
        (STRICT, associate_request(calling="P\xc9ER"), A_ASSOCIATE_RJ(1, 1, 3)),
        (STRICT, associate_request(called="\xc4RCHIVE"), A_ASSOCIATE_RJ(1, 1, 7)),
    ],
)
async def test_who_is_turned_down(options: ServerOptions, ask: A_ASSOCIATE_RQ, rejection: A_ASSOCIATE_RJ) -> None:
    async with Archive(options) as server:
        async with await ScriptedPeer.connect(server.port) as peer:
            await peer.send(ask)
            assert await peer.expect(A_ASSOCIATE_RJ) == rejection
        assert not server.associations


@pytest.mark.parametrize(
    ("options", "ask"),
    [
        (ServerOptions(), associate_request(called="WHATEVER")),
        (TITLED, associate_request(called=" ARCHIVE\0")),
        (ServerOptions(access=Access(peers=["PEER"])), associate_request(calling="  PEER\0\0")),
        (ServerOptions(), associate_request(calling="P\xc9ER")),
        (ServerOptions(), replace(associate_request(), protocol_version=0xFFFF)),
        (STRICT, replace(associate_request(), protocol_version=3)),
        (ServerOptions(), replace(associate_request(), user_information=UserInformation())),
        (
            ServerOptions(),
            replace(associate_request(), user_information=replace(INFORMATION, implementation_version_name="x" * 17)),
        ),
    ],
)
async def test_who_gets_in(options: ServerOptions, ask: A_ASSOCIATE_RQ) -> None:
    async with Archive(options) as server, peer_of(server, ask) as peer:
        await peer.send(message_pdvs(echo_request()))
        assert (await answer_of(peer)).status == 0x0000
        await peer.release()


def raw_request(*, items: bytes) -> bytes:
    whole = associate_request().encode()[:74] + items
    return whole[:2] + (len(whole) - 6).to_bytes(4, "big") + whole[6:]


def item(kind: int, body: bytes) -> bytes:
    return bytes((kind, 0)) + len(body).to_bytes(2, "big") + body


APPLICATION = item(0x10, b"1.2.840.10008.3.1.1.1")
USER = item(0x50, item(0x51, (16384).to_bytes(4, "big")) + item(0x52, b"1.2.3"))


def context(identifier: int, abstract: bytes = VERIFICATION.encode(), syntax: bytes = IMPLICIT.encode()) -> bytes:
    return item(0x20, bytes((identifier, 0, 0, 0)) + item(0x30, abstract) + item(0x40, syntax))


TWICE = item(0x20, b"\1\0\0\0" + item(0x30, VERIFICATION.encode()) + item(0x40, IMPLICIT.encode()) * 2)
ROLE = item(0x54, len(CT).to_bytes(2, "big") + CT.encode() + b"\1\1")
ODDITIES = {
    "UIDs are padded": APPLICATION + context(1, VERIFICATION.encode() + b"\0", IMPLICIT.encode() + b" ") + USER,
    "UID is missing or invalid": APPLICATION
    + context(1)
    + item(0x50, item(0x51, bytes((0, 0, 64, 0))) + item(0x52, b"")),
    "class UID is missing": APPLICATION + context(1) + item(0x50, item(0x51, bytes((0, 0, 64, 0)))),
    "more than 16 characters": APPLICATION + context(1) + item(0x50, USER[4:] + item(0x55, b"v" * 17)),
    "repeats a transfer syntax": APPLICATION + TWICE + USER,
    "role selections name": APPLICATION + context(1) + item(0x50, USER[4:] + ROLE),
}
DEVIATIONS = {
    "another context's uid too long": APPLICATION + context(1) + context(3, b"1" * 65) + USER,
    "another context's uid with letters": APPLICATION + context(1) + context(3, b"1.2.x") + USER,
    "items out of order": USER + context(1) + APPLICATION,
    "no user information": APPLICATION + context(1),
    "an even context ID": APPLICATION + context(2) + context(1) + USER,
    "context ID zero": APPLICATION + context(0) + context(1) + USER,
    "a repeated context ID": APPLICATION + context(1) + context(1, MR.encode()) + USER,
    "a context for nothing": APPLICATION + context(1) + item(0x20, b"\3\0\0\0" + item(0x40, IMPLICIT.encode())) + USER,
}


@pytest.mark.parametrize("items", DEVIATIONS.values(), ids=DEVIATIONS)
async def test_a_deviation_leniently(items: bytes) -> None:
    async with Archive() as server, await ScriptedPeer.connect(server.port) as peer:
        await peer.send(raw_request(items=items))
        answer = await peer.expect(A_ASSOCIATE_AC)
        results = {context.presentation_context_id: context.result for context in answer.presentation_contexts}
        assert results.pop(1) == 0
        assert all(results.values())  # those that can't be understood are refused
        await peer.send(message_pdvs(echo_request()))
        assert (await answer_of(peer)).status == 0x0000
        await peer.release()


@pytest.mark.parametrize("items", DEVIATIONS.values(), ids=DEVIATIONS)
async def test_a_deviation_strictly(items: bytes) -> None:
    async with Archive(STRICT) as server, await ScriptedPeer.connect(server.port) as peer:
        await peer.send(raw_request(items=items))
        await peer.expect_abort(2, 6)
        await is_well(server)


@pytest.mark.parametrize("options", [ServerOptions(), STRICT], ids=["lenient", "strict"])
@pytest.mark.parametrize("told", ODDITIES)
async def test_what_has_one_safe_reading_is_told_of(
    told: str, options: ServerOptions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with Archive(options) as server, await ScriptedPeer.connect(server.port) as peer:
        await peer.send(raw_request(items=ODDITIES[told]))
        await peer.expect(A_ASSOCIATE_AC)
        await peer.send(message_pdvs(echo_request()))
        assert (await answer_of(peer)).status == 0x0000
        await peer.release()
    (record,) = (record for record in caplog.records if "A-ASSOCIATE-RQ" in record.getMessage())
    assert told in record.getMessage()
    assert record.levelname == "INFO"


@pytest.mark.parametrize("options", [ServerOptions(), STRICT], ids=["lenient", "strict"])
async def test_unknown_items_and_reserved_bytes_are_nothing(options: ServerOptions) -> None:
    unknown = item(0x99, b"whatever")
    user = item(0x50, USER[4:] + item(0x5F, b"new"))
    raw = bytearray(raw_request(items=APPLICATION + unknown + context(1) + user + unknown))
    raw[1] = 0xFF
    raw[42:74] = b"\xff" * 32
    async with Archive(options) as server, await ScriptedPeer.connect(server.port) as peer:
        await peer.send(bytes(raw))
        await peer.expect(A_ASSOCIATE_AC)
        await peer.release()


@pytest.mark.parametrize("options", [ServerOptions(), STRICT], ids=["lenient", "strict"])
@pytest.mark.parametrize("items", [b"", b"\x10\0\xff\xff", b"\x10", context(1)[:-1]], ids=range(4))
async def test_items_that_leave_their_container(items: bytes, options: ServerOptions) -> None:
    async with Archive(options) as server, await ScriptedPeer.connect(server.port) as peer:
        await peer.send(raw_request(items=APPLICATION + items if items else b"\x10"))
        await peer.expect_abort(0, 0)  # PS3.8 Table 9-10, Sta2 and Evt19: AA-1 has the service-user source
        await is_well(server)


@pytest.mark.parametrize("options", [ServerOptions(), STRICT], ids=["lenient", "strict"])
async def test_more_than_128_contexts_and_too_small_a_maximum(options: ServerOptions) -> None:
    many = APPLICATION + b"".join(context(i % 256) for i in range(129)) + USER
    tiny = APPLICATION + context(1) + item(0x50, item(0x51, bytes((0, 0, 0, 7))) + item(0x52, b"1.2.3"))
    async with Archive(options) as server:
        for items in (many, tiny):
            async with await ScriptedPeer.connect(server.port) as peer:
                await peer.send(raw_request(items=items))
                await peer.expect_abort(2, 6)


async def test_a_pdu_comes_one_byte_at_a_time() -> None:
    async with Archive() as server, await ScriptedPeer.connect(server.port) as peer:
        for byte in associate_request().encode():
            await peer.send(bytes((byte,)))
        await peer.expect(A_ASSOCIATE_AC)
        await peer.release()


# How many get in


async def test_max_associations() -> None:
    async with Archive(ServerOptions(maximum_associations=2)) as server, peer_of(server) as first, peer_of(server):
        with pytest.raises(AssociationRejected) as caught:
            await is_well(server)
        assert (caught.value.result, caught.value.source, caught.value.reason) == (2, 3, 2)
        await first.release()
        await is_well(server)  # the slot is free as soon as the association has ended


@pytest.mark.parametrize("limit", ["maximum_associations_per_host", "maximum_associations_per_title"])
async def test_limits_for_one_peer(limit: str) -> None:
    one: dict[str, Any] = {limit: 1}
    async with Archive(ServerOptions(**one)) as server, peer_of(server):
        async with await ScriptedPeer.connect(server.port) as second:
            await second.send(associate_request())
            assert await second.expect(A_ASSOCIATE_RJ) == A_ASSOCIATE_RJ(2, 3, 2)
        if limit == "maximum_associations_per_title":
            await is_well(server)  # under another title


async def test_at_a_limit_those_give_way_that_do_nothing_but_echo() -> None:
    """The oldest first, and only when they have done so for longer than they may be idle; one that stores stays."""
    cancel = message_pdvs(C_CANCEL_RQ(message_id_being_responded_to=1))
    for limit in ("maximum_associations", "maximum_associations_per_host", "maximum_associations_per_title"):
        one: dict[str, Any] = {limit: 3}
        async with Archive(ServerOptions(**one)) as server, AsyncExitStack() as stack:
            peers = [await stack.enter_async_context(peer_of(server)) for _ in range(3)]
            for seconds in (50, 20):
                for session in server._sessions:
                    session.used -= seconds
                for peer in peers:
                    await peer.send(cancel, message_pdvs(echo_request()))
                    assert (await answer_of(peer)).status == Status.SUCCESS
                if seconds == 50:
                    async with await ScriptedPeer.connect(server.port) as new:
                        await new.send(associate_request())
                        await new.expect(A_ASSOCIATE_RJ)
                    await peers[0].send(message_pdvs(store_request(), DATA, context=3))
                    assert (await answer_of(peers[0])).status == Status.SUCCESS
                    await peers[1].send(message_pdvs(store_request(sop_class="1.2"), DATA, context=3))
                    assert (await answer_of(peers[1])).status.category is StatusCategory.FAILURE
            for gone in peers[1:]:
                await stack.enter_async_context(peer_of(server))
                await gone.expect_abort(0, 0)
            async with await ScriptedPeer.connect(server.port) as new:
                await new.send(associate_request())
                await new.expect(A_ASSOCIATE_RJ)
            await peers[0].send(message_pdvs(echo_request()))
            assert (await answer_of(peers[0])).status == Status.SUCCESS, limit


async def test_one_that_connects_and_says_nothing_is_closed() -> None:
    options = ServerOptions(timeouts=Timeouts(artim=0.2))
    async with Archive(options) as server, await ScriptedPeer.connect(server.port) as peer:
        assert await peer.receive() is None
        await is_well(server)


async def test_one_that_says_half_of_it_is_closed() -> None:
    options = ServerOptions(timeouts=Timeouts(artim=0.2))
    async with Archive(options) as server, await ScriptedPeer.connect(server.port) as peer:
        await peer.send(associate_request().encode()[:-1])
        assert await peer.receive() is None


async def test_one_that_stays_after_its_rejection_is_closed() -> None:
    options = replace(TITLED, timeouts=Timeouts(artim=0.2))
    async with Archive(options) as server, await ScriptedPeer.connect(server.port) as peer:
        await peer.send(associate_request(called="OTHER"))
        await peer.expect(A_ASSOCIATE_RJ)
        assert await peer.receive() is None


@pytest.mark.parametrize("half_a_message", [False, True])
async def test_idle(half_a_message: bool) -> None:
    """Nothing more comes, or a promised data set never does."""
    options = ServerOptions(timeouts=Timeouts(idle=0.2))
    async with Archive(options) as server, peer_of(server) as peer:
        if half_a_message:
            await peer.send(message_pdvs(store_request(), DATA, context=3, size=200)[:-1])
        await peer.expect_abort(0, 0)
        await is_well(server)
        assert not server.stored


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_peer_that_never_reads_its_responses_is_not_kept() -> None:
    options = ServerOptions(timeouts=Timeouts(idle=0.2))
    async with Archive(options) as server, peer_of(server) as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        everything = b"".join(P_DATA_TF((pdv,)).encode() for pdv in message_pdvs(echo_request())) * 2000

        async def send_on() -> None:
            while True:
                await peer.send(everything)

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(send_on(), 20)
        await is_well(server)


# Operations


async def test_a_handler_that_fails_answers_and_the_server_lives(caplog: pytest.LogCaptureFixture) -> None:
    server = Archive()

    @server.on_c_store
    async def handler(_: StoreRequest) -> Status:
        raise ZeroDivisionError("in the handler")

    @server.on_c_echo
    async def echo_handler(_: EchoRequest) -> Status:
        raise KeyError("in the handler")

    async with server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), DATA, context=3))
        response = await answer_of(peer)
        assert response.status == Status.PROCESSING_FAILURE
        assert response.error_comment == "the handler failed"
        await peer.send(message_pdvs(echo_request(2)))
        assert (await answer_of(peer)).status == Status.PROCESSING_FAILURE
        await peer.release()
    failures = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.exc_info[0] for record in failures if record.exc_info] == [ZeroDivisionError, KeyError]
    assert "the handler of C-STORE-RQ failed" in failures[0].getMessage()


@pytest.mark.parametrize("status", [None, "ok", -1, 0x10000, 3.0])
async def test_a_handler_that_returns_no_status(status: object, caplog: pytest.LogCaptureFixture) -> None:
    server = Archive()

    async def handler(_: object) -> int:
        return status  # type: ignore[return-value]

    server.on_c_store(handler)
    server.on_c_echo(handler)
    async with server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), DATA, context=3))
        assert (await answer_of(peer)).status == Status.PROCESSING_FAILURE
        await peer.send(message_pdvs(echo_request(2)))
        assert (await answer_of(peer)).status == Status.PROCESSING_FAILURE
        await peer.release()
    assert sum(record.exc_info is not None for record in caplog.records) == 2


def test_a_handler_is_an_async_def() -> None:
    def handler(_: object) -> Status:
        return Status.SUCCESS

    with pytest.raises(TypeError, match="handler must be an async def"):
        Server().on_c_store(handler)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="handler must be an async def"):
        Server().on_c_echo(handler)  # type: ignore[arg-type]


async def test_an_echo_on_another_class_of_context() -> None:
    for options, expected in ((ServerOptions(), Status.SUCCESS), (STRICT, Status.SOP_CLASS_NOT_SUPPORTED)):
        async with Archive(options) as server, peer_of(server) as peer:
            await peer.send(message_pdvs(echo_request(), context=3))
            assert (await answer_of(peer)).status == expected
            await peer.release()


async def test_an_unknown_operation_is_read_to_its_end_and_answered() -> None:
    async with Archive() as server, peer_of(server) as peer:
        await peer.send(message_pdvs(C_FIND_RQ(message_id=7, affected_sop_class_uid=CT), DATA * 20, context=3))
        response = await answer_of(peer)
        assert isinstance(response, C_FIND_RSP)
        assert (response.status, response.message_id_being_responded_to) == (Status.UNRECOGNIZED_OPERATION, 7)
        no_data = N_GET_RQ(message_id=8, requested_sop_class_uid=CT, requested_sop_instance_uid="1.2")
        await peer.send(message_pdvs(no_data, context=3))
        assert (await answer_of(peer)).status == Status.UNRECOGNIZED_OPERATION
        await peer.send(message_pdvs(echo_request(9)))
        assert (await answer_of(peer)).status == Status.SUCCESS
        await peer.release()


async def test_a_cancel_for_nothing_is_ignored() -> None:
    nothing = C_CANCEL_RQ(message_id_being_responded_to=1)
    for options in (ServerOptions(), STRICT):
        async with Archive(options) as server, peer_of(server) as peer:
            await peer.send(message_pdvs(nothing), message_pdvs(nothing, context=3))
            await peer.send(message_pdvs(replace(nothing, dataset_follows=True)))  # and which does not come
            await peer.send(message_pdvs(echo_request()))
            assert (await answer_of(peer)).status == Status.SUCCESS
            await peer.release()


async def test_the_data_set_type_of_a_command() -> None:
    """Without it, a request has a data set if requests of its kind do."""

    def without(pdvs: list[PDV]) -> list[PDV]:
        elements = command_set.decode(pdvs[0].fragment)
        del elements[command_set.COMMAND_DATA_SET_TYPE]
        return [replace(pdvs[0], fragment=command_set.encode(elements)), *pdvs[1:]]

    for options, expected in ((ServerOptions(), Status.SUCCESS), (STRICT, Status.PROCESSING_FAILURE)):
        async with Archive(options) as server, peer_of(server) as peer:
            for pdvs in (message_pdvs(store_request(), DATA, context=3), message_pdvs(echo_request())):
                await peer.send(without(pdvs))
                assert (await answer_of(peer)).status == expected
            await peer.release()


@pytest.mark.parametrize("options", [ServerOptions(), STRICT], ids=["lenient", "strict"])
@pytest.mark.parametrize("data", [None, b"", DATA])
async def test_an_echo_that_announces_a_data_set(data: bytes | None, options: ServerOptions) -> None:
    async with Archive(options) as server, peer_of(server) as peer:
        for number in (1, 2):
            await peer.send(message_pdvs(replace(echo_request(number), dataset_follows=True), data))
            assert (await answer_of(peer)).status == Status.SUCCESS
        await peer.release()


@pytest.mark.parametrize("options", [ServerOptions(), STRICT], ids=["lenient", "strict"])
@pytest.mark.parametrize(
    "pdvs",
    [
        [PDV(1, False, True, b"ab")],
        [*message_pdvs(echo_request()), PDV(1, False, True, b"ab")],
        [message_pdvs(store_request(), DATA, context=3)[0], PDV(1, False, True, b"ab")],
        message_pdvs(echo_request(), context=5),
        message_pdvs(C_ECHO_RSP(message_id_being_responded_to=1, status=Status.SUCCESS)),
    ],
    ids=["data first", "data where there is none", "data on another context", "context not accepted", "a response"],
)
async def test_out_of_step(pdvs: list[PDV], options: ServerOptions) -> None:
    async with Archive(options) as server, peer_of(server) as peer:
        await peer.send(pdvs)
        await peer.expect_abort(2, 5)
        await is_well(server)


async def test_odd_fragments() -> None:
    pdvs = message_pdvs(store_request(), DATA, context=3, size=101)
    for options in (ServerOptions(), STRICT):
        async with Archive(options) as server, peer_of(server) as peer:
            await peer.send(pdvs)
            assert (await answer_of(peer)).status == Status.SUCCESS
            assert server.stored["1.2.3.4"] == DATA
            await peer.release()


async def test_empty_fragments() -> None:
    for options in (ServerOptions(), STRICT):
        command, data = message_pdvs(store_request(), DATA, context=3)
        empty = [PDV(3, False, False, b"")] * 999
        async with Archive(options) as server, peer_of(server) as peer:
            await peer.send([command, *empty, replace(data, is_last=False), *empty, PDV(3, False, True, b"")])
            assert (await answer_of(peer)).status == Status.SUCCESS
            assert server.stored["1.2.3.4"] == DATA
            await peer.send([command, *empty, *empty])
            await peer.expect_abort(2, 6)


async def test_many_pdvs_in_one_pdu() -> None:
    pdvs = tuple(message_pdvs(store_request(), DATA, context=3, size=100))
    async with Archive() as server, peer_of(server) as peer:
        await peer.send(P_DATA_TF(pdvs))
        assert (await answer_of(peer)).status == Status.SUCCESS
        assert server.stored["1.2.3.4"] == DATA
        await peer.release()


async def test_a_pdu_over_the_maximum(caplog: pytest.LogCaptureFixture) -> None:
    data = encoded(instance(pixels=30_000))
    lenient = ServerOptions(maximum_length=16384)
    async with Archive(lenient) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), data, context=3, size=17_000))
        assert (await answer_of(peer)).status == Status.SUCCESS
        assert server.stored["1.2.3.4"] == data
        assert sum("exceeds our maximum length" in record.getMessage() for record in caplog.records) == 1
        await peer.send(message_pdvs(store_request(), data + data, context=3, size=40_000))
        await peer.expect_abort(2, 6)
    strict = replace(lenient, strictness=Strictness.STRICT)
    async with Archive(strict) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), data, context=3, size=17_000))
        await peer.expect_abort(2, 6)


def with_group_length(length: bytes) -> list[PDV]:
    (pdv,) = message_pdvs(echo_request())
    rest = pdv.fragment[12:]
    head = b"" if not length else pdv.fragment[:8] + length
    return [replace(pdv, fragment=head + rest)]


@pytest.mark.parametrize("length", [b"", b"\0\0\0\0", b"\xff\0\0\0"], ids=["missing", "zero", "wrong"])
async def test_the_group_length_of_a_command(length: bytes) -> None:
    async with Archive() as server, peer_of(server) as peer:
        await peer.send(with_group_length(length))
        assert (await answer_of(peer)).status == Status.SUCCESS
        await peer.release()
    async with Archive(STRICT) as server, peer_of(server) as peer:
        await peer.send(with_group_length(length))
        assert (await answer_of(peer)).status == Status.PROCESSING_FAILURE
        await peer.send(message_pdvs(echo_request(2)))
        assert (await answer_of(peer)).status == Status.SUCCESS
        await peer.release()


# One after the other


async def test_requests_that_do_not_wait_for_responses() -> None:
    data = [encoded(instance(f"1.2.{i}", pixels=1000 * i)) for i in range(1, 6)]
    async with Archive() as server, peer_of(server) as peer:
        everything = b""
        for number, one in enumerate(data, 1):
            pdvs = message_pdvs(store_request(f"1.2.{number}", message_id=number), one, context=3, size=500)
            everything += b"".join(P_DATA_TF((pdv,)).encode() for pdv in pdvs)
            everything += P_DATA_TF(tuple(message_pdvs(echo_request(100 + number)))).encode()
        await peer.send(everything + A_RELEASE_RQ().encode())
        for number in range(1, 6):
            response = await answer_of(peer)
            assert isinstance(response, C_STORE_RSP)
            assert (response.message_id_being_responded_to, response.status) == (number, 0)
            response = await answer_of(peer)
            assert isinstance(response, C_ECHO_RSP)
            assert response.message_id_being_responded_to == 100 + number
        await peer.expect(A_RELEASE_RP)
        assert [server.stored[f"1.2.{number}"] for number in range(1, 6)] == data


async def test_requests_that_do_not_wait_are_left_in_the_socket() -> None:
    server, running, go_on = Archive(), asyncio.Event(), asyncio.Event()

    @server.on_c_store
    async def handler(_: StoreRequest) -> Status:
        running.set()
        await go_on.wait()
        return Status.SUCCESS

    async with server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), DATA, context=3))
        for number in range(2, 2000):
            await peer.send(message_pdvs(echo_request(number)))
        await running.wait()
        for _ in range(20):
            await is_well(server)
        assert max(len(session._waiting) for session in server._sessions) <= 1
        go_on.set()
        for number in range(1, 2000):
            assert (await answer_of(peer)).message_id_being_responded_to == number
        await peer.release()


async def test_release_while_a_handler_runs() -> None:
    server, running, go_on = Archive(), asyncio.Event(), asyncio.Event()

    @server.on_c_echo
    async def handler(_: EchoRequest) -> Status:
        running.set()
        await go_on.wait()
        return Status.SUCCESS

    async with server, peer_of(server) as peer:
        await peer.send(message_pdvs(echo_request()))
        await running.wait()
        await peer.send(A_RELEASE_RQ())
        go_on.set()
        assert (await answer_of(peer)).status == Status.SUCCESS
        await peer.expect(A_RELEASE_RP)


@pytest.mark.parametrize("mode", StoreMode)
async def test_release_in_the_middle_of_a_message_is_answered(
    mode: StoreMode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The half object is dropped, never acknowledged."""
    server = Archive(ServerOptions(), mode)

    @server.on_c_store
    async def handler(request: StoreRequest) -> Status:
        await request.save(tmp_path / "a.dcm")
        return Status.SUCCESS

    async with server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), DATA, context=3, size=400)[:-1], A_RELEASE_RQ())
        await peer.expect(A_RELEASE_RP)
        await is_well(server)
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - hidden ones too
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_handler_that_does_not_read_stops_the_peer(tmp_path: Path) -> None:
    size = 100_000_000
    server = Archive(ServerOptions(maximum_connections_per_second=None), StoreMode.STREAMING)
    running, go_on = asyncio.Event(), asyncio.Event()
    received = 0

    @server.on_c_store
    async def handler(request: StoreRequest) -> Status:
        nonlocal received
        running.set()
        await go_on.wait()
        async for piece in request.pixels():
            received += len(piece)
        return Status.SUCCESS

    path = save(instance(pixels=size), tmp_path / "a.dcm")
    async with server, connect(server.address, contexts=CONTEXTS) as association:
        task = asyncio.create_task(CStoreSCU(association).send(path))
        await running.wait()
        # Meanwhile the loop turns often enough to send all of it, and it goes no further than the buffers on the way.
        for _ in range(100):
            await is_well(server)
        assert exchange_of(association).connection.bytes_sent < size / 2
        assert exchange_of(server.associations[0]).connection.bytes_received < 2_000_000
        go_on.set()
        assert (await task).status == Status.SUCCESS
    assert received == size


async def test_misbehaviour_of_one_does_not_disturb_another() -> None:
    async with Archive() as server, peer_of(server) as good:
        await good.send(message_pdvs(store_request(), DATA, context=3, size=300)[:-1])
        for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"\xff" * 5000, b"\x04\0\xff\xff\xff\xff"):
            async with await ScriptedPeer.connect(server.port) as bad:
                await bad.send(nonsense)
            async with peer_of(server) as bad:
                await bad.send(nonsense)
            async with peer_of(server) as bad:
                await bad.send(message_pdvs(store_request(), DATA, context=3, size=300)[:-1])
                bad.reset()
        await good.send(message_pdvs(store_request(), DATA, context=3, size=300)[-1])
        assert (await answer_of(good)).status == Status.SUCCESS
        assert server.stored == {"1.2.3.4": DATA}
        await good.release()


async def test_fifty_at_once(tmp_path: Path) -> None:
    paths = [save(instance(f"1.2.{i}", pixels=1000 + 2 * i), tmp_path / f"{i}.dcm") for i in range(50)]

    async def send(path: Path, server: Archive) -> None:
        async with connect(server.address, contexts=CONTEXTS) as association:
            assert (await CStoreSCU(association).send(path)).status == Status.SUCCESS

    unlimited = ServerOptions(
        maximum_associations_per_host=None, maximum_associations_per_title=None, maximum_connections_per_second=None
    )
    async with Archive(unlimited) as server:
        await asyncio.gather(*(send(path, server) for path in paths))
        assert len(server.stored) == 50
        assert all(pixel_bytes(1000 + 2 * i) in server.stored[f"1.2.{i}"] for i in range(50))


# The end


async def test_stop_drains_what_runs() -> None:
    server, running, go_on = Archive(), asyncio.Event(), asyncio.Event()

    @server.on_c_store
    async def handler(request: StoreRequest) -> Status:
        running.set()
        await go_on.wait()
        return await server.keep(request)

    await server.start()
    async with peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), DATA, context=3))
        await running.wait()
        stopping = asyncio.create_task(server.stop())
        async with await ScriptedPeer.connect(server.port) as late, await ScriptedPeer.connect(server.port) as silent:
            await late.send(associate_request())
            rejection = await late.expect(A_ASSOCIATE_RJ)
            assert (rejection.result, rejection.source, rejection.reason) == (2, 3, 1)
            go_on.set()
            assert (await answer_of(peer)).status == Status.SUCCESS
            await peer.release()
            await stopping
            await silent.closed()
            with pytest.raises(ConnectionRefusedError):
                await ScriptedPeer.connect(server.port)
    assert server.stored == {"1.2.3.4": DATA}
    assert not server.associations


async def test_stop_aborts_at_the_deadline() -> None:
    server, running = Archive(ServerOptions(stop_timeout=0.2)), asyncio.Event()
    cancelled = False

    @server.on_c_store
    async def handler(_: StoreRequest) -> Status:
        nonlocal cancelled
        running.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled = True
            raise
        return Status.SUCCESS

    await server.start()
    async with peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), DATA, context=3))
        await running.wait()
        stopping = asyncio.create_task(server.stop())
        await peer.expect_abort(0, 0)
        await stopping
    assert cancelled


async def test_stop_does_not_wait_for_idle_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse.network.server._STOP_IDLE", 0.1)
    server = Archive(ServerOptions(stop_timeout=60))
    await server.start()
    async with peer_of(server) as idle, await ScriptedPeer.connect(server.port) as silent:
        stopping = asyncio.create_task(server.stop())
        await idle.expect_abort(0, 0)
        await silent.closed()
        await stopping


async def test_stop_waits_for_a_slow_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse.network.server._STOP_IDLE", 0.1)
    server, running = Archive(ServerOptions(stop_timeout=60), StoreMode.STREAMING), asyncio.Event()
    received = bytearray()

    @server.on_c_store
    async def handler(request: StoreRequest) -> Status:
        async for piece in request.pixels():
            received.extend(piece)
            running.set()
        return Status.SUCCESS

    await server.start()
    async with peer_of(server) as slow, peer_of(server) as idle:
        *most, last = message_pdvs(store_request(), DATA, context=3, size=400)
        await slow.send(P_DATA_TF(tuple(most)))
        await running.wait()
        stopping = asyncio.create_task(server.stop())
        await idle.expect_abort(0, 0)  # which the slow one would have got by now, too
        idle.writer.close()
        await slow.send(last)
        assert (await answer_of(slow)).status == Status.SUCCESS
        await slow.release()
        slow.writer.close()
        await stopping
    assert received == pixel_bytes(1000)


async def test_stop_has_nothing_to_say_of_those_that_ended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dimse.network.server._STOP_IDLE", 0.1)
    server = Archive()
    await server.start()
    async with peer_of(server) as over, peer_of(server) as idle:
        await over.send(b"\xff" * 10)
        await over.expect_abort(2, 1)  # and it stays connected
        stopping = asyncio.create_task(server.stop())
        await idle.expect_abort(0, 0)
        over.writer.close()
        idle.writer.close()
        await stopping
    assert caplog.text.count("Timeouts.idle") == 1


async def test_a_stopped_server_starts_again() -> None:
    server = Archive()
    async with server:
        await is_well(server)
    port = server.port
    async with server:
        assert server.port == port
        await is_well(server)


async def test_serve_forever_stops_when_it_is_cancelled() -> None:
    listens = asyncio.Event()

    class Telling(Archive):
        async def start(self) -> None:
            await super().start()
            listens.set()

    server = Telling()
    task = asyncio.create_task(server.serve_forever())
    await listens.wait()
    await is_well(server)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ConnectionRefusedError):
        await ScriptedPeer.connect(server.port)


async def test_a_port_that_is_taken() -> None:
    async with Archive() as server:
        with pytest.raises(OSError, match=r".*"):
            await Server("OTHER", port=server.port).start()


async def test_nodelay_is_on() -> None:
    async with Archive() as server, connect(server.address, contexts=CONTEXTS) as association:
        for one in (association, *server.associations):
            raw = exchange_of(one).connection._socket
            assert raw is not None
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("how", ["abort", "close", "reset"])
async def test_the_end_without_a_release_is_one_info_line(how: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with Archive() as server:
        async with peer_of(server) as peer:
            caplog.clear()
            if how == "abort":
                await peer.send(A_ABORT(0, 0))
            elif how == "reset":
                peer.reset()
        while server._sessions:
            await asyncio.wait([session.task for session in server._sessions])
            await asyncio.sleep(0)
        records = [record for record in caplog.records if record.name.startswith("dimse")]
    assert [record.levelno for record in records] == [logging.INFO]
    assert ("aborted" if how == "abort" else "connection") in records[0].getMessage()


async def test_a_peer_that_aborts_ends_its_own_store_only() -> None:
    async with Archive() as server:
        async with peer_of(server) as peer:
            await peer.send(message_pdvs(store_request(), DATA, context=3, size=300)[:-1], A_ABORT(0, 0))
            await peer.closed()
        await is_well(server)
        assert not server.stored


async def test_logs_hold_no_values(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = Archive()

    @server.on_c_store
    async def handler(request: StoreRequest) -> Status:
        assert request.dataset.PatientName == "SECRET^NAME"
        raise ZeroDivisionError

    async with server, connect(server.address, contexts=CONTEXTS) as association:
        with pytest.raises(StatusError):
            await CStoreSCU(association).send(save(instance(), tmp_path / "a.dcm"))
    assert "< P-DATA-TF" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert "SECRET" not in caplog.text


async def test_a_client_learns_of_an_abort_of_the_server() -> None:
    server, running = Archive(ServerOptions(stop_timeout=0.1)), asyncio.Event()

    @server.on_c_echo
    async def handler(_: EchoRequest) -> Status:
        running.set()
        await asyncio.get_running_loop().create_future()
        return Status.SUCCESS

    async def ask() -> None:
        async with connect(server.address, contexts=CONTEXTS) as association:
            task = asyncio.create_task(CEchoSCU(association).echo())
            await running.wait()
            await server.stop()
            await task

    await server.start()
    with pytest.raises(AssociationAborted):
        await ask()


async def test_other_options_are_those_of_new_associations() -> None:
    server = Server(port=0, options=ServerOptions(access=Access(peers=["A"])))
    async with server:
        address = f"ANY@localhost:{server.port}"
        async with connect(address, calling_ae_title="A") as before:
            server.reconfigure(
                ServerOptions(access=Access(peers=["B"]), maximum_associations=2, store=StoreOptions(fsync=False))
            )
            assert server.options.store.fsync
            assert (await CEchoSCU(before).echo()).status == Status.SUCCESS
            with pytest.raises(AssociationRejected, match="calling AE title"):
                async with connect(address, calling_ae_title="A"):
                    pass
            async with connect(address, calling_ae_title="B") as after:
                assert (await CEchoSCU(after).echo()).status == Status.SUCCESS
                with pytest.raises(AssociationRejected, match="limit"):
                    async with connect(address, calling_ae_title="B"):
                        pass
