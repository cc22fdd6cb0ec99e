"""An archive of small instances that it lists, and brings by C-GET, by C-MOVE, or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from pydicom.dataset import Dataset
from tests.ports import free_port
from tests.sample_objects import instance

import dimse
from dimse import (
    ClientOptions,
    Matcher,
    MoveDestination,
    Query,
    QueryRequest,
    RetrieveReport,
    RetrieveResult,
    RetryPolicy,
    SendOptions,
    Server,
    ServerOptions,
    Status,
    StatusError,
)
from dimse.services.given import Source

ADA = ["1.1.1.1", "1.1.1.2", "1.1.2.1", "1.2.1.1"]
"""Two studies; in the first of them, two series."""
BOB = ["1.3.1.1"]
AT_ONCE = RetryPolicy(delay=0)
OPTIONS = ServerOptions(send=SendOptions(retry=RetryPolicy(retries=0)), maximum_connections_per_second=None)
STUDY = Query.studies(StudyInstanceUID="1.1")


def member(uid: str, patient: str = "Ada", *, pixels: int = 1000) -> Dataset:
    """An instance whose UID says which series and study it is of."""
    dataset = instance(uid, pixels=pixels)
    dataset.PatientName, dataset.PatientID = f"{patient}^Test", patient
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid.rsplit(".", 2)[0], uid.rsplit(".", 1)[0]
    return dataset


class Archive(Server):
    """Lists its instances, and brings them by C-GET, by C-MOVE, or not."""

    def __init__(self, *, get: bool = False, move: bool = False) -> None:
        super().__init__("ARCHIVE", port=0, options=OPTIONS)
        self.instances = [*map(member, ADA), *(member(uid, "Bob") for uid in BOB)]
        self.sources: dict[str, Source] = {}
        """What is sent in place of an instance."""
        self.keeps_back: Counter[str] = Counter()
        """How often an instance that is asked for is not sent."""
        self.refusals: list[int] = []
        """What the next requests are answered with."""
        self.asked: list[tuple[str, str, list[str]]] = []
        """The level and the unique keys of each C-GET and C-MOVE."""
        self.receiver = f"WS1@127.0.0.1:{free_port()}"
        self.on_c_find(self.find)
        if get:
            self.on_c_get(self.bring)
        if move:
            # One by one, so that the tests can say which is the first.
            receiver = MoveDestination(self.receiver, ClientOptions(operations_window=1))
            self.destinations = {"WS1": receiver}
            self.on_c_move(self.bring)

    async def find(self, request: QueryRequest) -> AsyncIterator[Dataset]:
        for match in Matcher(request.identifier).find(self.instances):
            yield match

    async def bring(self, request: QueryRequest) -> AsyncIterator[Source]:
        assert request.level is not None
        unique = request.identifier[request.level.unique_key].value
        keys = [unique] if isinstance(unique, str) else list(unique)
        self.asked.append((request.command.name.removesuffix("-RQ"), str(request.level), keys))
        if self.refusals:
            raise StatusError(Status(self.refusals.pop(0)), "test")
        for found in filter(Matcher(request.identifier).matches, self.instances):
            uid = str(found.SOPInstanceUID)
            if self.keeps_back[uid] > 0:
                self.keeps_back[uid] -= 1
            else:
                yield self.sources.get(uid, found)

    @property
    def address(self) -> str:
        return f"ARCHIVE@127.0.0.1:{self.port}"


async def retrieve(
    archive: Archive,
    query: Query,
    into: Path,
    *,
    retry: RetryPolicy = AT_ONCE,
    on_result: Callable[[RetrieveResult], object] | None = None,
    raise_failures: bool = True,
    options: ClientOptions | None = None,
) -> RetrieveReport:
    return await dimse.retrieve(
        archive.address,
        query,
        into=into,
        receiver=archive.receiver,
        retry=retry,
        on_result=on_result,
        raise_failures=raise_failures,
        options=options,
    )


def uids_of(report: RetrieveReport) -> list[str]:
    return [result.sop_instance_uid for result in report.retrieved]


def files_in(folder: Path) -> list[str]:
    """All of them, with their paths below `folder`; hidden and half ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def where(*uids: str) -> list[str]:
    return sorted(f"{uid.rsplit('.', 2)[0]}/{uid.rsplit('.', 1)[0]}/{uid}.dcm" for uid in uids)
