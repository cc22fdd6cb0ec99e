"""C-ECHO, both halves."""

from __future__ import annotations

import pytest
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, VERIFICATION

from dimse import CEchoSCU, ClientOptions, PresentationContextError, Server, Status, StatusError, connect, echo
from dimse.services.verification import EchoRequest
from dimse.testing import ScriptedPeer, listening, response


async def test_it_is_answered_without_a_handler() -> None:
    async with (
        Server("ARCHIVE", port=0) as server,
        connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=[(VERIFICATION, [IMPLICIT])]) as association,
    ):
        scu = CEchoSCU(association)
        first, second = await scu.echo(), await scu.echo()
        assert first.status == second.status == Status.SUCCESS
        assert first.message_id_being_responded_to != second.message_id_being_responded_to
        assert first.affected_sop_class_uid == VERIFICATION


async def test_a_handler_decides() -> None:
    server = Server("ARCHIVE", port=0)
    statuses = iter([0x0000, 0x0122, 0xB000])
    callers = []

    @server.on_c_echo
    async def handler(request: EchoRequest) -> int:
        callers.append(request.association.calling_ae_title)
        return next(statuses)

    async with (
        server,
        connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=[(VERIFICATION, [IMPLICIT])]) as association,
    ):
        scu = CEchoSCU(association)
        assert (await scu.echo()).status == Status.SUCCESS
        with pytest.raises(StatusError, match="SOP class not supported") as caught:
            await scu.echo()
        assert caught.value.status == 0x0122
        assert (await scu.echo()).status == 0xB000
    assert callers == ["DIMSE"] * 3


@pytest.mark.parametrize("status", [0xFF00, 0xFE00])
async def test_what_is_no_final_success_is_an_error(status: int) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(response(await peer.receive_message(), status))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=[(VERIFICATION, [IMPLICIT])]) as association:
        with pytest.raises(StatusError) as caught:
            await CEchoSCU(association).echo()
        assert caught.value.status == status


async def test_verification_that_was_not_negotiated() -> None:
    server = Server("ARCHIVE", port=0)

    @server.on_c_store
    async def handler(_: object) -> Status:
        return Status.SUCCESS

    async with (
        server,
        connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=[(CT, [EXPLICIT])]) as association,
    ):
        with pytest.raises(PresentationContextError, match=r"Verification SOP Class.*not proposed"):
            await CEchoSCU(association).echo()
        assert association.is_open


async def test_a_server_without_a_store_handler_accepts_no_storage() -> None:
    async with (
        Server("ARCHIVE", port=0) as server,
        connect(
            f"ARCHIVE@127.0.0.1:{server.port}", contexts=[(CT, [EXPLICIT]), (VERIFICATION, [IMPLICIT])]
        ) as association,
    ):
        with pytest.raises(PresentationContextError, match=r"proposed: Explicit VR Little Endian; accepted: none"):
            association.context_for(CT)


async def test_a_whole_job_reports_the_status_the_times_and_the_association() -> None:
    server = Server("ARCHIVE", port=0)
    titles = []

    @server.on_c_echo
    async def handler(request: EchoRequest) -> int:
        titles.append(request.association.calling_ae_title)
        return 0xB000

    async with server:
        report = await echo(f"ARCHIVE@127.0.0.1:{server.port}", calling_ae_title="WS1", timeout=20)
    assert report.status == 0xB000
    assert report.seconds > 0
    assert report.association_seconds > 0
    assert not report.association.is_open
    assert [each.abstract_syntax for each in report.association.contexts.values()] == [VERIFICATION]
    assert titles == ["WS1"]


async def test_the_association_of_a_refused_whole_job_is_released() -> None:
    ends = []

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(response(await peer.receive_message(), 0x0122))
        await peer.answer_release()
        ends.append("released")

    async with listening(script) as address:
        with pytest.raises(StatusError, match="SOP class not supported"):
            await echo(address, options=ClientOptions())
    assert ends == ["released"]
