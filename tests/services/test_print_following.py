"""Following print jobs: by asking, and by events."""

from __future__ import annotations

import pytest
from tests.print_samples import gray
from tests.services.faulty_printer import Printer

from dimse import PrintFailed, PrintJobState, print_images


async def test_a_printer_without_jobs_tells_no_more() -> None:
    printer = Printer()
    async with printer.server:
        report = await print_images(printer.address, gray(1))
    assert [each.state for each in report.films] == [PrintJobState.UNKNOWN]
    assert report.failures == ()
    assert "no presentation LUTs" in report.warnings[0]
    assert [each.split()[0] for each in printer.asked] == [
        *("N-CREATE-RQ", "N-CREATE-RQ", "N-SET-RQ", "N-ACTION-RQ", "N-DELETE-RQ", "N-DELETE-RQ")
    ]


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (["PENDING", "PRINTING", "DONE"], PrintJobState.DONE),
        (["FAILURE"], PrintJobState.FAILURE),
        (["forgotten"], PrintJobState.UNKNOWN),
        (["NONSENSE"], PrintJobState.UNKNOWN),
    ],
)
async def test_jobs_are_asked_for_until_they_end(
    states: list[str], state: PrintJobState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dimse.services.print_following.FIRST_PAUSE", 0.001)
    printer = Printer()
    printer.has_jobs()
    printer.job = states.copy()
    async with printer.server:
        report = await print_images(printer.address, gray(1), raise_failures=False)
    assert [each.state for each in report.films] == [state]
    assert sum(each.startswith("N-GET") for each in printer.asked) == len(states)


async def test_a_job_that_is_not_done_in_time_is_a_failure() -> None:
    printer = Printer()
    printer.has_jobs()
    printer.job = ["PRINTING"]
    async with printer.server:
        with pytest.raises(PrintFailed, match=r"film 1: not printed in time, its job is PRINTING \(SUPPLY EMPTY\)"):
            await print_images(printer.address, gray(1), follow=0)
