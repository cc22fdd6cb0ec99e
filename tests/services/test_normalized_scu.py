"""DIMSE-N, both halves: what the SCU asks arrives at the handler, and what the handler answers comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from tests.sample_objects import EXPLICIT, IMPLICIT

from dimse import (
    DatasetError,
    NormalizedReply,
    NormalizedRequest,
    NormalizedSCU,
    PresentationContextError,
    Server,
    Status,
    StatusError,
    connect,
    uids,
)
from dimse.messages.message import (
    N_ACTION_RSP,
    N_CREATE_RSP,
    N_SET_RSP,
    NormalizedResponse,
    decode_message,
)
from dimse.testing import ScriptedPeer, listening, response

STEP, PRIVATE = uids.PERFORMED_PROCEDURE_STEP, "1.2.826.0.1.3680043.2.1"


def attributes(status: str = "IN PROGRESS") -> Dataset:
    dataset = Dataset()
    dataset.PerformedProcedureStepStatus = status
    return dataset


def recording(*sop_classes: str) -> tuple[Server, list[NormalizedRequest]]:
    """A server that keeps the requests of all six operations, and answers with the data set of the request."""
    server, requests = Server("ARCHIVE", port=0), list[NormalizedRequest]()

    @server.on_n_create(*sop_classes)
    @server.on_n_set(*sop_classes)
    @server.on_n_get(*sop_classes)
    @server.on_n_action(*sop_classes)
    @server.on_n_delete(*sop_classes)
    @server.on_n_event_report(*sop_classes)
    async def handle(request: NormalizedRequest) -> NormalizedReply | int:
        requests.append(request)
        return NormalizedReply(request.dataset) if request.dataset else Status.SUCCESS

    return server, requests


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN])
async def test_all_six_arrive_and_are_answered(syntax: str) -> None:
    server, requests = recording(PRIVATE)
    async with (
        server,
        connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=[(PRIVATE, [syntax])]) as association,
    ):
        scu = NormalizedSCU(association)
        created = await scu.create(PRIVATE, attributes(), sop_instance_uid="1.2.3")
        changed = await scu.set(PRIVATE, "1.2.3", attributes("COMPLETED"))
        await scu.get(PRIVATE, "1.2.3", ["PatientID", 0x00080060])
        acted = await scu.action(PRIVATE, "1.2.3", 7, attributes("DISCONTINUED"))
        reported = await scu.event_report(PRIVATE, "1.2.3", 9)
        deleted = await scu.delete(PRIVATE, "1.2.3")
    assert [type(request.command).__name__ for request in requests] == [
        *("N_CREATE_RQ", "N_SET_RQ", "N_GET_RQ", "N_ACTION_RQ", "N_EVENT_REPORT_RQ", "N_DELETE_RQ")
    ]
    assert {(request.sop_class_uid, request.sop_instance_uid) for request in requests} == {(PRIVATE, "1.2.3")}
    create, change, get, action, report, _ = requests
    assert create.dataset == created.dataset == attributes()
    assert change.dataset == changed.dataset == attributes("COMPLETED")
    assert get.attributes == (0x00100020, 0x00080060)
    assert (action.action_type_id, acted.dataset, report.event_type_id) == (7, attributes("DISCONTINUED"), 9)
    assert (reported.dataset, report.dataset, deleted.dataset) == (None, Dataset(), None)
    assert {result.status for result in (created, changed, acted, reported, deleted)} == {0}
    assert {result.sop_instance_uid for result in (created, changed, acted, reported, deleted)} == {"1.2.3"}


async def test_an_instance_that_the_scu_does_not_name_is_named_by_the_scp() -> None:
    server, requests = recording(STEP)
    async with server, connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=[(STEP, [IMPLICIT])]) as association:
        created = [await NormalizedSCU(association).create(STEP, attributes()) for _ in range(2)]
    named = [result.sop_instance_uid for result in created]
    assert named == [request.sop_instance_uid for request in requests]
    assert len(set(named)) == 2
    assert all(uid is not None and uids.is_uid(uid) for uid in named)


async def test_a_failure_comes_with_all_that_the_peer_said() -> None:
    server = Server("ARCHIVE", port=0)

    @server.on_n_set(STEP)
    async def refuse(_: NormalizedRequest) -> NormalizedReply:
        return NormalizedReply(attributes(), status=Status(0x0110).with_comment("too late"), error_id=0xA710)

    @server.on_n_create(STEP)
    async def miss(_: NormalizedRequest) -> int:
        raise StatusError(Status.MISSING_ATTRIBUTE, "N-CREATE", "incomplete", [0x00100020, 0x00080060])

    async with server, connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=[(STEP, [IMPLICIT])]) as association:
        scu = NormalizedSCU(association)
        with pytest.raises(StatusError, match=r"N-SET: 0x0110.*too late") as late:
            await scu.set(STEP, "1.2.3", attributes())
        with pytest.raises(StatusError, match=r"0x0120.*\(0010,0020\) \(0008,0060\)") as missing:
            await scu.create(STEP, attributes())
        assert association.is_open
    assert (late.value.error_id, late.value.dataset) == (0xA710, attributes())
    assert missing.value.offending == (0x00100020, 0x00080060)


@pytest.mark.parametrize(
    ("context", "named"),
    [
        (uids.GRAYSCALE_PRINT_META, uids.FILM_BOX),
        (uids.COLOR_PRINT_META, uids.COLOR_IMAGE_BOX),
        (uids.UPS_WATCH, uids.UPS_PUSH),
        (uids.UPS_PULL, uids.UPS_PUSH),
    ],
)
async def test_a_related_class_is_named_on_the_context_that_there_is(context: str, named: str) -> None:
    server, requests = recording(named)
    async with server, connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=[(context, [IMPLICIT])]) as association:
        await NormalizedSCU(association).create(named, attributes())
        with pytest.raises(PresentationContextError, match="Verification SOP Class"):
            await NormalizedSCU(association).get(uids.VERIFICATION, "1.2.3")
    assert [request.sop_class_uid for request in requests] == [named]


async def test_a_refused_meta_class_is_named() -> None:
    server, _ = recording(STEP)
    contexts = [(uids.COLOR_PRINT_META, [IMPLICIT])]
    async with server, connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=contexts) as association:
        with pytest.raises(PresentationContextError, match="Basic Color Print Management Meta SOP Class"):
            await NormalizedSCU(association).create(uids.FILM_SESSION)


async def test_an_operation_or_a_class_without_a_handler_is_refused() -> None:
    server = Server("ARCHIVE", port=0)

    @server.on_n_set(STEP, uids.FILM_BOX)
    async def change(_: NormalizedRequest) -> int:
        return Status.SUCCESS

    contexts = [(STEP, [IMPLICIT]), (uids.GRAYSCALE_PRINT_META, [IMPLICIT]), (PRIVATE, [IMPLICIT])]
    async with server, connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=contexts) as association:
        scu = NormalizedSCU(association)
        for refused, status in (
            (scu.get(STEP, "1.2.3"), 0x0211),
            (scu.set(uids.FILM_SESSION, "1.2.3", attributes()), 0x0122),
        ):
            with pytest.raises(StatusError) as caught:
                await refused
            assert caught.value.status == status
        with pytest.raises(PresentationContextError):
            await scu.get(PRIVATE, "1.2.3")


async def test_a_data_set_that_was_announced_and_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse.network.incoming_data.IDENTIFIER_GRACE", 0.05)

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        received = await peer.receive_message()
        command, _ = response(received, data=b"\0\0")
        await peer.send([command])
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=[(STEP, [IMPLICIT])]) as association:
        assert (await NormalizedSCU(association).create(STEP, attributes())).dataset is None


async def test_a_data_set_that_cannot_be_read() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        for status in (0, 0x0110):
            await peer.send(response(await peer.receive_message(), status, data=b"\x08\0\x60\0\xff\xff\xff\0"))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=[(STEP, [IMPLICIT])]) as association:
        scu = NormalizedSCU(association)
        with pytest.raises(DatasetError, match="N-SET: the data set of the response cannot be read"):
            await scu.set(STEP, "1.2.3", attributes())
        with pytest.raises(StatusError, match="N-SET: 0x0110"):
            await scu.set(STEP, "1.2.3", attributes())


async def test_a_keyword_that_does_not_exist() -> None:
    server, _ = recording(STEP)
    async with server, connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=[(STEP, [IMPLICIT])]) as association:
        with pytest.raises(ValueError, match="unknown keyword 'PatientIdd'"):
            await NormalizedSCU(association).get(STEP, "1.2.3", ["PatientIdd"])


@given(
    kind=st.sampled_from([N_CREATE_RSP, N_SET_RSP, N_ACTION_RSP]),
    number=st.integers(1, 0xFFFF),
    status=st.integers(0, 0xFFFF),
    tags=st.lists(st.integers(0, 0xFFFFFFFF), max_size=8),
    error_id=st.none() | st.integers(0, 0xFFFF),
)
def test_responses_survive_the_wire(
    kind: type[NormalizedResponse], number: int, status: int, tags: list[int], error_id: int | None
) -> None:
    message = kind(
        message_id_being_responded_to=number,
        status=Status(status),
        affected_sop_class_uid=STEP,
        attribute_identifier_list=tuple(tags) or None,
        error_id=error_id,
    )
    assert decode_message(message.encode()) == message
