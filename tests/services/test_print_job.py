"""Print jobs and their states."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from dimse.services.print_job import PrintJob, PrintJobState

ALLOWED = {
    (PrintJobState.PENDING, PrintJobState.PRINTING),
    (PrintJobState.PENDING, PrintJobState.FAILURE),
    (PrintJobState.PRINTING, PrintJobState.DONE),
    (PrintJobState.PRINTING, PrintJobState.FAILURE),
}


@pytest.mark.parametrize("after", PrintJobState)
@pytest.mark.parametrize("before", PrintJobState)
def test_the_states_in_their_order(before: PrintJobState, after: PrintJobState) -> None:
    job = PrintJob("1.2", Dataset(), "CT1")
    job.state = before
    if (before, after) in ALLOWED:
        job.enter(after)
        assert job.attributes.ExecutionStatus == after
    else:
        with pytest.raises(ValueError, match="cannot become"):
            job.enter(after)
        assert job.state is before


def test_events_and_what_n_get_gives() -> None:
    told = [PrintJobState.of_event(number) for number in (None, 0, 1, 2, 3, 4, 5)]
    assert told == [None, None, *list(PrintJobState)[:4], None]
    assert [each.event_type for each in list(PrintJobState)[:4]] == [1, 2, 3, 4]
    assert [each.has_ended for each in PrintJobState] == [False, False, True, True, True]
    attributes = PrintJob("1.2", Dataset(), "CT1").attributes
    assert (attributes.ExecutionStatus, attributes.Originator, attributes.PrintPriority) == ("PENDING", "CT1", "MED")
