"""The report of `dimse send`."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dimse import Address, ConnectionLost, DatasetError, SendResult, Status
from dimse.cli.send_report import SendingReport

ADDRESS = Address("A", "host", 104)
STORED = SendResult("a.dcm", "1.2", Status.SUCCESS, attempts=1, bytes_sent=1000)
WARNING = SendResult("b.dcm", "1.3", Status(0xB000), comment="kept", attempts=1, bytes_sent=1000)
SKIPPED = SendResult("notes.txt", error=DatasetError("not a DICOM file"), skipped=True)
FAILED = SendResult("c.dcm", error=DatasetError("cut short"))
LOST = SendResult("d.dcm", error=ConnectionLost("closed by the peer"))


def test_problems_are_lines_and_the_summary_counts(capsys: pytest.CaptureFixture[str]) -> None:
    report = SendingReport(ADDRESS, json=False)
    for result in (STORED, WARNING, SKIPPED, FAILED):
        report.add(result)
    report.associations, report.operations_window = 2, 16
    report.finish()
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        f"warning: b.dcm: stored, {Status(0xB000)} (kept)",
        "skipped: notes.txt: not a DICOM file",
        "failed: c.dcm: cut short",
    ]
    assert out.startswith("2 objects stored at A@host:104, 1 with a warning, 1 failed, 1 skipped: 2.0 KB in ")
    assert out.endswith("/s, over 2 associations, up to 16 at once\n")


@pytest.mark.parametrize(
    ("results", "code"), [([STORED, WARNING, SKIPPED], 0), ([STORED, FAILED], 1), ([SKIPPED], 1), ([STORED, LOST], 3)]
)
def test_exit_codes(results: list[SendResult], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    report = SendingReport(ADDRESS, json=False)
    for result in results:
        report.add(result)
    assert report.exit_code == code


def test_json_of_a_job_that_ended_early(capsys: pytest.CaptureFixture[str]) -> None:
    report = SendingReport(ADDRESS, json=True)
    report.add(LOST)
    report.finish("closed by the peer")
    result, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert (result["outcome"], result["error"], result["status"]) == ("failed", "closed by the peer", None)
    assert (summary["stored"], summary["failed"], summary["error"]) == (0, 1, "closed by the peer")


def test_what_was_sent_before_is_counted_and_its_warnings_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    report = SendingReport(ADDRESS, json=False)
    for result in (STORED, *(replace(each, sent_before=True, bytes_sent=0) for each in (STORED, WARNING))):
        report.add(result)
    report.finish()
    out, err = capsys.readouterr()
    assert err == f"warning: b.dcm: stored before, {Status(0xB000)} (kept)\n"
    assert out.startswith("3 objects stored at A@host:104, 2 of them before, 1 with a warning: 1.0 KB in ")


def test_what_was_not_sent_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    report = SendingReport(ADDRESS, json=False)
    report.add(FAILED)  # before the transfer, of which it is no part
    report.left = 200
    for result in [STORED] * 66 + [FAILED]:
        report.add(result)
    report.finish("interrupted")
    assert capsys.readouterr().out.startswith("66 of 201 objects stored at A@host:104, 2 failed, 133 not sent: ")
