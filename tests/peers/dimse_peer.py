"""dimse as an archive over a few files; in a process of its own too, so that its memory can be looked at.

python dimse_peer.py archive PORT TITLE@HOST:PORT FILE...      C-GET of the files, C-MOVE to that destination
python dimse_peer.py receive PORT FOLDER      keeps what comes as FOLDER/{SOP Instance UID}
python dimse_peer.py get ADDRESS STUDY FOLDER SOP_CLASS...      prints the status, and its own peak memory in bytes
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from pydicom import Dataset

import dimse
from dimse import (
    CGetSCU,
    Query,
    QueryRequest,
    SendOptions,
    ServerOptions,
    Status,
    StoreOptions,
    StoreRequest,
    retrieval_contexts,
)
from dimse.services.move_scp import Destinations


class FileArchive:
    """A server whose every study is these files, or one of them if a SOP Instance UID is asked for."""

    def __init__(
        self, paths: list[Path], destinations: Destinations, *, port: int = 0, allow_decompression: bool = False
    ) -> None:
        options = ServerOptions(send=SendOptions(allow_decompression=allow_decompression))
        self.server = dimse.Server("DIMSE", port=port, options=options, destinations=destinations)
        self.server.on_c_get(self._retrieve)
        self.server.on_c_move(self._retrieve)
        self.asked: list[Dataset] = []
        """The identifiers that came."""
        self._sources = [dimse.FileSource(path) for path in paths]

    @property
    def port(self) -> str:
        return str(self.server.port)

    async def _retrieve(self, request: QueryRequest) -> AsyncIterator[dimse.FileSource]:
        self.asked.append(request.identifier)
        wanted = request.identifier.get("SOPInstanceUID")
        for source in self._sources:
            if wanted in (None, source.sop_instance_uid):
                yield source


def receiver(folder: Path, port: int) -> dimse.Server:
    """A server that keeps what comes, as a stream."""
    options = ServerOptions(store=StoreOptions(fsync=False))
    server = dimse.Server("DIMSE", port=port, options=options)

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        await request.save(folder / request.sop_instance_uid)
        return Status.SUCCESS

    return server


async def get(address: str, study: str, folder: str, classes: list[str]) -> int:
    """Retrieve a study into files."""
    async with dimse.connect(address, contexts=retrieval_contexts(classes)) as association:
        query = Query.studies(StudyInstanceUID=study)
        scu = CGetSCU(association, store=StoreOptions(fsync=False))
        async with scu.get(query, into=folder, template="{SOPInstanceUID}") as instances:
            async for _ in instances:
                pass
        return int(instances.status or 0)


def peak_memory(pid: int | str = "self") -> int:
    """The most bytes of memory that a process had at once. `ru_maxrss` counts what was there before its exec too."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main() -> None:
    command, *arguments = sys.argv[1:]
    if command == "archive":
        port, destination, *paths = arguments
        archive = FileArchive([Path(path) for path in paths], {"DIMSE": destination}, port=int(port))
        asyncio.run(archive.server.serve_forever())
    elif command == "receive":
        asyncio.run(receiver(Path(arguments[1]), int(arguments[0])).serve_forever())
    elif command == "get":
        address, study, folder, *classes = arguments
        print(asyncio.run(get(address, study, folder, classes)), peak_memory())  # noqa: T201


if __name__ == "__main__":
    main()
