"""A provider of storage commitment by an index, to be killed: `committing_node.py DESTINATION DATA` prints its port."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from dimse import Server
from dimse.node.commitment import committing
from dimse.node.destinations import Destinations
from dimse.node.index import Index


async def main(destination: str, data: Path) -> None:
    server = Server("DIMSE", host="127.0.0.1", port=0)
    index = Index.at(data / "index.sqlite")
    async with committing(server, index, data, Destinations({"WS1": destination})), server:
        print(server.port, flush=True)  # noqa: T201
        await asyncio.get_running_loop().create_future()


asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
