"""A report is written as text, or as JSON lines."""

from __future__ import annotations

import json

import pytest

from dimse.cli.report import Report


def test_text_goes_to_standard_output_and_problems_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(json=False)
    report.write("result", {"outcome": "stored"}, None)
    report.write("result", {"outcome": "failed"}, "failed: x", is_problem=True)
    report.write("summary", {"stored": 1}, "1 stored")
    assert capsys.readouterr() == ("1 stored\n", "failed: x\n")


def test_json_has_every_event_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(json=True)
    report.write("result", {"outcome": "stored"}, None)
    report.write("result", {"outcome": "failed"}, "failed: x", is_problem=True)
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [
        {"event": "result", "outcome": "stored"},
        {"event": "result", "outcome": "failed"},
    ]
    assert err == ""
