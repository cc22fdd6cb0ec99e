"""Listing the instances of an archive: a C-FIND at each level, down to IMAGE."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from dimse import uids
from dimse.address import Address
from dimse.dataset.codec import PYDICOM_ERRORS
from dimse.dataset.encoding import unpadded_text
from dimse.dataset.pydicom_names import Dataset, tag_for_keyword
from dimse.errors import DatasetError, PresentationContextError, StatusError
from dimse.network.application_entity import ApplicationEntity
from dimse.network.association import Association, exchange_of
from dimse.services.find_scu import CFindSCU
from dimse.services.query import Query
from dimse.services.query_models import QueryRetrieveLevel
from dimse.services.requesting import orderly_association, proposing, tell_what_is_missing
from dimse.upper_layer.negotiation import ProposedContext

logger = logging.getLogger("dimse.query_retrieve")

_OF_INSTANCES: Final = ("SOPClassUID", "AvailableTransferSyntaxUID")


class RetrieveMethod(StrEnum):
    """How an instance was retrieved."""

    GET = "C-GET"
    MOVE = "C-MOVE"


@dataclass(frozen=True, slots=True)
class Instance:
    """A listed instance: its SOP class, the unique keys above it, and the transfer syntaxes the archive names."""

    sop_instance_uid: str
    sop_class_uid: str | None
    above: tuple[tuple[str, str], ...]
    transfer_syntaxes: tuple[str, ...] = ()
    """Available Transfer Syntax UID (0008,3002), which few archives return."""


@dataclass(slots=True)
class Listing:
    """Everything that matches any of some queries."""

    instances: dict[str, Instance] = field(default_factory=dict)
    """By SOP Instance UID, as the archive writes it."""
    matches: list[dict[str, str]] = field(default_factory=list)
    """The unique keys of the matches of the queries themselves, each match once."""
    failures: list[tuple[str, Exception]] = field(default_factory=list)
    """Why something could not be listed, with the UID above it, or an empty text."""
    offers: frozenset[RetrieveMethod] = frozenset()
    """The methods that the archive accepts."""
    own_host: str = ""
    """The address by which this side reached the archive."""
    archive_host: str = ""
    """The address at which it reached it."""


def can_be_asked_for(unique_key: str) -> bool:
    """Whether a unique key from an archive can be used in a request: one value, valid by PS3.5 9.1 or not."""
    return 0 < len(unique_key) <= 64 and unique_key.isprintable() and not any(each in unique_key for each in "\\*?")


async def list_instances(entity: ApplicationEntity, queries: Sequence[Query]) -> Listing:
    """List all instances that match any of `queries`, and whether the archive offers C-GET and C-MOVE.

    The queries are of one level and model. Raises `AssociationError` if there is no association, and
    `PresentationContextError` or `StatusError` if the archive cannot be queried. The failures of single matches are in
    the listing, as is the status of a query that the archive refused, if it answered another one.
    """
    model = queries[0].model
    find, get, move = model.sop_class("find"), model.sop_class("get"), model.sop_class("move")
    contexts = proposing([ProposedContext(uid, uids.LITTLE_ENDIAN) for uid in (find, get, move)], queries, "find")
    listing = Listing()
    async with orderly_association(entity, contexts) as association:
        connection = exchange_of(association).connection
        listing.own_host, listing.archive_host = connection.own_host, connection.peer_host
        methods = {RetrieveMethod.GET: get, RetrieveMethod.MOVE: move}
        listing.offers = frozenset(method for method, uid in methods.items() if _accepts(association, uid))
        association.context_for(find)  # raises the error, as the next does
        if not listing.offers:
            association.context_for(move)
        await _Lister(association, entity.address, listing).run(queries)
    return listing


def _accepts(association: Association, sop_class_uid: str) -> bool:
    try:
        association.context_for(sop_class_uid)
    except PresentationContextError:
        return False
    return True


class _Lister:
    """Descends the levels with one query for each parent: every archive answers hierarchical queries."""

    def __init__(self, association: Association, address: Address, listing: Listing) -> None:
        self._association = association
        self._scu = CFindSCU(association)
        self._address = address
        self._listing = listing

    async def run(self, queries: Sequence[Query]) -> None:
        matches: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        refusals: list[StatusError] = []
        for query in queries:
            tell_what_is_missing(self._association, query, "find")
            found, refusal = await self._matches(query)
            matches |= {tuple(keys.items()): keys for keys in found}
            refusals += [] if refusal is None else [refusal]
        if len(refusals) == len(queries):
            raise refusals[0]
        self._listing.failures += [("", refusal) for refusal in refusals]
        self._listing.matches = found = list(matches.values())
        level = queries[0].level
        while level is not None and (below := level.below) is not None:
            level = below
            found = await self._below(queries[0], level, found)
        for keys in found:
            uid, sop_class = keys.pop("SOPInstanceUID"), keys.pop("SOPClassUID", "")
            syntaxes = tuple(filter(uids.is_uid, keys.pop("AvailableTransferSyntaxUID", "").split("\\")))
            # An invalid UID in an A-ASSOCIATE-RQ could cost every instance of that association.
            known_class = sop_class if uids.is_uid(sop_class) else None
            self._listing.instances[uid] = Instance(uid, known_class, tuple(keys.items()), syntaxes)

    async def _matches(self, query: Query) -> tuple[list[dict[str, str]], StatusError | None]:
        """The unique keys of the matches, from the highest level at which the query has something to find."""
        if query.features.relational:
            return await self._unique_keys(query, {})
        level, above = query.first_step()
        found, refusal = await self._unique_keys(query.step(level, above), above)
        while level is not None and level is not query.level and level.below is not None:
            level = level.below
            found = await self._below(query, level, found)
        return found, refusal

    async def _below(
        self, query: Query, level: QueryRetrieveLevel, found: Sequence[dict[str, str]]
    ) -> list[dict[str, str]]:
        """The unique keys of everything that the query finds below these matches, at the next level."""
        return [below for above in found for below in await self._below_one(query.step(level, above), above)]

    async def _below_one(self, query: Query, above: dict[str, str]) -> list[dict[str, str]]:
        parent = list(above.values())[-1]
        if not all(map(can_be_asked_for, above.values())):
            unusable = DatasetError(
                "a match cannot be requested: its unique key is not a single value without wildcards"
            )
            self._listing.failures.append((parent, unusable))
            return []
        found, refusal = await self._unique_keys(query, above)
        if refusal is not None:
            self._listing.failures.append((parent, refusal))
        return found

    async def _unique_keys(
        self, query: Query, above: dict[str, str]
    ) -> tuple[list[dict[str, str]], StatusError | None]:
        """The unique keys of all matches, also those above them, and the status that ended the query early."""
        is_image = query.level is QueryRetrieveLevel.IMAGE
        if is_image:
            query = query.returning(*_OF_INSTANCES)
        wanted = (*query.unique_keys, *(_OF_INSTANCES if is_image else ()))
        found: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        async with self._scu.find(query, raise_failures=False) as matches:
            async for match in matches:
                # A key of the request keeps its value, whatever the archive returns for it.
                keys = {key: value for key in wanted if (value := above.get(key) or text_at(match, key))}
                if query.unique_key not in keys:
                    logger.warning("%s: a match has no %s; omitted", self._address, query.unique_key)
                    continue
                found[tuple(keys.items())] = keys
        parent, refusal = next(reversed(above.values()), ""), None
        for failure in matches.failures:
            if isinstance(failure, StatusError):
                refusal = failure
            else:
                self._listing.failures.append((parent, failure))
        return list(found.values()), refusal


def text_at(match: Dataset, keyword: str | None) -> str:
    """The value as received, also one that its VR does not allow, without padding; empty without a keyword."""
    tag = None if keyword is None else tag_for_keyword(keyword)
    element = match.get_item(tag) if tag is not None else None
    if tag is None or element is None or not element.value:
        return ""
    if element.is_raw and keyword != "PatientID":
        return unpadded_text(element.value)
    try:
        value = match[tag].value
    except PYDICOM_ERRORS:
        return ""  # treated as absent
    return str(value) if isinstance(value, str) else "\\".join(map(str, value))
