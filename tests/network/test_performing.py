"""Requests of the peer on an association that this side requested."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset
from tests.sample_objects import CT, IMPLICIT, VERIFICATION, encoded, instance

from dimse import (
    AssociationTimeout,
    CEchoSCU,
    CGetSCU,
    ClientOptions,
    LocalProtocolError,
    NormalizedReply,
    NormalizedRequest,
    NormalizedSCU,
    ProposedContext,
    Query,
    RemoteProtocolError,
    Server,
    Status,
    Timeouts,
    connect,
    uids,
)
from dimse.messages.message import (
    C_STORE_RSP,
    N_ACTION_RQ,
    N_ACTION_RSP,
    N_EVENT_REPORT_RQ,
    N_EVENT_REPORT_RSP,
    N_GET_RQ,
    Request,
)
from dimse.network.association import exchange_of
from dimse.testing import ScriptedPeer, listening, message_pdvs, response, store_request
from dimse.upper_layer.pdu import A_RELEASE_RP, A_RELEASE_RQ

COMMITMENT, INSTANCE = uids.STORAGE_COMMITMENT, uids.STORAGE_COMMITMENT_INSTANCE
CONTEXTS = [(COMMITMENT, [IMPLICIT])]


def report(message_id: int = 7, event: int = 1) -> N_EVENT_REPORT_RQ:
    return N_EVENT_REPORT_RQ(
        message_id=message_id,
        affected_sop_class_uid=COMMITMENT,
        affected_sop_instance_uid=INSTANCE,
        event_type_id=event,
    )


def keeping() -> tuple[Server, asyncio.Queue[int | None]]:
    """A server that does not listen, and the types of the events that it is told."""
    server, events = Server(), asyncio.Queue[int | None]()

    @server.on_n_event_report(COMMITMENT)
    async def handle(request: NormalizedRequest) -> int:
        events.put_nowait(request.event_type_id)
        return Status.SUCCESS

    return server, events


async def test_events_before_and_after_the_response_to_our_request() -> None:
    """The SCP of Storage Commitment may report at once (PS3.4 J.3.3), even before it answers the N-ACTION."""
    server, events = keeping()

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        action = await peer.receive_message()
        assert isinstance(action.message, N_ACTION_RQ)
        await peer.send(message_pdvs(report(event=1)))
        early = await peer.receive_message()
        await peer.send(response(action))
        await peer.send(message_pdvs(report(event=2), context=1))
        late = await peer.receive_message()
        for answer in (early, late):
            assert isinstance(answer.message, N_EVENT_REPORT_RSP)
            assert answer.message.status == Status.SUCCESS
        await peer.answer_release()

    async with (
        listening(script) as address,
        connect(address, contexts=CONTEXTS, services=server) as association,
    ):
        await NormalizedSCU(association).action(COMMITMENT, INSTANCE, 1, Dataset())
        assert [await events.get(), await events.get()] == [1, 2]


@pytest.mark.parametrize(("as_scp", "status"), [(False, 0x0211), (True, 0)])
async def test_what_is_of_an_scu_needs_a_context_on_which_this_side_is_scp(*, as_scp: bool, status: int) -> None:
    """The rules for peers are for associations that the server accepts: an SCP must not get round them."""
    server, answered = Server(), asyncio.Event()

    @server.on_n_action(COMMITMENT)
    async def handle(_: NormalizedRequest) -> int:
        assert as_scp
        return Status.SUCCESS

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        request = N_ACTION_RQ(
            message_id=1, requested_sop_class_uid=COMMITMENT, requested_sop_instance_uid=INSTANCE, action_type_id=1
        )
        await peer.send(message_pdvs(request))
        answer = (await peer.receive_message()).message
        assert isinstance(answer, N_ACTION_RSP)
        assert answer.status == status
        answered.set()
        await peer.answer_release()

    contexts = [ProposedContext(COMMITMENT, [IMPLICIT], as_scp)]
    async with listening(script) as address, connect(address, contexts=contexts, services=server):
        await answered.wait()


async def test_the_association_is_released_when_the_peer_was_answered() -> None:
    server, begun, go_on = Server(), asyncio.Event(), asyncio.Event()

    @server.on_n_event_report(COMMITMENT)
    async def handle(_: NormalizedRequest) -> int:
        begun.set()
        await go_on.wait()
        return Status.SUCCESS

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(message_pdvs(report()))
        assert isinstance((await peer.receive_message()).message, N_EVENT_REPORT_RSP)
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS, services=server):
        await begun.wait()
        asyncio.get_running_loop().call_soon(go_on.set)


async def test_release_waits_for_the_answer_to_the_peer_except_in_its_handler() -> None:
    server, begun, go_on = Server(), asyncio.Event(), asyncio.Event()

    @server.on_n_event_report(COMMITMENT)
    async def handle(request: NormalizedRequest) -> int:
        with pytest.raises(LocalProtocolError, match="before the peer's request is answered"):
            await request.association.release()
        begun.set()
        await go_on.wait()
        return Status.SUCCESS

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(message_pdvs(report()))
        assert isinstance((await peer.receive_message()).message, N_EVENT_REPORT_RSP)
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS, services=server) as association:
        await begun.wait()
        asyncio.get_running_loop().call_soon(go_on.set)
        await association.release()
        assert association.error is None


async def test_a_release_that_is_cancelled_while_it_waits_for_a_handler_aborts() -> None:
    server, begun = Server(), asyncio.Event()

    @server.on_n_event_report(COMMITMENT)
    async def handle(_: NormalizedRequest) -> int:
        begun.set()
        await asyncio.get_running_loop().create_future()
        return Status.SUCCESS

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(message_pdvs(report()))
        await peer.expect_abort(0, 0)

    async with listening(script) as address:
        async with connect(address, contexts=CONTEXTS, services=server) as association:
            await begun.wait()
            releasing = asyncio.create_task(association.release())
            asyncio.get_running_loop().call_soon(releasing.cancel)
            await asyncio.wait([releasing])
        assert releasing.cancelled()


@pytest.mark.parametrize("is_answered_first", [True, False])
async def test_a_release_collision(*, is_answered_first: bool) -> None:
    """PS3.8 7.2.2.7: the requestor of the association answers first; at once, whether it serves requests or not."""
    server, events = keeping()

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        if is_answered_first:
            await peer.send(message_pdvs(report()))
            await peer.receive_message()
        await peer.expect(A_RELEASE_RQ)
        await peer.send(A_RELEASE_RQ())
        await peer.expect(A_RELEASE_RP)
        await peer.send(A_RELEASE_RP())
        await peer.closed()

    options = ClientOptions(timeouts=Timeouts(association=5))
    async with listening(script) as address:
        async with connect(address, contexts=CONTEXTS, options=options, services=server) as association:
            if is_answered_first:
                await events.get()
        assert association.error is None


async def test_the_peer_releases_while_its_request_is_served() -> None:
    server, begun, go_on = Server(), asyncio.Event(), asyncio.Event()

    @server.on_n_event_report(COMMITMENT)
    async def handle(_: NormalizedRequest) -> int:
        begun.set()
        await go_on.wait()
        return Status.SUCCESS

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(message_pdvs(report()), A_RELEASE_RQ())
        await begun.wait()
        go_on.set()
        assert isinstance((await peer.receive_message()).message, N_EVENT_REPORT_RSP)
        await peer.expect(A_RELEASE_RP)

    async with listening(script) as address:
        async with connect(address, contexts=CONTEXTS, services=server) as association:
            await begun.wait()
        assert association.error is None


async def test_a_peer_that_does_not_read_the_response() -> None:
    server = Server()

    @server.on_n_get(COMMITMENT)
    async def handle(_: NormalizedRequest) -> NormalizedReply:
        large = Dataset()
        large.add_new(0x00091010, "OB", bytes(16 * 1024 * 1024))
        return NormalizedReply(large)

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        asked = N_GET_RQ(message_id=1, requested_sop_class_uid=COMMITMENT, requested_sop_instance_uid=INSTANCE)
        await peer.send(message_pdvs(asked))
        await over.wait()

    over = asyncio.Event()
    options = ClientOptions(timeouts=Timeouts(store=0.2))
    async with listening(script, receive_buffer=64 * 1024) as address:
        contexts = [ProposedContext(COMMITMENT, [IMPLICIT], as_scp=True)]
        async with connect(address, contexts=contexts, options=options, services=server) as association:
            async with asyncio.timeout(10):
                await exchange_of(association).over
        over.set()
        assert isinstance(association.error, AssociationTimeout)


async def test_an_event_after_our_release_is_not_acknowledged() -> None:
    server, events = keeping()

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.expect(A_RELEASE_RQ)
        await peer.send(message_pdvs(report()), A_RELEASE_RP())
        assert await peer.receive() is None

    async with listening(script) as address:
        async with connect(address, contexts=CONTEXTS, services=server):
            pass
        assert events.empty()


async def test_events_between_the_instances_of_a_c_get(tmp_path: Path) -> None:
    """Each request goes where it belongs: instances to the C-GET, events to the services."""
    server, events = keeping()

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        asked = await peer.receive_message()
        for number in (1, 2):
            event = replace(report(event=number), dataset_follows=True)
            await peer.send(message_pdvs(event, encoded(instance("1.2"), IMPLICIT), context=5))
            assert isinstance((await peer.receive_message()).message, N_EVENT_REPORT_RSP)
            await peer.send(
                message_pdvs(store_request(f"1.2.{number}"), encoded(instance(f"1.2.{number}"), IMPLICIT), context=3)
            )
            stored = (await peer.receive_message()).message
            assert isinstance(stored, C_STORE_RSP)
            assert stored.status == Status.SUCCESS
        await peer.send(response(asked, 0, number_of_completed_suboperations=2))
        await peer.answer_release()

    asking = ProposedContext(uids.STUDY_ROOT_GET, [IMPLICIT])
    contexts = [asking, ProposedContext(CT, [IMPLICIT], as_scp=True), ProposedContext(COMMITMENT, [IMPLICIT])]
    async with (
        listening(script) as address,
        connect(address, contexts=contexts, services=server) as association,
        CGetSCU(association).get(Query.studies(StudyInstanceUID="1.2"), into=tmp_path) as results,
    ):
        assert [each.sop_instance_uid async for each in results] == ["1.2.1", "1.2.2"]
        assert [events.get_nowait(), events.get_nowait()] == [1, 2]


@pytest.mark.parametrize("request_", [report(), N_ACTION_RQ(message_id=1, requested_sop_class_uid=COMMITMENT)])
async def test_without_services_a_request_of_the_peer_ends_the_association(request_: Request) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(message_pdvs(request_))
        await peer.expect_abort(2, 5)

    async with listening(script) as address:
        with pytest.raises(RemoteProtocolError, match="to a requestor that proposed no SCP role, and has no services"):
            async with connect(address, contexts=[(VERIFICATION, [IMPLICIT]), *CONTEXTS]) as association:
                await CEchoSCU(association).echo()


async def test_what_the_services_do_not_have_is_refused() -> None:
    server, _ = keeping()
    asked = asyncio.Event()

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(message_pdvs(N_ACTION_RQ(message_id=3, requested_sop_class_uid=COMMITMENT, action_type_id=1)))
        answer = await peer.receive_message()
        assert getattr(answer.message, "status", None) == Status.UNRECOGNIZED_OPERATION
        asked.set()
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS, services=server):
        await asked.wait()


async def test_a_handler_that_hangs_is_cancelled_with_the_association(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse.network.performing.ABORT_GRACE", 0.05)
    server, begun, cancelled = Server(), asyncio.Event(), asyncio.Event()

    @server.on_n_event_report(COMMITMENT)
    async def handle(_: NormalizedRequest) -> int:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
            return Status.SUCCESS
        finally:
            cancelled.set()

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(message_pdvs(report()))
        await peer.closed()

    async with listening(script) as address:
        async with connect(address, contexts=CONTEXTS, services=server) as association:
            await begun.wait()
            association.abort()
        assert cancelled.is_set()


async def test_an_acceptor_takes_the_role_of_the_scu_of_events() -> None:
    """The SCP opens an association to deliver its report, and proposes the SCP role (PS3.4 J.3.3, PS3.7 D.3.3.4)."""
    server, events = keeping()
    server.port = 0
    contexts = [ProposedContext(COMMITMENT, [IMPLICIT], as_scp=True)]
    async with server, connect(f"DIMSE@127.0.0.1:{server.port}", contexts=contexts) as association:
        (context,) = association.contexts.values()
        assert (context.requestor_is_scu, context.requestor_is_scp) == (False, True)
        await NormalizedSCU(association).event_report(COMMITMENT, INSTANCE, 2, Dataset())
        assert await events.get() == 2
