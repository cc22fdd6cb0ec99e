"""Brings all studies of another archive into this one, by C-FIND and C-GET or C-MOVE.

1. One study at a time is retrieved into a folder of its own, and put into the index from there: it is said to be here
   only then.
2. A study that is here with as many instances as the other archive says is skipped: so a migration that was
   interrupted goes on where it ended. One of which the other archive lists fewer than it counts has failed.
3. A study that fails is told, and the next one is tried. Only if there is no association several times in a row, the
   migration ends.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import select

from dimse.address import Address
from dimse.errors import AssociationError, DimseError
from dimse.node.arrival import Outcome
from dimse.node.batches import MAXIMUM_BATCH
from dimse.node.data_folder import migrating
from dimse.node.importing import Importer
from dimse.node.index import Index
from dimse.node.options import NodeOptions
from dimse.node.schema import study
from dimse.options import ClientOptions, RetryPolicy, StoreOptions
from dimse.services.finding import find
from dimse.services.listing import text_at
from dimse.services.query import Query
from dimse.services.retrieving import retrieve

ATTEMPTS: Final = 3
"""Studies in a row for which there may be no association."""

_COUNT: Final = "NumberOfStudyRelatedInstances"


@dataclass(slots=True)
class Migrated:
    """What became of a study."""

    study_uid: str
    listed: int = 0
    """Instances that the other archive has."""
    stored: int = 0
    """Those that were retrieved, and are in this one now."""
    bytes: int = 0
    """Bytes of the files that were retrieved."""
    here: int = 0
    """Those that were here before, if these were all, and none was retrieved."""
    errors: list[Exception] = field(default_factory=list)
    """Why instances are missing."""

    @property
    def is_skipped(self) -> bool:
        """Whether it was here already."""
        return self.here > 0


class ArchiveImport:
    """Brings all studies of the archive at `address`.

    `receiver` is our address for C-MOVE, and `retry` says when what is missing is requested again. Both default to
    those of `dimse.retrieve`.
    """

    def __init__(
        self,
        index: Index,
        options: NodeOptions,
        address: Address,
        *,
        client: ClientOptions | None = None,
        receiver: Address | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self.total: int | None = None
        """Studies of the other archive, once they are listed."""
        self._index = index
        self._options = options
        self._address = address
        self._client = client
        self._receiver = receiver
        self._retry = retry

    async def run(self) -> AsyncGenerator[Migrated, None]:
        """What became of each study.

        Raises `AssociationError` if there is no association, and `StatusError` or `PresentationContextError` if the
        other archive cannot be queried.
        """
        listed = await self._list()
        self.total = len(listed)
        failures = 0
        with Importer(self._index, self._options, source=str(self._address)) as importer, self._folder() as folder:
            for uid, count in listed.items():
                result = await self._bring(uid, count, folder, importer)
                is_unreachable = bool(result.errors) and isinstance(result.errors[0], AssociationError)
                failures = failures + 1 if is_unreachable else 0
                yield result
                if failures == ATTEMPTS:
                    raise result.errors[0]

    async def _list(self) -> dict[str, int | None]:
        """The studies of the other archive, with its count of their instances."""
        found: dict[str, int | None] = {}
        query = Query.studies().returning(_COUNT)
        async for match in find(self._address, query, complete=True, options=self._client):
            count = text_at(match, _COUNT)
            found[text_at(match, "StudyInstanceUID")] = int(count) if count.isdigit() else None
        return found

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """A folder for a study in the data folder, where one migration is under way at a time."""
        folder = self._options.data / "migrating"
        with migrating(self._options.data):
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    async def _bring(self, uid: str, count: int | None, folder: Path, importer: Importer) -> Migrated:
        here = await self._index.read(
            lambda connection: connection.scalar(select(study.c.instance_count).where(study.c.uid == uid))
        )
        if count and here == count:
            return Migrated(uid, count, here=count)
        result = Migrated(uid, count or 0)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        try:
            report = await retrieve(
                self._address,
                Query.studies(StudyInstanceUID=uid),
                into=folder,
                receiver=self._receiver,
                retry=self._retry,
                options=self._client,
                store=StoreOptions(fsync=False),
                raise_failures=False,
            )
        except (DimseError, ValueError) as error:
            result.errors.append(error)
            return result
        result.listed = report.listed
        result.errors += [each.error for each in report.failures if each.error is not None]
        if count and report.listed < count:
            result.errors.append(DimseError(f"{self._address} counts {count} instances and lists {report.listed}"))
        paths = [each.path for each in report.retrieved if each.path is not None]
        for begin in range(0, len(paths), MAXIMUM_BATCH):
            await asyncio.to_thread(_take, importer, paths[begin : begin + MAXIMUM_BATCH], result)
        return result


def _take(importer: Importer, paths: Sequence[Path], result: Migrated) -> None:
    for each in importer.take(paths):
        if each.error is not None:
            result.errors.append(each.error)
        elif each.outcome is Outcome.REJECTED:
            result.errors.append(DimseError(f"{each.uid} is here with other content, and the new one is refused"))
        else:
            result.stored += 1
            result.bytes += each.size
