"""The report of `dimse receive`, through a server of this process."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, redirect_stdout
from pathlib import Path

import pytest
from tests.sample_objects import instance, save
from tests.terminals import all_shown

import dimse
from dimse import Server, Status, StoreRequest, log_limit
from dimse.cli.receive_report import ReceivingReport


@asynccontextmanager
async def receiving(report: ReceivingReport) -> AsyncIterator[Server]:
    server = Server("STORE", host="127.0.0.1", port=0)

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        assert report.folder is not None
        with report.serving(request.association) as tally:
            path = await request.save_under(report.folder)
            report.stored(request, path, tally)
        return Status.SUCCESS

    async with server:
        report.listening(server)
        yield server


async def received(report: ReceivingReport, *paths: Path) -> None:
    async with receiving(report) as server:
        await dimse.send(f"STORE@127.0.0.1:{server.port}", paths)
    report.finish()


async def test_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(instance("1.2.3"), tmp_path / "sent.dcm")
    await received(ReceivingReport(tmp_path / "into", json=False), path, path)
    out, err = capsys.readouterr()
    first, new, again, association, summary = out.splitlines()
    assert first.startswith(f"Receiving into {tmp_path / 'into'}; send to it with: dimse send STORE@127.0.0.1:")
    assert new.endswith("1.2.3.dcm")
    assert again.endswith("1.2.3.dcm  already stored")
    assert ": 2 objects, " in association
    assert summary.startswith("2 objects received, ")
    assert err == ""


async def test_a_path_is_cut_at_its_beginning_to_fit_the_terminal(tmp_path: Path) -> None:
    path = save(instance("1.2.33333333333333333"), tmp_path / "sent.dcm")
    termios = pytest.importorskip("termios")
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 72))
    with os.fdopen(theirs, "w") as terminal, redirect_stdout(terminal):
        await received(ReceivingReport(tmp_path / "into", json=False), path, path)
    _, new, again, *_ = all_shown(ours).splitlines()
    os.close(ours)
    assert len(new) == len(again) == 72
    assert "…" in new
    assert new.endswith("1.2.33333333333333333.dcm")
    assert again.endswith("333.dcm  already stored")


async def test_an_association_that_is_aborted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = ReceivingReport(tmp_path / "into", json=False)
    path = save(instance("1.2.3"), tmp_path / "sent.dcm")
    async with receiving(report) as server:
        contexts = dimse.presentation_contexts([dimse.FileSource(path)])
        async with dimse.connect(f"STORE@127.0.0.1:{server.port}", contexts=contexts) as association:
            await dimse.CStoreSCU(association).send(path)
            association.abort()
    *_, line = capsys.readouterr().out.splitlines()
    assert "; ended by an error: " in line


def test_a_peer_cannot_write_problems_without_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(log_limit, "MAXIMUM_ALIKE", 2)
    for json_lines, expected in (
        (False, ["no", "no (more lines like this are left out for up to 60 s)"]),
        (True, ['{"event": "failed"}'] * 5),
    ):
        report = ReceivingReport(tmp_path, json=json_lines)
        for _ in range(5):
            report.problem("failed", {}, "no")
        out, err = capsys.readouterr()
        assert (out + err).splitlines() == expected


async def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(instance("1.2.3"), tmp_path / "sent.dcm")
    await received(ReceivingReport(tmp_path / "into", json=True), path)
    first, stored, association, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["event"], first["title"]) == ("listening", "STORE")
    assert (stored["event"], stored["sop_instance_uid"], stored["existed"]) == ("stored", "1.2.3", False)
    assert (association["event"], association["stored"]) == ("association", 1)
    assert (summary["event"], summary["stored"], summary["failed"]) == ("summary", 1, 0)
