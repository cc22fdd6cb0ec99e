"""The requests for missing instances, by matches or by lists of instances, on as many associations as they need.

By C-GET and by C-MOVE, they follow the same rules:

1. At the level of the query there is one request for each match below which something is missing.
2. At IMAGE level the requests name at most `_UIDS_AT_ONCE` instances of one series. An invalid UID is alone in its
   list, so that it harms no other.
3. If the archive ended early, the rest of its list is requested one by one. The last instance is requested first:
   usually it is the first one left that stopped the archive.
4. If the association ended, the rest is requested on another one, until `_IN_VAIN` in a row have brought nothing, or
   one has timed out.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from dimse import uids
from dimse.address import Address
from dimse.errors import (
    AssociationError,
    AssociationTimeout,
    DatasetError,
    RemoteProtocolError,
)
from dimse.network.application_entity import ApplicationEntity
from dimse.network.association import Association, exchange_of
from dimse.options import ClientOptions, StoreOptions
from dimse.services.bringing_record import Record
from dimse.services.get_scu import GetResults
from dimse.services.listing import Listing, can_be_asked_for
from dimse.services.move_scu import MoveResults
from dimse.services.query import Query
from dimse.services.query_models import QueryRetrieveLevel, QueryRetrieveModel
from dimse.services.requesting import orderly_association
from dimse.status import Status
from dimse.upper_layer.negotiation import ProposedContext

logger = logging.getLogger("dimse.query_retrieve")

_UIDS_AT_ONCE: Final = 200
"""UIDs in one request: some archives reject longer lists."""

_IN_VAIN: Final = 3
"""Associations in a row that an archive may end without having sent anything, before the method is given up."""


@dataclass(frozen=True, slots=True)
class Archive:
    """The archive to retrieve from, the instances that it lists, and how to receive them."""

    entity: ApplicationEntity
    store: StoreOptions
    model: QueryRetrieveModel
    listing: Listing
    prefer: Sequence[str] = ()
    """The transfer syntaxes to propose first."""

    @property
    def address(self) -> Address:
        """Its address."""
        return self.entity.address

    @property
    def options(self) -> ClientOptions:
        """The options of associations with it."""
        return self.entity.options


class Request(Protocol):
    """Sends one request and receives its instances."""

    async def __call__(self, association: Association, query: Query, /) -> GetResults | MoveResults:
        """Returns the results after the operation has ended."""


class Requests:
    """The requests for everything that is missing."""

    def __init__(self, archive: Archive, record: Record) -> None:
        self._archive = archive
        self._record = record

    async def send(
        self,
        level: QueryRetrieveLevel,
        contexts: Sequence[ProposedContext],
        request: Request,
        classes: Sequence[str | None] | None = None,
    ) -> None:
        """Request missing instances of these classes: by matches at a level above IMAGE, or by lists of instances."""
        if level is QueryRetrieveLevel.IMAGE:
            await self._for_lists(contexts, request, classes)
        else:
            await self._for_matches(level, contexts, request)

    async def _for_matches(
        self, level: QueryRetrieveLevel, contexts: Sequence[ProposedContext], request: Request
    ) -> None:
        async with orderly_association(self._archive.entity, contexts) as association:
            for query in self._matches(level):
                try:
                    await request(association, query)
                except (DatasetError, ValueError) as error:
                    self._record.errors[None] = error  # a unique key of this match cannot be sent

    def _matches(self, level: QueryRetrieveLevel) -> Iterator[Query]:
        key = level.unique_key
        listed = {dict(instance.above).get(key) for instance in self._record.missing.values()}
        for keys in self._archive.listing.matches:
            if keys[key] in listed and can_be_asked_for(keys[key]):
                yield Query.as_found(level, keys, self._archive.model)

    async def _for_lists(
        self, contexts: Sequence[ProposedContext], request: Request, classes: Sequence[str | None] | None
    ) -> None:
        waiting, in_vain = deque(self._lists(classes)), 0
        while waiting:
            async with orderly_association(self._archive.entity, contexts) as association:
                arrived = len(self._record.results)
                try:
                    await self._on_one_association(association, waiting, request)
                except (AssociationError, RemoteProtocolError) as error:
                    in_vain = 0 if len(self._record.results) > arrived else in_vain + 1
                    if not waiting or in_vain == _IN_VAIN or isinstance(error, AssociationTimeout):
                        raise
                    logger.info("%s: %s; requesting the rest one by one", self._archive.address, error)

    def _lists(self, classes: Sequence[str | None] | None) -> Iterator[list[str]]:
        by_series: dict[object, list[str]] = {}
        for uid, instance in self._record.missing.items():
            if (classes is None or instance.sop_class_uid in classes) and can_be_asked_for(uid):
                by_series.setdefault(instance.above if uids.has_uid_characters(uid) else uid, []).append(uid)
        for members in by_series.values():
            for start in range(0, len(members), _UIDS_AT_ONCE):
                yield members[start : start + _UIDS_AT_ONCE]

    async def _on_one_association(self, association: Association, waiting: deque[list[str]], request: Request) -> None:
        missing, errors = self._record.missing, self._record.errors
        while waiting:
            exchange_of(association).check_open()
            listed = [uid for uid in waiting.popleft() if uid in missing]
            if not listed:
                continue
            keys = dict(missing[listed[0]].above) | {"SOPInstanceUID": "\\".join(listed)}
            ended_early = True
            try:
                query = Query.as_found(QueryRetrieveLevel.IMAGE, keys, self._archive.model)
                ended_early = _ended_early(await request(association, query), listed)
            except (DatasetError, ValueError) as error:
                errors |= dict.fromkeys(listed, error)
            finally:
                if ended_early and len(listed) > 1:
                    waiting.extendleft([uid] for uid in listed if uid in missing and uid not in errors)


def _ended_early(results: GetResults | MoveResults, listed: Sequence[str]) -> bool:
    """Whether the archive may have stopped before the end of the list."""
    status, counters = results.status, results.suboperations
    if status is None or status.is_out_of_resources:
        return False
    if isinstance(results, GetResults) or status != Status.SUCCESS:
        return True
    return counters.completed is not None and counters.completed < len(listed)  # the rest may still arrive
