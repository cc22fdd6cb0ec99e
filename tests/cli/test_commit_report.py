"""The report of `dimse commit`."""

from __future__ import annotations

import json

import pytest

from dimse import Address, NotCommitted
from dimse.cli.commit_report import CommittingReport
from dimse.services.commitment_scu import CommitmentResult


def results() -> list[CommitmentResult]:
    refused = NotCommitted("1.2.4", "no such object instance", 0x0112)
    return [
        CommitmentResult("1.2.840.10008.5.1.4.1.1.2", "1.2.3", name="ct.dcm", transaction_uid="2.25.1"),
        CommitmentResult("1.2.840.10008.5.1.4.1.1.2", "1.2.4", refused, transaction_uid="2.25.1"),
        CommitmentResult("", "", ValueError("not a DICOM file"), name="notes.txt", skipped=True),
    ]


def test_each_result_and_the_summary_as_lines(capsys: pytest.CaptureFixture[str]) -> None:
    report = CommittingReport(Address.parse("ARCHIVE@localhost:11112"), json=False)
    for result in results():
        report.add(result)
    report.finish(1)
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "committed: ct.dcm"
    assert "1 object committed at ARCHIVE@localhost:11112, 1 not committed, 1 skipped" in out
    assert "not committed: 1.2.4: no such object instance" in err
    assert "skipped: notes.txt" in err
    assert report.exit_code == 1


def test_each_result_and_the_summary_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    report = CommittingReport(Address.parse("ARCHIVE@localhost:11112"), json=True)
    for result in results():
        report.add(result)
    report.finish(1)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["event"], line.get("outcome"), line.get("failure_reason")) for line in lines] == [
        ("result", "committed", None),
        ("result", "failed", "0x0112"),
        ("result", "skipped", None),
        ("summary", None, None),
    ]
    assert {key: lines[-1][key] for key in ("committed", "failed", "skipped", "transactions")} == {
        "committed": 1,
        "failed": 1,
        "skipped": 1,
        "transactions": 1,
    }


def test_nothing_committed_is_a_failure() -> None:
    report = CommittingReport(Address.parse("ARCHIVE@localhost:11112"), json=True)
    report.add(results()[2])
    assert report.exit_code == 1
    report.add(results()[0])
    assert report.exit_code == 0
