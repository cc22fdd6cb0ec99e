"""What C-GET and C-MOVE send: the instances of an index, without a look at their files (PS3.4 C.4.2, C.4.3).

1. First the numbers of the rows are listed, in the order of series and instances; then the rows are read in pages. Both
   are short reads: a slow peer holds no connection.
2. A file is opened when it is its turn. What was deleted meanwhile, or is not there, or is shorter than its row says,
   is a failed sub-operation.
3. If the index cannot be read, the answer is Unable to calculate number of matches (0xA701).
4. A file that should be there is an event, the first one of each study in a retrieval, of `MAX_TOLD` studies: if the
   disk is not there, no file is.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, func, select
from sqlalchemy.exc import SQLAlchemyError

from dimse.dataset.located import Located
from dimse.dataset.threads import beside_the_loop
from dimse.errors import DatasetError, StatusError
from dimse.node.events import EventKind, record
from dimse.node.index import Index
from dimse.node.opening import open_file
from dimse.node.places import place
from dimse.node.retrieve_keys import RetrieveKeys, read_keys
from dimse.node.schema import instance, series, study, uid
from dimse.services.query_models import QueryRetrieveModel
from dimse.services.query_request import QueryRequest
from dimse.services.server import Server
from dimse.status import Status
from dimse.upper_layer.extended import QueryFeatures

T = TypeVar("T")

PAGE: Final = 500
"""Rows that are read at a time."""

_UNABLE_TO_CALCULATE: Final = Status(0xA701)

MAX_TOLD: Final = 20
"""Studies of which a retrieval tells that a file is missing."""

_LAST: Final = 2**31 - 1
"""The order of what has no number."""

_MODELS: Final = (
    QueryRetrieveModel.PATIENT_ROOT,
    QueryRetrieveModel.STUDY_ROOT,
    QueryRetrieveModel.PATIENT_STUDY_ONLY,
    QueryRetrieveModel.COMPOSITE_INSTANCE_ROOT,
)


class Retriever:
    """Answers C-GET and C-MOVE from an index and its data folder; `unknown_matches` is that of `QueryOptions`."""

    def __init__(self, index: Index, data: Path, *, unknown_matches: bool = True) -> None:
        self.index: Final = index
        self.data: Final = data
        self._unknown_matches = unknown_matches

    def register(self, server: Server) -> None:
        """Answer the retrievals that come to `server`, those by C-MOVE if it has destinations."""

        async def retrieve(request: QueryRequest) -> AsyncIterator[Located]:
            async for located in self.retrieve(request):
                yield located

        features = QueryFeatures(relational=True)
        server.on_c_get(*_MODELS, QueryRetrieveModel.WITHOUT_BULK_DATA, features=features)(retrieve)
        if server.destinations is not None:
            server.on_c_move(*_MODELS, features=features)(retrieve)

    async def retrieve(self, request: QueryRequest) -> AsyncIterator[Located]:
        """The instances that a request names. Raises `StatusError` for an identifier that is refused."""
        keys = await beside_the_loop(lambda: read_keys(request))  # it may list 250 000 UIDs
        numbers = await self._listed(keys)
        retrieval = _Retrieval(self)
        for start in range(0, len(numbers), PAGE):
            page = numbers[start : start + PAGE]
            for located in await self._read(partial(retrieval.page, page)):
                yield located

    async def _listed(self, keys: RetrieveKeys) -> Sequence[int]:
        """The numbers of their rows, in the order in which they are sent."""
        listed, parts = list[tuple[int, ...]](), 0
        for conditions in keys.conditions(unknown_matches=self._unknown_matches):
            listed += await self._read(partial(_order, conditions))
            parts += 1
        if parts > 1:
            listed.sort()
        return array("q", (each[-1] for each in listed))

    async def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self.index.read(work)
        except SQLAlchemyError as error:
            raise StatusError(_UNABLE_TO_CALCULATE, "the index cannot be read") from error


def _order(conditions: Iterable[ColumnElement[bool]], connection: Connection) -> list[tuple[int, ...]]:
    """The rows that fit, each with its place in the order; its number comes last."""
    order = (
        study.c.id,
        func.coalesce(series.c.number, _LAST),
        series.c.id,
        func.coalesce(instance.c.number, _LAST),
        instance.c.id,
    )
    joined = instance.join(series, instance.c.series_id == series.c.id).join(study, series.c.study_id == study.c.id)
    found = connection.execute(select(*order).select_from(joined).where(*conditions).order_by(*order))
    return [tuple(row) for row in found]


class _Series(NamedTuple):
    study_uid: str
    uid: str


class _Retrieval:
    """The instances of one request."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever
        self._series: dict[int, _Series] = {}
        self._uids: dict[int, str] = {}
        """SOP classes and transfer syntaxes: there are few, which all instances share."""
        self._told: set[str] = set()
        """Studies of which a file that is not there has been told."""

    def page(self, numbers: Sequence[int], connection: Connection) -> list[Located]:
        """The instances with these numbers, in their order, without those that were deleted."""
        found = {row.id: row for row in connection.execute(select(instance).where(instance.c.id.in_(list(numbers))))}
        self._look_up(connection, found.values())
        return [self._located(found[number]) for number in numbers if number in found]

    def _look_up(self, connection: Connection, rows: Iterable[Row[Any]]) -> None:
        """Read what they share."""
        if not all(row.sop_class in self._uids and row.transfer_syntax in self._uids for row in rows):
            self._uids = {row.id: row.uid for row in connection.execute(select(uid))}
        wanted = {row.series_id for row in rows} - self._series.keys()
        if wanted:
            query = select(series.c.id, study.c.uid, series.c.uid).join(study).where(series.c.id.in_(wanted))
            self._series |= {number: _Series(*uids) for number, *uids in connection.execute(query)}

    def _located(self, row: Row[Any]) -> Located:
        file = _File(self, row.id, self._series[row.series_id], row.uid, row.path, row.offset, row.bytes)
        syntax = self._uids[row.transfer_syntax]
        return Located(self._uids[row.sop_class], row.uid, syntax, row.bytes - row.offset, file)

    def place(self, file: _File) -> Path:
        """Where a file is."""
        return place(self._retriever.data, *file.series, file.uid, file.path)

    def tell(self, file: _File, reason: str) -> None:
        """Record that a file is not there, unless its instance has been deleted."""
        if file.series.study_uid in self._told or len(self._told) >= MAX_TOLD:
            return
        self._told.add(file.series.study_uid)

        def note(connection: Connection) -> None:
            query = select(instance.c.id).where(
                instance.c.id == file.number, instance.c.path.is_not_distinct_from(file.path)
            )
            if connection.execute(query).first() is not None:
                record(
                    connection,
                    EventKind.MISSING,
                    study_uid=file.series.study_uid,
                    series_uid=file.series.uid,
                    instance_uid=file.uid,
                    detail={"found by": "retrieval", "reason": reason},
                )

        self._retriever.index.write_later(note)


@dataclass(frozen=True, slots=True)
class _File:
    """The file of an instance."""

    retrieval: _Retrieval
    number: int
    series: _Series
    uid: str
    path: str | None
    offset: int
    size: int

    def __call__(self) -> FileIO:
        """Open the file at its data set. Raises `DatasetError` without its path, which may name a patient."""
        try:
            file = open_file(self.retrieval.place(self))
        except FileNotFoundError:
            raise self._failed("missing") from None
        except OSError as error:
            raise self._failed(f"not readable: {error.strerror}") from None
        if os.fstat(file.fileno()).st_size < self.size:
            file.close()
            raise self._failed("shorter than it was")
        file.seek(self.offset)
        return file

    def _failed(self, reason: str) -> DatasetError:
        self.retrieval.tell(self, reason)
        return DatasetError(f"{self.uid}: its file is {reason}")
