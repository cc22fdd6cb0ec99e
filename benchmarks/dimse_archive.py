"""`dimse_archive.py PORT LOAD SCALE`: answer each C-FIND with data sets that are ready."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import responses
from loops import run
from pydicom import Dataset

import dimse


async def main(port: int, load: str, scale: str) -> None:
    matches = responses.ready(load, scale)
    server = dimse.Server("DIMSE", port=port)

    @server.on_c_find
    async def find(request: dimse.QueryRequest) -> AsyncIterator[Dataset]:  # noqa: ARG001
        for match in matches:
            yield match

    await server.serve_forever()


run(main(int(sys.argv[1]), *sys.argv[2:]))
