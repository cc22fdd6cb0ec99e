"""DIMSE-N as SCP: requests that PS3.7 does not allow, and handlers that fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydicom import Dataset
from tests.sample_objects import IMPLICIT
from tests.services.test_normalized_scu import STEP, attributes

from dimse import (
    NormalizedReply,
    NormalizedRequest,
    NormalizedSCU,
    Server,
    ServerOptions,
    Status,
    StatusError,
    StoreRequest,
    Strictness,
    connect,
)
from dimse.dataset.codec import encode
from dimse.messages.message import (
    N_ACTION_RQ,
    N_CREATE_RQ,
    N_EVENT_REPORT_RQ,
    N_EVENT_REPORT_RSP,
    N_GET_RQ,
    N_SET_RQ,
    NormalizedResponse,
    Request,
)
from dimse.testing import ScriptedPeer, associate_request, message_pdvs
from dimse.upper_layer.pdu import P_DATA_TF


def refusing() -> Server:
    """A strict server, whose handlers must not be reached."""
    server = Server("ARCHIVE", port=0, options=ServerOptions(strictness=Strictness.STRICT))

    @server.on_n_create(STEP)
    @server.on_n_set(STEP)
    @server.on_n_get(STEP)
    @server.on_n_action(STEP)
    @server.on_n_event_report(STEP)
    async def handle(_: NormalizedRequest) -> int:
        raise AssertionError("the request reached its handler")

    return server


@pytest.mark.parametrize(
    ("request_", "data", "status"),
    [
        (N_SET_RQ(message_id=1, requested_sop_class_uid=STEP), b"", 0x0117),
        (N_GET_RQ(message_id=1, requested_sop_class_uid=STEP, requested_sop_instance_uid="1.2.x"), None, 0x0117),
        (N_CREATE_RQ(message_id=1, affected_sop_class_uid=STEP, affected_sop_instance_uid="x" * 65), None, 0x0117),
        (N_ACTION_RQ(message_id=1, requested_sop_class_uid=STEP, requested_sop_instance_uid="1.2"), None, 0x0123),
        (N_EVENT_REPORT_RQ(message_id=1, affected_sop_class_uid=STEP, affected_sop_instance_uid="1.2"), None, 0x0113),
        (
            N_CREATE_RQ(message_id=1, affected_sop_class_uid=STEP, dataset_follows=True),
            b"\x08\0\x60\0\xff\xff\xff\0",
            0x0110,
        ),
        (N_GET_RQ(message_id=1, requested_sop_class_uid="1.2.840.10008.1.1"), None, 0x0122),
    ],
)
async def test_what_cannot_be_served_is_answered_before_the_handler(
    request_: Request, data: bytes | None, status: int
) -> None:
    async with refusing() as server, await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(associate_request((STEP, [IMPLICIT])))
        await peer.send(message_pdvs(request_, data))
        answer = (await peer.receive_message()).message
        assert isinstance(answer, NormalizedResponse)
        assert answer.status == status
        await peer.release()


async def test_a_data_set_over_the_limit_of_its_handler() -> None:
    server = Server("ARCHIVE", port=0)

    @server.on_n_set(STEP, maximum_length=16)
    async def handle(_: NormalizedRequest) -> int:
        return Status.SUCCESS

    async with server, connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=[(STEP, [IMPLICIT])]) as association:
        scu = NormalizedSCU(association)
        with pytest.raises(StatusError, match=r"0x0213.*more than 16 bytes"):
            await scu.set(STEP, "1.2.3", attributes("DISCONTINUED"))
        assert (await scu.set(STEP, "1.2.3", attributes("DONE"))).status == Status.SUCCESS


@pytest.mark.parametrize("answer", [None, "Success", Status.PENDING, NormalizedReply(status=0xFE00), ValueError("why")])
async def test_a_handler_that_fails_or_answers_nonsense(answer: object) -> None:
    server = Server("ARCHIVE", port=0)

    @server.on_n_set(STEP)
    async def handle(_: NormalizedRequest) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with server, connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=[(STEP, [IMPLICIT])]) as association:
        with pytest.raises(StatusError, match=r"0x0110.*the handler failed"):
            await NormalizedSCU(association).set(STEP, "1.2.3", attributes())
        assert association.is_open


@pytest.mark.parametrize("comment", [None, "which step?"])
async def test_a_raised_status_names_its_attributes_with_and_without_a_comment(comment: str | None) -> None:
    server = Server("ARCHIVE", port=0)

    @server.on_n_set(STEP)
    async def handle(_: NormalizedRequest) -> int:
        raise StatusError(Status.MISSING_ATTRIBUTE, "N-SET", comment, [0x00400252])

    async with server, connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=[(STEP, [IMPLICIT])]) as association:
        with pytest.raises(StatusError) as caught:
            await NormalizedSCU(association).set(STEP, "1.2.3", attributes())
    assert (caught.value.status, caught.value.comment, caught.value.offending) == (0x0120, comment, (0x00400252,))


async def test_the_response_repeats_the_type_of_the_event() -> None:
    server = Server("ARCHIVE", port=0)

    @server.on_n_event_report(STEP)
    async def handle(request: NormalizedRequest) -> NormalizedReply:
        return NormalizedReply(request.dataset)

    async with server, await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(associate_request((STEP, [IMPLICIT])))
        request = N_EVENT_REPORT_RQ(
            message_id=1, affected_sop_class_uid=STEP, affected_sop_instance_uid="1.2", event_type_id=3
        )
        await peer.send(message_pdvs(request))
        received = await peer.receive_message()
        assert isinstance(received.message, N_EVENT_REPORT_RSP)
        assert (received.message.event_type_id, received.message.affected_sop_instance_uid) == (3, "1.2")
        await peer.release()


class _Received:
    """A server that keeps the data sets of its requests."""

    def __init__(self) -> None:
        self.server = Server("ARCHIVE", port=0)
        self.datasets: list[Dataset] = []
        self.server.on_n_create(STEP)(self._handle)
        self.server.on_n_action(STEP)(self._handle)

    async def _handle(self, request: NormalizedRequest) -> int:
        self.datasets.append(request.dataset)
        return Status.SUCCESS


_ANNOUNCED: list[Request] = [
    N_CREATE_RQ(message_id=1, affected_sop_class_uid=STEP, dataset_follows=True),
    N_ACTION_RQ(
        message_id=1,
        requested_sop_class_uid=STEP,
        requested_sop_instance_uid="1.2",
        action_type_id=1,
        dataset_follows=True,
    ),
    N_SET_RQ(message_id=1, requested_sop_class_uid=STEP, requested_sop_instance_uid="1.2"),
]


@pytest.mark.parametrize("request_", _ANNOUNCED, ids=lambda request: request.name)
async def test_a_data_set_that_is_announced_and_never_comes_is_empty(
    request_: Request, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Pynetdicom announces an empty data set so. An N-SET has no handler here."""
    monkeypatch.setattr("dimse.network.incoming_data.IDENTIFIER_GRACE", 0.05)
    caplog.set_level("INFO", "dimse.network")
    served = _Received()
    async with served.server as server, await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(associate_request((STEP, [IMPLICIT])))
        for _ in range(2):
            await peer.send(message_pdvs(request_))
            answer = (await peer.receive_message()).message
            assert isinstance(answer, NormalizedResponse)
            assert answer.status == (0x0211 if isinstance(request_, N_SET_RQ) else 0)
        await peer.release()
    assert all(len(dataset) == 0 for dataset in served.datasets)
    assert sum("announces a data set that does not follow" in each for each in caplog.messages) == 1


