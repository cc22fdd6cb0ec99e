"""`--audit` on commands of both roles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_commands_write_audit_trails(
    dimse: Callable[..., Any], receive: Callable[..., Any], ct: Path, tmp_path: Path
) -> None:
    theirs, ours = tmp_path / "theirs.log", tmp_path / "ours.log"
    receiver = receive("--audit", theirs)
    assert dimse("send", receiver.address, ct, "--calling", "CT1").code == 0
    assert dimse("find", receiver.address, "-k", "PatientID=P1", "--audit", ours).code != 0
    assert receiver.end().code == 0
    events = [_meaning(line) for line in theirs.read_text("ascii").splitlines()]
    assert events == ["Application Activity", "DICOM Instances Transferred", "Application Activity"]
    assert "AETITLES=CT1" in theirs.read_text("ascii")
    assert not ours.exists()  # the receiver accepts no C-FIND, so none was sent


def test_a_trail_that_cannot_be_written_does_not_stop_a_receiver(
    dimse: Callable[..., Any], receive: Callable[..., Any], ct: Path, tmp_path: Path
) -> None:
    receiver = receive("--audit", tmp_path / "no folder" / "audit.log")
    assert dimse("send", receiver.address, ct).code == 0
    assert receiver.end().err.count("audit messages are lost") == 1


def _meaning(line: str) -> str:
    return line.partition('originalText="')[2].partition('"')[0]
