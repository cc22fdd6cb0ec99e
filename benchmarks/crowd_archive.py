"""`crowd_archive.py PORT FOLDER LIMIT`: an archive that takes so many associations, with the other defaults' timers."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

from loops import run
from pydicom.dataset import Dataset

import dimse


async def main(port: int, folder: str, limit: int) -> None:
    options = dimse.ServerOptions(
        store=dimse.StoreOptions(fsync=False),
        maximum_associations=limit,
        maximum_associations_per_host=None,
        maximum_associations_per_title=None,
        maximum_connections_per_second=None,
    )
    server = dimse.Server("BENCH", port=port, options=options)

    @server.on_c_store
    async def store(request: dimse.StoreRequest) -> dimse.Status:
        await request.save_under(folder)
        return dimse.Status.SUCCESS

    @server.on_c_find
    async def find(request: dimse.QueryRequest) -> AsyncIterator[Dataset]:
        if not request:
            yield Dataset()

    await server.serve_forever()


run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
