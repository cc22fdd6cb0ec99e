"""Message IDs, and the request that a response belongs to."""

from __future__ import annotations

import pytest

from dimse.errors import AssociationError, LocalProtocolError, RemoteProtocolError
from dimse.messages.fragments import CommandReceived
from dimse.messages.message import C_ECHO_RSP, C_FIND_RSP, Response
from dimse.network.incoming_data import Discard, Receiver
from dimse.network.outstanding import OutstandingRequests
from dimse.status import Status
from dimse.upper_layer.negotiation import AcceptedContext


class Request:
    """One response is expected."""

    response_type: type[Response] = C_ECHO_RSP
    doing = "C-ECHO"

    def __init__(self) -> None:
        self.received: list[Response | Exception] = []

    def respond(self, message: Response) -> Receiver | None:
        self.received.append(message)
        return None

    def fail(self, error: Exception) -> None:
        self.received.append(error)


class Find(Request):
    """Many responses are expected."""

    response_type: type[Response] = C_FIND_RSP
    doing = "C-FIND"
    has_suboperations = False
    has_unanswered = False
    is_ending = False

    def request(self, context: AcceptedContext, command: CommandReceived) -> Receiver:  # noqa: ARG002 - the protocol's
        return Discard()

    async def cancel(self) -> None: ...

    async def wait_ended(self) -> None: ...


def response(message_id: int, status: int = 0) -> C_ECHO_RSP:
    return C_ECHO_RSP(message_id_being_responded_to=message_id, status=Status(status))


def test_a_response_goes_to_the_request_with_its_message_id() -> None:
    outstanding, first, second = OutstandingRequests(), Request(), Request()
    outstanding.begin(1, first)
    outstanding.begin(2, second)
    received = response(2)
    outstanding.respond(received, half_sent=None)
    assert (first.received, second.received) == ([], [received])


def test_a_message_id_in_use_is_skipped() -> None:
    outstanding = OutstandingRequests()
    outstanding.begin(2, Request())
    assert [outstanding.new_message_id() for _ in range(3)] == [1, 3, 4]


@pytest.mark.parametrize("message_id", [1, 2])
def test_a_response_that_no_request_awaits_breaks_the_protocol(message_id: int) -> None:
    outstanding, request = OutstandingRequests(), Request()
    outstanding.begin(1, request)
    assert outstanding.forget(1, request)
    assert not outstanding.forget(1, request)
    with pytest.raises(RemoteProtocolError, match=f"to message {message_id}, which does not await it"):
        outstanding.respond(response(message_id), half_sent=None)


def test_a_response_of_another_kind_breaks_the_protocol() -> None:
    outstanding = OutstandingRequests()
    outstanding.begin_operation(1, Find())
    with pytest.raises(RemoteProtocolError, match="does not await it"):
        outstanding.respond(response(1), half_sent=None)


@pytest.mark.parametrize(("status", "is_possible"), [(0x0000, False), (0xB000, False), (0xA700, True)])
def test_only_a_failure_may_come_before_the_request_is_sent(status: int, is_possible: bool) -> None:
    outstanding, request = OutstandingRequests(), Request()
    outstanding.begin(1, request)
    if is_possible:
        outstanding.respond(response(1, status), half_sent=1)
    else:
        with pytest.raises(RemoteProtocolError, match="is not sent yet"):
            outstanding.respond(response(1, status), half_sent=1)
    assert len(request.received) == is_possible


def test_a_message_id_used_again_is_not_forgotten_for_the_request_before() -> None:
    outstanding, before, after = OutstandingRequests(), Request(), Request()
    outstanding.begin(1, before)
    outstanding.forget(1, before)
    outstanding.begin(1, after)
    assert not outstanding.forget(1, before)
    assert len(outstanding) == 1


def test_an_operation_with_many_responses_is_alone() -> None:
    outstanding, request, find = OutstandingRequests(), Request(), Find()
    outstanding.begin(1, request)
    with pytest.raises(LocalProtocolError, match="C-FIND cannot begin while other operations are under way"):
        outstanding.begin_operation(2, find)
    outstanding.forget(1, request)
    outstanding.begin_operation(2, find)
    with pytest.raises(LocalProtocolError, match="C-FIND is under way"):
        outstanding.begin(3, request)
    with pytest.raises(LocalProtocolError, match="C-FIND is under way"):
        outstanding.begin_operation(3, Find())
    outstanding.forget(2, find)
    outstanding.begin(3, request)


def test_a_response_is_awaited_unless_the_peer_awaits_ours() -> None:
    outstanding, find = OutstandingRequests(), Find()
    awaited = [outstanding.awaits_response]
    outstanding.begin_operation(1, find)
    for find.has_unanswered in (False, True):
        awaited.append(outstanding.awaits_response)
    assert awaited == [False, True, False]


def test_all_get_the_reason_for_which_the_association_ended() -> None:
    outstanding, first, second = OutstandingRequests(), Request(), Request()
    outstanding.begin(1, first)
    outstanding.begin(2, second)
    reason = AssociationError("gone")
    outstanding.fail(reason)
    assert first.received == second.received == [reason]
