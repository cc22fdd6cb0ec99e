"""The five services over a line, and what each leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from tests.sample_objects import CT, EXPLICIT, dataset_bytes, encoded, instance

import dimse
from dimse import (
    CEchoSCU,
    CFindSCU,
    CGetSCU,
    ClientOptions,
    CMoveSCU,
    CStoreSCU,
    Matcher,
    MoveDestination,
    Query,
    QueryRequest,
    RetryPolicy,
    SendOptions,
    Server,
    ServerOptions,
    Status,
    StoreOptions,
    StoreRequest,
    Timeouts,
    retrieval_contexts,
)

INSTANCES: Final = [instance(f"1.2.{number}", pixels=300) for number in range(1, 4)]
NO_RETRY: Final = RetryPolicy(retries=0)


def timeouts(seconds: float | None) -> Timeouts:
    """The same for every timer; the defaults for None."""
    names = ("connect", "association", "store", "find", "get", "move", "cancel", "artim", "idle")
    return Timeouts() if seconds is None else Timeouts(**dict.fromkeys(names, seconds))


class Archive(Server):
    """Stores into a folder, finds and sends its three instances, and moves them to itself."""

    def __init__(self, folder: Path, seconds: float | None = None) -> None:
        options = ServerOptions(
            timeouts=timeouts(seconds),
            store=StoreOptions(fsync=False),
            send=SendOptions(retry=NO_RETRY),
            maximum_associations_per_host=None,
            maximum_associations_per_title=None,
            maximum_connections_per_second=None,
            stop_timeout=5,
        )
        super().__init__("ARCHIVE", port=0, host="127.0.0.1", options=options, destinations=self.destination)
        self.folder = folder
        self.receiving_port: int | None = None
        """Where it moves to; its own port if None."""
        self.on_c_store(self.store)
        self.on_c_find(self.find)
        self.on_c_get(self.bring)
        self.on_c_move(self.bring)

    def destination(self, title: str) -> MoveDestination:
        options = ClientOptions(timeouts=self.options.timeouts)
        return MoveDestination(f"{title}@127.0.0.1:{self.receiving_port or self.port}", options)

    async def store(self, request: StoreRequest) -> Status:
        await request.save_under(self.folder, "{SOPInstanceUID}.dcm")
        return Status.SUCCESS

    async def find(self, request: QueryRequest) -> AsyncIterator[Dataset]:
        for match in Matcher(request.identifier).find(INSTANCES):
            yield match

    async def bring(self, request: QueryRequest) -> AsyncIterator[Dataset]:
        for each in filter(Matcher(request.identifier).matches, INSTANCES):
            yield each


_CONTENT: Final = {f"{each.SOPInstanceUID}.dcm": encoded(each) for each in INSTANCES}
QUERY: Final = Query.instances(StudyInstanceUID="1.2.3.1", SeriesInstanceUID="1.2.3.2", SOPInstanceUID="")
SERIES: Final = Query.series(StudyInstanceUID="1.2.3.1", SeriesInstanceUID="1.2.3.2")


async def echo(address: str, options: ClientOptions, into: Path) -> object:
    async with dimse.connect(address, contexts=[(dimse.uids.VERIFICATION, [EXPLICIT])], options=options) as association:
        await CEchoSCU(association).echo()
    return None


async def store(address: str, options: ClientOptions, into: Path) -> object:
    report = await dimse.send(address, INSTANCES, options=options, retry=NO_RETRY)
    return len(report.stored)


async def store_one(address: str, options: ClientOptions, into: Path) -> object:
    """One small instance, in one try; its errors come as they are."""
    contexts = [(CT, [EXPLICIT])]
    async with dimse.connect(address, contexts=contexts, options=options) as association:
        return await CStoreSCU(association).send(instance("1.2.1", pixels=20))


async def find(address: str, options: ClientOptions, into: Path) -> object:
    async with dimse.connect(
        address, contexts=[(dimse.uids.STUDY_ROOT_FIND, [EXPLICIT])], options=options
    ) as association:
        return sorted([str(match.SOPInstanceUID) async for match in CFindSCU(association).find(QUERY)])


async def get(address: str, options: ClientOptions, into: Path) -> object:
    async with dimse.connect(address, contexts=retrieval_contexts([CT], [EXPLICIT]), options=options) as association:
        return sorted(
            [
                got.sop_instance_uid
                async for got in CGetSCU(association).get(SERIES, into=into, template="{SOPInstanceUID}.dcm")
            ]
        )


async def move(address: str, options: ClientOptions, into: Path) -> object:
    async with dimse.connect(
        address, contexts=[(dimse.uids.STUDY_ROOT_MOVE, [EXPLICIT])], options=options
    ) as association:
        results = CMoveSCU(association).move(SERIES, "WS1")
        async for _ in results:
            pass
        return results.suboperations.completed


Service = Callable[[str, ClientOptions, Path], Awaitable[object]]
SERVICES: Final[dict[Service, object]] = {
    echo: None,
    store: 3,
    find: ["1.2.1", "1.2.2", "1.2.3"],
    get: ["1.2.1", "1.2.2", "1.2.3"],
    move: 3,
}
"""The five services, each with its result when nothing goes wrong."""


def files_in(folder: Path) -> list[str]:
    """All files and folders below it, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def broken_files(folder: Path) -> list[str]:
    """The files in it that are not whole instances under their final names."""
    whole = {f"{each.SOPInstanceUID}.dcm" for each in INSTANCES}
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if path.name not in whole or dataset_bytes(path) != _CONTENT[path.name]]


async def ended(archive: Archive) -> None:
    """Wait until the archive has no connection left."""
    while archive._sessions:
        await asyncio.wait([session.task for session in archive._sessions], timeout=20)
