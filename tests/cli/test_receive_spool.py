"""`dimse receive --spool`: what is stored is also sent on, when the peer is there."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from dimse.testing import FakeArchive

Dimse = Callable[..., Any]
Receive = Callable[..., Any]


@pytest.mark.parametrize("more", [[], ["--spool-folder"]])
def test_what_is_stored_is_sent_on(
    dimse: Dimse, receive: Receive, tmp_path: Path, ct: Path, closed_port: int, more: list[str]
) -> None:
    down = f"DOWN@127.0.0.1:{closed_port}"
    with FakeArchive() as archive:
        options = [*more, str(tmp_path / "queue")] if more else []
        receiver = receive("--json", "--spool", archive.address, "--spool", down, *options, "--title", "HUB")
        assert dimse("send", f"HUB@127.0.0.1:{receiver.port}", ct).code == 0
        while '"forwarded"' not in (line := receiver.line()):
            assert line
        assert f'"destination": "{archive.address}", "outcome": "delivered"' in line
        done = receiver.end(signal.SIGTERM)
    assert done.code == 0
    assert f"{down} cannot be reached" in done.err
    assert [instance.SOPInstanceUID for instance in archive.instances] == [pydicom.dcmread(ct).SOPInstanceUID]
    assert archive.requests[0].calling_ae_title == "HUB"
    summary = done.lines[-1]
    assert (summary["stored"], summary["forwarded"], summary["not_forwarded"]) == (1, 1, 0)
    [stored] = receiver.files()
    spool = tmp_path / "queue" if more else receiver.folder.with_name(receiver.folder.name + ".spool")
    [waiting] = spool.rglob("*.dcm")
    assert waiting.samefile(receiver.folder / stored)


def test_what_was_kept_instead_is_not_sent_on(
    dimse: Dimse, receive: Receive, tmp_path: Path, ct: Path, closed_port: int
) -> None:
    other = tmp_path / "other.dcm"
    changed = pydicom.dcmread(ct)
    changed.PatientID = "OTHER"
    changed.save_as(other)
    receiver = receive("--spool", f"DOWN@127.0.0.1:{closed_port}")
    dimse("send", receiver.address, ct)
    dimse("send", receiver.address, other)
    assert receiver.end().code == 0
    assert len(list(receiver.folder.with_name(receiver.folder.name + ".spool").rglob("*.dcm"))) == 1


def test_a_wrong_peer_is_refused(dimse: Dimse, tmp_path: Path) -> None:
    done = dimse("receive", tmp_path / "into", "--spool", "no peer")
    assert done.code == 2
    assert "'no peer' is not an address" in done.err
    assert not (tmp_path / "into").exists()
