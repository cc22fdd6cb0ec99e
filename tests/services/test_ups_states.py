"""The states of a step: PS3.4 Table CC.1.1-2, cell by cell, as the standard prints it."""

from __future__ import annotations

import pytest

from dimse import Status, StatusError
from dimse.services.ups_states import UPSRequest, UPSState, UPSStatus, in_words, outcome, request_for

ROWS = """
    CREATE          right   SCHEDULED    0111         0111        0111       0111
    CLAIM           right   C307         IN_PROGRESS  C302        C300       C300
    CLAIM           wrong   C307         IN_PROGRESS  C301        C301       C301
    CLAIM           none    C307         C301         C301        C301       C301
    SCHEDULE        right   C307         C303         C303        C303       C303
    SCHEDULE        wrong   C307         C303         C303        C303       C303
    COMPLETE        right   C307         C310         COMPLETED   B306       C300
    COMPLETE        wrong   C307         C310         C301        C301       C301
    COMPLETE        none    C307         C301         C301        C301       C301
    REQUEST_CANCEL  none    C307         CANCELED     0000        C311       B304
    CANCEL          right   C307         C310         CANCELED    C300       B304
    CANCEL          wrong   C307         C310         C301        C301       C301
    CANCEL          none    C307         C301         C301        C301       C301
    SET             right   C307         C310         0000        C300       C300
    SET             wrong   C307         C310         C301        C300       C300
    SET             none    C307         0000         C301        C300       C300
"""
"""By the Transaction UID of the request. One that is not that of the step is only known to be wrong once it has one."""

CELLS = [
    (UPSRequest[request], given, state, answer)
    for request, given, *answers in map(str.split, ROWS.split("\n")[1:-1])
    for state, answer in zip((None, *UPSState), answers, strict=True)
]


@pytest.mark.parametrize(("request_", "given", "state", "answer"), CELLS)
def test_each_request_in_each_state(request_: UPSRequest, given: str, state: UPSState | None, answer: str) -> None:
    recorded = None if state in (None, UPSState.SCHEDULED) else "2.25.1"
    uid = {"right": "2.25.1", "wrong": "2.25.2", "none": None}[given]
    expected = UPSState[answer] if answer in UPSState.__members__ else UPSStatus(int(answer, 16))
    found = outcome(request_, state, uid, recorded)
    assert (type(found), found) == (type(expected), expected)


def test_each_state_has_its_request() -> None:
    assert [request_for(state).value for state in UPSState] == [f"N-ACTION to {state}" for state in UPSState]
    assert [state for state in UPSState if state.is_final] == ["COMPLETED", "CANCELED"]


CODES = "B300 B301 B304 B305 B306 C300 C301 C302 C303 C304 C307 C308 C309 C310 C311 C312 C313 C314 C315"


@pytest.mark.parametrize("code", [int(code, 16) for code in CODES.split()])
def test_each_status_has_words(code: int) -> None:
    assert UPSStatus(code).meaning not in (Status(code).meaning, Status(code).category.capitalize())


def test_other_statuses_have_the_words_that_they_always_have() -> None:
    assert str(UPSStatus(0x0110)) == "0x0110 Processing failure"
    assert UPSStatus(0xC300).with_comment("it ended").meaning == UPSStatus(0xC300).meaning


def test_the_error_of_a_peer_is_told_in_words() -> None:
    error = StatusError(0xC302, "N-ACTION", "taken", (0x00741000,)).at("WL@host:1")
    told = in_words(error)
    assert str(told) == (
        "WL@host:1: N-ACTION: 0xC302 The step is already IN PROGRESS (taken; offending element (0074,1000))"
    )
    assert (told.status, told.comment, told.offending, told.doing) == (0xC302, "taken", (0x00741000,), "N-ACTION")
