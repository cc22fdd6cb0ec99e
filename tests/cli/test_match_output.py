"""Matches as a table, CSV and JSON."""

from __future__ import annotations

import json

import pytest
from pydicom import DataElement
from pydicom.config import IGNORE
from pydicom.dataset import Dataset

from dimse.cli.match_output import Column, CsvMatches, JsonMatches, Matches, TableMatches

KEYS = ("PatientID", "RequestAttributesSequence.ScheduledProcedureStepID")
COLUMNS = list(map(Column, KEYS))


@pytest.fixture
def match() -> Dataset:
    step = Dataset()
    step.ScheduledProcedureStepID = "S1"
    match = Dataset()
    match.PatientID = "4711"
    match.RequestAttributesSequence = [step]
    return match


def shown(matches: Matches, *found: Dataset) -> None:
    with matches.shown():
        for match in found:
            matches.add(match)
    assert matches.count == len(found)


def test_csv(match: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    shown(CsvMatches(COLUMNS), match)
    assert capsys.readouterr().out.splitlines() == [",".join(KEYS), "4711,S1"]


def test_json(match: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    shown(JsonMatches(COLUMNS), match, match)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["00100020"]["Value"] for line in lines] == [["4711"], ["4711"]]


def test_a_table_is_printed_also_if_it_ends_early(match: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    matches = TableMatches([Column("PatientID")])

    def lose_association() -> None:
        with matches.shown():
            matches.add(match)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        lose_association()
    out = capsys.readouterr().out
    assert "4711" in out
    assert out.endswith("1 match\n")


def test_a_table_cuts_what_no_terminal_shows(capsys: pytest.CaptureFixture[str], match: Dataset) -> None:
    match.add(DataElement(0x00100020, "LO", "a\x01" * 200_000, validation_mode=IGNORE))
    shown(TableMatches([Column("PatientID")]), match)
    out = capsys.readouterr().out
    assert len(out) < 40_000  # three lines
    assert "a\\x01a" in out
    assert out.endswith("1 match; cut to the width of the terminal (--csv and --json show everything)\n")


@pytest.mark.parametrize("columns", ["30", "200"])
def test_uids_are_cut_last(columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    match = Dataset()
    match.PatientName, match.StudyInstanceUID = "A long name " * 4, "1.2.840.113619"
    shown(TableMatches([Column("PatientName"), Column("StudyInstanceUID")]), match)
    out = capsys.readouterr().out
    assert "1.2.840.113619" in out
    assert ("cut to the width of the terminal" in out) == (columns == "30")


def test_headings_are_on_one_line_where_there_is_room(
    match: Dataset, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    match.NumberOfStudyRelatedInstances = 200
    for columns, lines in (("80", 1), ("30", 4)):
        monkeypatch.setenv("COLUMNS", columns)
        shown(TableMatches([Column("PatientID"), Column("NumberOfStudyRelatedInstances")]), match)
        heading, _ = capsys.readouterr().out.split("\u2500", 1)
        assert len(heading.rstrip().splitlines()) == lines
