"""Forwarding to DCMTK and Orthanc: all arrives as it is, also when they were down."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import dimse
from dimse import ForwardDestination, Forwarder, ForwardResult, RetryPolicy

from .conftest import PeerFactory
from .processes import storescp
from .samples import WITHOUT_STUDY, Samples, dataset_bytes, differences, names, sop_instance_uid


@pytest.mark.parametrize("scp", ["storescp +B", "orthanc"])
async def test_what_a_router_receives_arrives(peer: PeerFactory, samples: Samples, tmp_path: Path, scp: str) -> None:
    paths = {sop_instance_uid(samples[name]): samples[name] for name in names() if name not in WITHOUT_STUDY}
    results: asyncio.Queue[ForwardResult] = asyncio.Queue()
    server = dimse.Server("ROUTER", port=0)
    there = peer(scp)
    async with Forwarder(tmp_path / "spool", {"there": there.address}, on_result=results.put_nowait) as forwarder:

        @server.on_c_store
        async def store(request: dimse.StoreRequest) -> int:
            await forwarder.add(request)
            return dimse.Status.SUCCESS

        async with server:
            await dimse.send(f"ROUTER@localhost:{server.port}", list(paths.values()))
        outcomes = [await results.get() for _ in paths]
        assert {result.sop_instance_uid for result in outcomes} == set(paths)
        assert {result.outcome for result in outcomes} == {dimse.ForwardOutcome.DELIVERED}
    for uid, path in paths.items():
        received = there.received(uid)
        if scp == "storescp +B":
            assert dataset_bytes(received) == dataset_bytes(path)
        else:
            assert differences(received, path) == []


async def test_one_that_is_down_gets_all_when_it_is_back(samples: Samples, tmp_path: Path) -> None:
    archive = storescp(tmp_path / "received", "+B", "+xa")
    paths = [samples[name] for name in names() if name not in WITHOUT_STUDY]
    results: asyncio.Queue[ForwardResult] = asyncio.Queue()
    quick = ForwardDestination(archive.address, retry=RetryPolicy(delay=0.05, factor=1))
    async with Forwarder(tmp_path / "spool", {"archive": quick}, on_result=results.put_nowait) as forwarder:
        for path in paths[:2]:
            await forwarder.add(path)
        with archive:
            assert {(await results.get()).outcome for _ in paths[:2]} == {dimse.ForwardOutcome.DELIVERED}
            archive.kill()
            for path in paths[2:]:
                await forwarder.add(path)
        assert forwarder.state()["archive"].waiting > 0
        with archive:
            while forwarder.state()["archive"].waiting:
                await results.get()
            for path in paths:
                assert dataset_bytes(archive.received(sop_instance_uid(path))) == dataset_bytes(path)
