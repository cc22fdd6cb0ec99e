"""C-FIND from the index (PS3.4 C.4.1), in Patient Root, Study Root and Patient/Study Only.

1. Rows are read in pages, each in one short piece of work in a thread. Nothing is held while a peer reads its answers.
2. Answers come in the order of the driving key; the first page is small, so that the first answer comes soon.
3. Keys that the index does not have are compared with each candidate. After `QueryOptions.scan_limit` of them, they are
   not matched any more, and the answers say so (0xFF01).
4. Relational queries, combined date-time matching, fuzzy matching of names, empty values and several values are offered
   in extended negotiation; timezone query adjustment is not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from dimse.dataset.encoding import QUERY_RETRIEVE_LEVEL
from dimse.dataset.pydicom_names import Dataset
from dimse.dataset.texts import Texts, character_sets_of
from dimse.dataset.threads import beside_the_loop
from dimse.errors import StatusError
from dimse.network.association import exchange_of
from dimse.node.answers import INSTANCE_AVAILABILITY, RETRIEVE_AE_TITLE, Answers
from dimse.node.candidates import Element, match
from dimse.node.found_rows import FoundRows
from dimse.node.index import Index
from dimse.node.matching import Plan, Range
from dimse.node.options import QueryOptions
from dimse.node.schema import study
from dimse.services.find_scp import Match
from dimse.services.query_keys import tag_of
from dimse.services.query_models import QueryRetrieveLevel, QueryRetrieveModel
from dimse.services.query_request import QueryRequest
from dimse.services.server import Server
from dimse.status import Status
from dimse.upper_layer.extended import QueryFeatures

FIRST_PAGE: Final = 50
PAGE: Final = 500
"""Rows that are read at once."""

PAGE_ELEMENTS: Final = 100_000
"""Elements of the answers to as many rows: fewer are read at once for an identifier of thousands of keys."""

_RANGES: Final = 100
"""Ranges that are read at once, if they have few rows."""

OFFERED: Final = QueryFeatures(
    relational=True, combined_date_time=True, fuzzy_names=True, empty_values=True, multiple_values=True
)
"""What is answered to extended negotiation."""

_MODELS: Final = (
    QueryRetrieveModel.PATIENT_ROOT,
    QueryRetrieveModel.STUDY_ROOT,
    QueryRetrieveModel.PATIENT_STUDY_ONLY,
)


class Finder:
    """Answers queries from an index and the data folder `data`.

    `ae_title` is where instances may be retrieved.
    """

    def __init__(self, index: Index, data: Path, *, ae_title: str, options: QueryOptions) -> None:
        self.index: Final = index
        self.data: Final = data
        self.options: Final = options
        self._constant: dict[int, Element] = {
            RETRIEVE_AE_TITLE: ("AE", _even(ae_title)),
            INSTANCE_AVAILABILITY: ("CS", _even("ONLINE")),
        }

    def register(self, server: Server) -> None:
        """Answer the queries that come to `server`."""

        @server.on_c_find(*_MODELS, features=OFFERED)
        async def find(request: QueryRequest) -> AsyncIterator[Match]:
            async for found in self.find(request):
                yield found

    async def find(self, request: QueryRequest) -> AsyncIterator[Match]:
        """The matches of a query. Raises `StatusError` or `DatasetError` if it is refused."""
        assert request.level is not None  # noqa: S101 - all models of archives have levels
        _check_hierarchy(request)
        search = await self._search(request.identifier, request.level, request.features, request.transfer_syntax_uid)
        while not search.is_done:
            page = await self._page(search)
            for encoded in page:
                yield Match(encoded, unsupported_keys=search.has_unsupported)

    async def _page(self, search: _Search) -> list[bytes]:
        try:
            return await self.index.read(search.page)
        except SQLAlchemyError as error:
            raise StatusError(Status.OUT_OF_RESOURCES, "the index cannot be read") from error

    async def _search(
        self,
        identifier: Dataset,
        level: QueryRetrieveLevel,
        features: QueryFeatures,
        transfer_syntax_uid: str,
    ) -> _Search:
        def begin() -> _Search:
            plan = Plan(identifier, level, features, unknown_matches=self.options.unknown_matches)
            answers = Answers(plan.keys, character_sets_of(identifier), transfer_syntax_uid)
            tags = answers.tags | plan.tags
            constant = self._constant | {QUERY_RETRIEVE_LEVEL: ("CS", _even(level))}
            rows = FoundRows(level, plan.depth, tags, constant, self.data, plan.private)
            return _Search(plan, answers, rows, self.options.scan_limit)

        return await beside_the_loop(begin)  # it may have thousands of values


class _Search:
    """A query under way: what was read, and what comes next."""

    def __init__(self, plan: Plan, answers: Answers, rows: FoundRows, scan_limit: int) -> None:
        self._plan = plan
        self._answers = answers
        self._rows = rows
        self._left_to_scan = scan_limit
        self._ranges = plan.ranges()
        self._place = next(self._ranges, None)
        """The range that is read; None at the end."""
        self._last: Sequence[Any] | None = None
        """Of the last row that was read of it: the values of its order."""
        self._seen: set[tuple[Any, ...]] = set()
        """The entities that were answered; in the order of patients, those of `_patient_id` only."""
        self._patient_id: str | None = None
        self._full = max(1, min(PAGE, PAGE_ELEMENTS // (len(answers.tags) + 1)))
        """Rows that are read at once."""
        self._most = min(FIRST_PAGE, self._full)
        self._is_first = True

    @property
    def has_unsupported(self) -> bool:
        """Whether there are keys with values that are not matched."""
        return bool(self._plan.unsupported)

    @property
    def is_done(self) -> bool:
        """Whether all was read."""
        return self._place is None

    def page(self, connection: Connection) -> list[bytes]:
        """Read on, and encode the answers of what was read."""
        found, read, ranges = list[bytes](), 0, 0
        while self._place is not None and read < self._most and ranges < _RANGES and not (self._is_first and found):
            is_by_patient = any(study.c.patient_id is each for each in self._place.order)
            rows = self._read(connection, self._place)
            found += self._answered(rows, is_by_patient=is_by_patient)
            read, ranges = read + len(rows), ranges + 1
        self._most, self._is_first = self._full, False
        return found

    def _read(self, connection: Connection, place: Range) -> list[Sequence[Any]]:
        """Read the next rows, without the values of their order."""
        order = len(self._plan.order(place))
        rows = connection.execute(self._plan.statement(place, self._rows.columns, self._last, self._most)).all()
        if order and len(rows) == self._most:
            self._last = rows[-1][:order]
        else:
            self._place = next(self._ranges, None)
            self._last = None
        columns: list[Sequence[Any]] = [row[order:] for row in rows]
        self._rows.look_up(connection, columns)
        return columns

    def _answered(self, rows: Sequence[Sequence[Any]], *, is_by_patient: bool) -> list[bytes]:
        found, plan = list[bytes](), self._plan
        for row in rows:
            if plan.scanned:
                self._note_scanned()
            elements = self._rows.elements(row)
            if match(plan.keys, elements) and (plan.has_one_row or self._is_new(row, is_by_patient=is_by_patient)):
                found.append(self._answers.encoded(elements))
        return found

    def _note_scanned(self) -> None:
        self._left_to_scan -= 1
        if self._left_to_scan < 0:
            self._plan.unsupported |= self._plan.scanned
            self._plan.leave_out(self._plan.scanned)
            self._plan.scanned.clear()

    def _is_new(self, row: Sequence[Any], *, is_by_patient: bool) -> bool:
        entity = self._rows.entity(row)
        if is_by_patient and entity[0] != self._patient_id:
            self._patient_id = entity[0]
            self._seen.clear()
        if entity in self._seen:
            return False
        self._seen.add(entity)
        return True


def _check_hierarchy(request: QueryRequest) -> None:
    """Without relational queries, each level above has one unique key with one value (PS3.4 C.4.1.2.1)."""
    *above, _ = request.model.levels_to(request.level)
    wrong = [each.unique_key for each in above if _values_of(request.identifier, tag_of(each.unique_key)) != 1]
    if not wrong or request.features.relational:
        return
    comment = f"{wrong[0]} must have one value, as relational queries were not agreed on"
    deviations = exchange_of(request.association).deviations
    if deviations.is_strict:
        raise StatusError(Status.DATASET_DOES_NOT_MATCH, comment)
    deviations.harmless(f"C-FIND: {comment}")


def _values_of(identifier: Dataset, tag: int) -> int:
    if tag not in identifier:
        return 0
    found = Texts().of(identifier, tag, character_sets_of(identifier))
    return 0 if "*" in found else len(found)


def _even(text: str) -> bytes:
    encoded = text.encode("ascii")
    return encoded + b" " * (len(encoded) % 2)
