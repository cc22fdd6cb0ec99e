"""`--audit` on commands of both roles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dimse.cli.app import run


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
    folder = tmp_path / "trail"
    folder.mkdir()
    receiver = receive("--audit", folder / "audit.log")
    folder.rename(tmp_path / "moved")
    assert dimse("send", receiver.address, ct).code == 0
    assert receiver.end().err.count("audit messages are lost") == 1


def test_a_misspelled_file_is_told_at_once(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for path in (tmp_path / "no folder" / "audit.log", tmp_path):
        for command in (["receive", "--into", str(tmp_path)], ["echo", "A@127.0.0.1"]):
            assert run([*command, "--audit", str(path)]) == 2
            said = f"dimse: argument --audit: {path} cannot be written\n"
            assert capfd.readouterr() == ("", said)


def _meaning(line: str) -> str:
    return line.partition('originalText="')[2].partition('"')[0]
