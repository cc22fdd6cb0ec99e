"""What `dimse node` prints."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dimse import (
    AssociationEnd,
    AssociationEnded,
    AssociationFailed,
    AssociationInfo,
    ConnectionLost,
    ServerStats,
    StatusCategory,
)
from dimse.cli.node_report import NodeReport
from dimse.node import NodeOptions


def ended(*, error: Exception | None = None, is_requestor: bool = False) -> AssociationEnded:
    info = AssociationInfo(
        id=1, peer="10.0.0.7:99", calling_ae_title="CT1", called_ae_title="A", is_requestor=is_requestor
    )
    return AssociationEnded(
        association=info,
        time=datetime.now(UTC),
        seconds=1.5,
        end=AssociationEnd.RELEASED_BY_PEER,
        error=error,
        requested=0,
        served=3,
        bytes_received=2_000_000,
        bytes_sent=50,
    )


def failed(*, is_requestor: bool = False) -> AssociationFailed:
    info = AssociationInfo(
        id=2, peer="10.0.0.8:99", calling_ae_title="CT2", called_ae_title="A", is_requestor=is_requestor
    )
    reason = "no rule fits the calling AE title"
    return AssociationFailed(association=info, time=datetime.now(UTC), seconds=0.1, rejection=(1, 1, 3), reason=reason)


STATS = ServerStats(
    since=datetime.now(UTC),
    associations=0,
    accepted=2,
    rejected={"calling AE title not recognized": 3},
    operations={("C-STORE", StatusCategory.SUCCESS): 5, ("C-STORE", StatusCategory.FAILURE): 1},
    bytes_received=4_000_000,
    bytes_sent=50,
)


def test_associations_and_the_summary(capfd: pytest.CaptureFixture[str]) -> None:
    report = NodeReport(json=False, quiet=False)
    report.event(ended())
    report.event(ended(error=ConnectionLost("the connection was lost")))
    report.event(ended(is_requestor=True))
    report.finish(STATS)
    first, second, summary = capfd.readouterr().out.splitlines()
    in_all = "CT1 at 10.0.0.7:99: 3 requests in 1.5 s, 2.0 MB received, 50 bytes sent"
    assert first.split("  ", 1)[1] == in_all
    assert second.split("  ", 1)[1] == f"{in_all}; ended by an error: the connection was lost"
    assert summary == "2 associations, 3 rejected, 6 C-STORE; 4.0 MB received, 50 bytes sent; 1 operation failed"


def test_an_association_that_was_rejected_and_why(capfd: pytest.CaptureFixture[str]) -> None:
    report = NodeReport(json=False, quiet=False)
    report.event(failed())
    report.event(failed(is_requestor=True))
    assert capfd.readouterr().out.split("  ", 1)[1] == (
        "CT2 at 10.0.0.8:99: no association with A: no rule fits the calling AE title\n"
    )
    NodeReport(json=True, quiet=False).event(failed())
    assert json.loads(capfd.readouterr().out) == {
        "event": "association-failed",
        "calling_ae_title": "CT2",
        "called_ae_title": "A",
        "peer": "10.0.0.8:99",
        "error": "no rule fits the calling AE title",
    }


def test_what_needs_a_restart_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    report = NodeReport(json=False, quiet=False)
    report.reloaded(NodeOptions(data=Path("x")), [])
    report.reloaded(NodeOptions(data=Path("x")), ["storage", "web"])
    assert capfd.readouterr().out.splitlines() == [
        "Reloaded: every peer, 0 destinations",
        "Reloaded: every peer, 0 destinations; storage, web as before, until the node is restarted",
    ]


def test_json_has_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    report = NodeReport(json=True, quiet=False)
    report.event(ended())
    report.reloaded(NodeOptions(data=Path("x"), destinations={"WS1": "WS1@ws1"}), ["storage"])
    report.finish(STATS)
    association, reloaded, summary = map(json.loads, capfd.readouterr().out.splitlines())
    assert (association["event"], association["requests"], association["seconds"]) == ("association", 3, 1.5)
    assert reloaded == {"event": "reloaded", "peers": None, "destinations": 1, "restart": ["storage"]}
    assert (summary["associations"], summary["rejected"]) == (2, 3)
    assert (summary["operations"], summary["failed"]) == ({"C-STORE": 6}, 1)
