"""Each state of a requested commitment with each event."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dimse.services.commitment_states import REQUESTS, RequestEvent, RequestState

HISTORIES = st.lists(st.sampled_from(RequestEvent), max_size=12)


def after(events: list[RequestEvent]) -> RequestState:
    state = RequestState.SENT
    for event in events:
        state = REQUESTS[state, event]
    return state


def test_each_state_has_an_answer_to_each_event() -> None:
    assert set(REQUESTS) == {(state, event) for state in RequestState for event in RequestEvent}


@given(HISTORIES)
def test_a_request_is_reported_only_by_a_report(events: list[RequestEvent]) -> None:
    if after(events) in (RequestState.REPORTED, RequestState.REPORTED_EARLY):
        assert RequestEvent.REPORT in events


@given(HISTORIES, HISTORIES)
def test_the_end_is_final(events: list[RequestEvent], later: list[RequestEvent]) -> None:
    end = after(events)
    if end.is_final:
        assert after(events + later) is end


@given(HISTORIES)
def test_what_was_refused_first_is_never_reported(events: list[RequestEvent]) -> None:
    answers = [event for event in events if event is not RequestEvent.REPORT]
    if answers and answers[0] is RequestEvent.REFUSAL:
        assert after(events) is RequestState.REFUSED


@given(HISTORIES)
def test_time_ends_each_request(events: list[RequestEvent]) -> None:
    assert after([*events, RequestEvent.EXPIRY]).is_final