async def test_a_command_in_place_of_an_announced_data_set() -> None:
    served = _Received()
    async with served.server as server, await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(associate_request((STEP, [IMPLICIT])))
        await peer.send(message_pdvs(_ANNOUNCED[0]), message_pdvs(_ANNOUNCED[0], b""))
        for _ in range(2):
            answer = (await peer.receive_message()).message
            assert isinstance(answer, NormalizedResponse)
            assert answer.status == Status.SUCCESS
        await peer.release()
    assert served.datasets == [Dataset(), Dataset()]


async def test_a_data_set_that_comes_after_its_request_was_served_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer would believe that it counts."""
    monkeypatch.setattr("dimse.network.incoming_data.IDENTIFIER_GRACE", 0.05)
    served = _Received()
    async with served.server as server, await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(associate_request((STEP, [IMPLICIT])))
        command, data = message_pdvs(_ANNOUNCED[0], encode(attributes(), IMPLICIT))
        await peer.send(command)
        await peer.receive_message()
        await peer.send(data)
        await peer.expect_abort(2, 5)


async def test_a_data_set_that_has_begun_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if nothing but the header of its PDU has come."""
    monkeypatch.setattr("dimse.network.incoming_data.IDENTIFIER_GRACE", 0.02)
    served = _Received()
    async with served.server as server, await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(associate_request((STEP, [IMPLICIT])))
        command, data = message_pdvs(_ANNOUNCED[0], encode(attributes("DONE"), IMPLICIT))
        await peer.send(command)
        whole = P_DATA_TF((data,)).encode()
        for start in range(0, 20, 5):
            await peer.send(whole[start : start + 5])
            await asyncio.sleep(0.03)
        await peer.send(whole[20:])
        await peer.receive_message()
        await peer.release()
    assert served.datasets == [attributes("DONE")]


async def test_a_private_class_with_a_handler_is_not_one_to_store() -> None:
    """The transfer syntaxes of instances are not those of its contexts."""
    server = Server("ARCHIVE", port=0, options=ServerOptions(transfer_syntaxes=["1.2.840.10008.1.2.4.50"]))

    @server.on_c_store
    async def store(_: StoreRequest) -> int:
        return Status.SUCCESS

    @server.on_n_delete("1.2.3")
    async def delete(_: NormalizedRequest) -> int:
        return Status.SUCCESS

    contexts = [("1.2.3", [IMPLICIT]), ("1.2.4", [IMPLICIT])]
    async with server, connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=contexts) as association:
        assert [each.abstract_syntax for each in association.contexts.values()] == ["1.2.3"]
        await NormalizedSCU(association).delete("1.2.3", "1.2.3.4")


@pytest.mark.parametrize("sop_classes", [(), ("CT",), (STEP, 5)])
def test_a_handler_is_registered_for_classes(sop_classes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="must be one UID or more"):
        Server().on_n_create(*sop_classes)
