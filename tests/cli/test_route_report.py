"""The report of `dimse route`: the state of destinations, as JSON and in words, and lines about objects."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dimse import ForwardOutcome, ForwardResult, ForwardState, Status, StatusError
from dimse.cli.route_report import STATE_FILE, RoutingReport, json_of, state_of, write_state

STATE = ForwardState(
    waiting=12,
    waiting_bytes=6_300_000,
    in_work=3,
    delivered=100,
    failed=1,
    failed_bytes=500,
    reachable_since=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    error=None,
    next_attempt=None,
)
DOWN = replace(STATE, in_work=0, reachable_since=None, error="no route", next_attempt=datetime.now(UTC))


@pytest.mark.parametrize("state", [STATE, DOWN])
def test_a_state_survives_json(state: ForwardState) -> None:
    assert state_of(json_of(state)) == state


def test_a_state_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    report = RoutingReport(json=False, quiet=True)
    report.state("archive", STATE, running=True)
    report.state("research", DOWN, running=True)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(
        "archive: 12 waiting (6.3 MB), 3 of them in transit, 100 delivered, 1 failed; reachable since 2"
    )
    assert second.startswith("research: 12 waiting (6.3 MB), 100 delivered, 1 failed; no route; next attempt at ")


def test_the_state_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_state(tmp_path, {"a": STATE})
    write_state(tmp_path, {"a": STATE, "b": DOWN})
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]


@pytest.mark.parametrize("quiet", [False, True])
def test_lines_about_objects(capsys: pytest.CaptureFixture[str], *, quiet: bool) -> None:
    report = RoutingReport(json=False, quiet=quiet)
    delivered = ForwardResult("archive", ForwardOutcome.DELIVERED, "1.2.3", Status.SUCCESS, None, 2000)
    refused = StatusError(0xC000)
    report.forwarded(delivered)
    report.forwarded(replace(delivered, outcome=ForwardOutcome.WAITING, error=refused))
    report.forwarded(replace(delivered, outcome=ForwardOutcome.FAILED, error=refused))
    report.finish({"archive": STATE})
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("  ")[2] for line in lines[:-1]] == (
        [] if quiet else ["delivered to archive    2.0 KB  1.2.3"]
    )
    assert lines[-1] == "0 objects received, 1 delivered, 12 waiting, 1 failed"
