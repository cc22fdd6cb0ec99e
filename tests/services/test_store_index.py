"""What an index needs of an instance that arrives, without reading the file again."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.sample_objects import instance
from tests.server_options import server_options

import dimse
from dimse import Server, Status, StoreMode, StoreRequest


@pytest.mark.parametrize("mode", StoreMode)
async def test_attributes_after_the_file_was_saved(tmp_path: Path, mode: StoreMode) -> None:
    server, found = Server(port=0, options=server_options(mode=mode)), []

    @server.on_c_store
    async def store(request: StoreRequest) -> int:
        path = await request.save_under(tmp_path)
        path.unlink()
        found.append((request.dataset.PatientID, request.dataset.Rows))
        return Status.SUCCESS

    async with server:
        await dimse.send(f"A@localhost:{server.port}", [instance(pixels=300_000)])
    assert found == [("SECRETID", 16)]
