"""`soak_archive.py FOLDER LOG`: an archive with all services, which says every half second what it takes."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from loops import run
from pydicom import Dataset
from soaking import describe, instances

import dimse


async def main(folder: Path) -> None:
    kept = {str(each.SOPInstanceUID): each for each in instances()}
    options = dimse.ServerOptions(
        store=dimse.StoreOptions(duplicates=dimse.Duplicates.REPLACE, fsync=False),
        timeouts=dimse.Timeouts(idle=2, artim=2, store=5, get=5, move=5),
        maximum_associations=60,
        maximum_associations_per_host=None,
        maximum_associations_per_title=None,
        maximum_connections_per_second=None,
    )
    server = dimse.Server("SOAK", port=0, options=options)
    server.destinations = lambda title: f"{title}@127.0.0.1:{server.port}"

    @server.on_c_store
    async def store(request: dimse.StoreRequest) -> dimse.Status:
        await request.save_under(folder)
        return dimse.Status.SUCCESS

    @server.on_c_find
    async def find(request: dimse.QueryRequest) -> AsyncIterator[Dataset]:
        for match in dimse.Matcher(request.identifier).find(kept.values()):
            yield match

    @server.on_c_get
    @server.on_c_move
    async def bring(request: dimse.QueryRequest) -> AsyncIterator[Dataset]:
        for each in filter(dimse.Matcher(request.identifier).matches, kept.values()):
            yield each

    async with server:
        print(json.dumps({"port": server.port}), flush=True)
        while True:
            await asyncio.sleep(0.5)
            print(json.dumps(describe() | {"associations": len(server.associations)}), flush=True)


logging.basicConfig(filename=sys.argv[2], level=logging.WARNING)
run(main(Path(sys.argv[1])))
