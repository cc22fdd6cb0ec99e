"""A small archive in a folder: the SCP of C-STORE, C-FIND, C-GET and C-MOVE.

    python query_server.py 11112 archive/ --destination WS1@workstation:11112

The metadata of all instances is kept in memory; a real archive has a database. Ctrl-C ends it.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from pydicom import Dataset, dcmread

import dimse
from dimse import Address, Matcher, QueryRequest, Status


class Archive:
    """The files in a folder, and the handlers that serve them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images: dict[Path, Dataset] = {}
        for path in folder.rglob("*.dcm"):
            self.add(path)

    def add(self, path: Path) -> None:
        self.images[path] = dcmread(path, stop_before_pixels=True)

    def find(self, identifier: Dataset) -> Iterator[Dataset]:
        return Matcher(identifier).find(list(self.images.values()))

    def paths(self, identifier: Dataset) -> Iterator[Path]:
        matcher = Matcher(identifier)
        return (path for path, image in list(self.images.items()) if matcher.matches(image))

    def serve(self, server: dimse.Server) -> None:
        @server.on_c_store
        async def store(request: dimse.StoreRequest) -> Status:
            path = await request.save_under(self.folder)
            await asyncio.to_thread(self.add, path)
            return Status.SUCCESS

        @server.on_c_find
        async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
            for match in self.find(request.identifier):
                yield match

        @server.on_c_get
        @server.on_c_move
        async def retrieve(request: QueryRequest) -> AsyncIterator[Path]:
            for path in self.paths(request.identifier):
                yield path


def run(port: int, folder: Path, destinations: dict[str, Address]) -> None:
    server = dimse.Server("ARCHIVE", port=port, destinations=destinations)
    archive = Archive(folder)
    archive.serve(server)

    async def announce() -> None:
        print(f"{server.ae_title}@{server.host}:{server.port} has {len(archive.images)} instances", flush=True)

    server.run(announce)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, help="0 picks a free port")
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--destination", action="append", default=[], type=Address.parse, metavar="TITLE@HOST:PORT", help="for C-MOVE"
    )
    arguments = parser.parse_args()
    destinations = {address.ae_title: address for address in arguments.destination}
    run(arguments.port, arguments.folder, destinations)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
