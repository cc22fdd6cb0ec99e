"""The report of get, move and retrieve."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from dimse import (
    Address,
    ConnectionLost,
    RetrieveMethod,
    RetrieveResult,
    Status,
    StatusError,
    SubOperationFailed,
    SubOperations,
)
from dimse.cli.retrieve_report import RetrievingReport

ADDRESS = Address("A", "host", 104)


def failed(uid: str) -> RetrieveResult:
    return RetrieveResult(uid, error=SubOperationFailed(uid, "disk full"))


@pytest.fixture
def report() -> RetrievingReport:
    return RetrievingReport(ADDRESS, "moved", json=False)


async def test_instances_and_failures(
    report: RetrievingReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "1.dcm"
    path.write_bytes(bytes(2000))

    async def work() -> bool:
        report.add_result(RetrieveResult("1.2", path, RetrieveMethod.GET))
        report.add_result(failed("1.3"))
        report.expect(SubOperations(0, 1, 2, 0))
        return False

    assert await report.follow(work()) == 1
    out, err = capsys.readouterr()
    assert err == "failed: 1.3: disk full\n"
    assert out.startswith("1 instance moved, 2 failed: 2.0 KB in ")


async def test_existing_instances(report: RetrievingReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "1.dcm"
    path.write_bytes(bytes(2000))

    async def work() -> bool:
        report.add_result(RetrieveResult("1.1", path))
        report.add_result(RetrieveResult("1.2", path))
        report.add_result(RetrieveResult("1.3", path, RetrieveMethod.GET))
        report.add_result(failed("1.4"))
        return False

    assert await report.follow(work()) == 1
    assert capsys.readouterr().out.startswith("2 of 4 instances already here, 1 moved, 1 failed: 2.0 KB in ")


async def test_json_has_no_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    report = RetrievingReport(ADDRESS, "moved", json=True)

    async def work() -> bool:
        report.update(SubOperations(1, 1, 0, 0))
        return False

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert await report.follow(work()) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["progress", "summary"]
    assert err == ""


async def test_nothing_is_a_failure(report: RetrievingReport, capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> bool:
        return False

    assert await report.follow(work()) == 1
    assert capsys.readouterr() == ("", "dimse: nothing retrieved: no matching instances at A@host:104\n")


async def test_a_refusal_is_reported_once(report: RetrievingReport, capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> bool:
        refusal = StatusError(Status(0xA801), "C-MOVE", None)
        refusal.add_note("the archive must know WS")
        report.add_result(RetrieveResult("", error=refusal))
        return False

    assert await report.follow(work()) == 1
    assert capsys.readouterr() == ("", "dimse: C-MOVE: 0xA801 Move destination unknown; the archive must know WS\n")


@pytest.mark.parametrize(("completed", "shown"), [(2, "2 instances moved: "), (None, "instances moved: ")])
async def test_the_counters_of_the_peer(
    report: RetrievingReport, completed: int | None, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work() -> bool:
        report.update(SubOperations(0, completed, 0, 0))
        return False

    assert await report.follow(work()) == 0
    assert capsys.readouterr().out.startswith(shown)


async def test_interrupted(report: RetrievingReport, capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> bool:
        return True

    assert await report.follow(work()) == 130
    assert capsys.readouterr() == ("", "")


async def test_the_summary_of_a_lost_association_has_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    report = RetrievingReport(ADDRESS, "moved", json=True)

    async def work() -> bool:
        raise ConnectionLost("closed by the peer")

    with pytest.raises(ConnectionLost):
        await report.follow(work())
    (summary,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (summary["retrieved"], summary["error"]) == (0, "closed by the peer")
