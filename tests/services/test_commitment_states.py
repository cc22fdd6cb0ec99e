"""Each state of a requested commitment with each event."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dimse.services.commitment_states import REQUESTS, RequestEvent, RequestState

HISTORIES = st.lists(st.sampled_from(RequestEvent), max_size=8)


def after(events: list[RequestEvent]) -> RequestState:
    state = RequestState.SENT
    for event in events:
        state = REQUESTS[state, event]
    return state


def test_each_state_has_an_answer_to_each_event() -> None:
    assert set(REQUESTS) == {(state, event) for state in RequestState for event in RequestEvent}


@settings(max_examples=100)
@given(HISTORIES, HISTORIES)
def test_histories(events: list[RequestEvent], later: list[RequestEvent]) -> None:
    end = after(events)
    if end in (RequestState.REPORTED, RequestState.REPORTED_EARLY):
        assert RequestEvent.REPORT in events  # only a report commits
    if end.is_final:
        assert after(events + later) is end
    answers = [event for event in events if event is not RequestEvent.REPORT]
    if answers and answers[0] is RequestEvent.REFUSAL:
        assert end is RequestState.REFUSED
    assert after([*events, RequestEvent.EXPIRY]).is_final  # no request is open for ever
