"""The report of `dimse receive`, through a server of this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.sample_objects import instance, save

import dimse
from dimse import Server, Status, StoreRequest
from dimse.cli.receive_report import ReceivingReport


async def received(report: ReceivingReport, *paths: Path) -> None:
    server = Server("STORE", host="127.0.0.1", port=0)

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        path = await request.save_under(report.folder)
        report.stored(request, path)
        return Status.SUCCESS

    async with server:
        report.listening(server)
        await dimse.send(f"STORE@127.0.0.1:{server.port}", paths)
    report.finish()


async def test_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(instance("1.2.3"), tmp_path / "sent.dcm")
    await received(ReceivingReport(tmp_path / "into", json=False), path, path)
    out, err = capsys.readouterr()
    first, new, again, summary = out.splitlines()
    assert first.startswith(f"Receiving into {tmp_path / 'into'}; send to it with: dimse send STORE@127.0.0.1:")
    assert new.endswith(", from DIMSE")
    assert again.endswith(", from DIMSE, already stored")
    assert summary.startswith("2 objects received, ")
    assert err == ""


async def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(instance("1.2.3"), tmp_path / "sent.dcm")
    await received(ReceivingReport(tmp_path / "into", json=True), path)
    first, stored, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["event"], first["title"]) == ("listening", "STORE")
    assert (stored["event"], stored["sop_instance_uid"], stored["existed"]) == ("stored", "1.2.3", False)
    assert (summary["event"], summary["stored"], summary["failed"]) == ("summary", 1, 0)
