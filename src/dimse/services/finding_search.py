"""Searching one archive, on one association: level by level, or relationally; whole, or in parts.

A query below the highest level that does not say which study, series or patient it is in is asked level by level: the
entities of the highest level, then those below each of them, each level with its own keys (PS3.4 C.4.1.3.1). Every
archive answers such queries.

An archive that limits its answers cuts them: it ends them with a status other than Success, or silently. To have
everything, a cut query is asked again in parts. Where no status tells, an answer is checked: it is whole if its parts
have nothing more. Up to the number of matches of such an answer, answers of that level are whole without a check.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from dimse.dataset.codec import PYDICOM_ERRORS
from dimse.dataset.pydicom_names import DataElement, Dataset
from dimse.errors import IncompleteAnswer, StatusError
from dimse.network.association import Association, exchange_of
from dimse.services.find_scu import CFindSCU, FindResults
from dimse.services.finding_keys import KeyCheck
from dimse.services.finding_parts import keys_of, parts_of
from dimse.services.listing import can_be_asked_for, text_at
from dimse.services.query import Query
from dimse.services.query_keys import dataset_of, tag_of
from dimse.services.query_models import LEVELS, QueryRetrieveLevel
from dimse.services.requesting import tell_what_is_missing
from dimse.status import StatusCategory

logger = logging.getLogger("dimse.query_retrieve")

MAXIMUM_KNOWN: Final = 10_000
"""Matches of an answer that are kept to divide it."""

_IN_VAIN: Final = 100
"""Parts in a row that may be cut without a new match, before no more are divided."""

_CUT: Final = frozenset((StatusCategory.CANCEL, StatusCategory.WARNING))
"""Final statuses of an answer that is cut, beside Out of Resources: PS3.4 C.4.1.1.4 has none for it."""

Take = Callable[[Dataset], Awaitable[None]]
"""Called with each match."""


@dataclass(slots=True)
class _Answer:
    """The answer to one C-FIND request."""

    cut: IncompleteAnswer | None = None
    refusal: StatusError | None = None
    """A failure that has nothing to do with the number of matches."""
    count: int = 0
    uids: set[str] = field(default_factory=set)
    """The unique keys of its matches, if they are needed."""
    known: list[dict[str, str]] = field(default_factory=list)
    """The values by which the query can be divided, of `MAXIMUM_KNOWN` matches."""
    ignored: set[str] = field(default_factory=set)
    """The keys that some of its matches do not have."""


@dataclass(slots=True)
class _Limits:
    """What is known of the number of matches that an archive returns at a level."""

    whole: int = 1
    """An answer of so many was whole, and needs no check."""
    cut: int | None = None
    """An answer of so many was cut, and no status said so."""


class Search:
    """Searches one archive. What could not be found is in `failures`."""

    def __init__(self, association: Association, *, complete: bool) -> None:
        self.failures: list[Exception] = []
        self.divided_by: set[str] = set()
        """The keys by which queries were divided."""
        self._scu = CFindSCU(association)
        self._association = association
        self._archive = exchange_of(association).address
        self._complete = complete
        self._limits = {level: _Limits() for level in (*LEVELS, None)}
        self._warned: set[str] = set()

    async def run(self, query: Query, take: Take) -> None:
        """Find everything that matches."""
        tell_what_is_missing(self._association, query, "find")
        level, above = query.first_step()
        if query.features.relational or level is None:
            await self._all(query, frozenset(), take)
            return
        await self._below(query, level, above, Dataset(), take)

    # Level by level

    async def _below(
        self, query: Query, level: QueryRetrieveLevel, above: Mapping[str, str], inherited: Dataset, take: Take
    ) -> None:
        """Find what is below one entity. Its matches get the attributes of the levels above that were asked for."""
        step = query.step(level, above)
        fixed = frozenset(map(tag_of, above))

        async def take_last(match: Dataset) -> None:
            for tag in inherited.keys() - match.keys():
                match[tag] = inherited[tag]
            await take(match)

        if level is query.level:
            await self._all(step, fixed, take_last)
            return
        entities: dict[str, Dataset] = {}
        wanted = query.keys_at(level)

        async def note(match: Dataset) -> None:
            uid = text_at(match, level.unique_key)
            if not can_be_asked_for(uid):
                self._warn(f"a match without a usable {level.unique_key} was left out")
                return
            entities[uid] = _with_attributes(inherited, match, wanted, {level.unique_key: uid})

        await self._all(step, fixed, note)
        below = level.below
        assert below is not None  # noqa: S101 - IMAGE is the lowest
        while entities:
            uid = next(iter(entities))
            await self._below(query, below, {**above, level.unique_key: uid}, entities.pop(uid), take)

    # One query, or its parts

    async def _all(self, query: Query, fixed: frozenset[int], take: Take) -> None:
        """All matches of one query, each once."""
        if not self._complete:
            answer = await self._ask(query, fixed, take)
            self.failures += [] if answer.cut is None else [answer.cut.at(self._archive, "C-FIND")]
            return
        taken: set[str] = set()

        async def take_once(match: Dataset) -> None:
            uid = text_at(match, query.unique_key)
            if not uid or uid not in taken:
                taken.add(uid)
                await take(match)

        parts, in_vain, known = [(query, "")], 0, 0
        cut: list[_Answer] = []
        while parts:
            part, key = parts.pop()
            answer = await self._ask(part, fixed, take_once)
            if not self._is_cut(part, answer):
                parts += await self._unless_whole(part, fixed, answer, take_once)
                continue
            in_vain, known = 0 if len(taken) > known else in_vain + 1, len(taken)
            divided = None if in_vain > _IN_VAIN or key in answer.ignored else parts_of(part, answer.known, last=key)
            if divided is None:
                cut.append(answer)
                continue
            self.divided_by.add(divided.key)
            parts += [(each, divided.key) for each in divided.queries]
        if cut:
            last = cut[-1].cut or IncompleteAnswer(0)
            incomplete = IncompleteAnswer(len(taken), last.status, last.comment, parts=len(cut))
            self.failures.append(incomplete.at(self._archive, "C-FIND"))

    def _is_cut(self, query: Query, answer: _Answer) -> bool:
        limit = self._limits[query.level].cut
        return answer.cut is not None or (limit is not None and answer.count >= limit)

    async def _unless_whole(
        self, query: Query, fixed: frozenset[int], answer: _Answer, take: Take
    ) -> list[tuple[Query, str]]:
        """Check an answer that ended with Success. Returns the parts that have to be asked if it is not whole."""
        limits = self._limits[query.level]
        if answer.refusal is not None or answer.count <= limits.whole:
            return []
        parts = parts_of(query, answer.known, apart=True)
        if parts is None:
            return []
        answers = [await self._ask(part, fixed, take) for part in parts.queries]
        if all(each.cut is None and each.uids <= answer.uids for each in answers):
            limits.whole = answer.count
            return []
        limits.cut = answer.count
        self.divided_by.add(parts.key)
        return [(part, parts.key) for part in parts.queries]

    # One C-FIND request

    async def _ask(self, query: Query, fixed: frozenset[int], take: Take) -> _Answer:
        results = self._scu.find(query, raise_failures=False)
        agreed = self._association.query_features(query.model.sop_class("find")) | query.model.features
        check, answer = KeyCheck(query.find_identifier(), except_for=fixed, agreed=agreed), _Answer()
        async with results as matches:
            async for match in matches:
                answer.count += 1
                ignored = check.ignored(match)
                if ignored is not None:
                    answer.ignored.add(ignored)
                    self._warn(f"it ignores the key {ignored}; its matches with another value were left out")
                    continue
                for keyword in check.unknown(match):
                    self._warn(f"it does not return {keyword}; whether its matches have that value is not known")
                self._note(query, match, answer)
                await take(match)
        if results.unsupported_keys:
            self._warn("it does not support all of the keys (0xFF01), and may have matched some of them not at all")
        self._conclude(results, answer)
        return answer

    def _note(self, query: Query, match: Dataset, answer: _Answer) -> None:
        """Keep what is needed to divide the query."""
        if self._complete:
            answer.uids.add(text_at(match, query.unique_key))
            if len(answer.known) < MAXIMUM_KNOWN:
                answer.known.append({keyword: text_at(match, keyword) for keyword in keys_of(query.level)})

    def _conclude(self, results: FindResults, answer: _Answer) -> None:
        status = results.status
        is_cut = status is not None and (status.is_out_of_resources or status.category in _CUT)
        if is_cut:
            for limits in self._limits.values():
                limits.whole = sys.maxsize  # a status tells
            answer.cut = IncompleteAnswer(answer.count, status, results.error_comment)
        failures = [each for each in results.failures if not (is_cut and isinstance(each, StatusError))]
        answer.refusal = next((each for each in failures if isinstance(each, StatusError)), None)
        self.failures += failures

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            logger.warning("%s: %s", self._archive, text)


def _with_attributes(inherited: Dataset, match: Dataset, wanted: frozenset[int], unique: Mapping[str, str]) -> Dataset:
    """The attributes for matches below `match`: those of the levels above it, and its own that are wanted."""
    attributes = Dataset()
    attributes.update({tag: inherited[tag] for tag in inherited.keys()})  # noqa: SIM118 - iterating decodes
    for tag in wanted & match.keys():
        with suppress(*PYDICOM_ERRORS):
            element = match[tag]
            attributes[tag] = DataElement(tag, element.VR, element.value, already_converted=True)
    attributes.update(dataset_of({(tag_of(keyword),): text for keyword, text in unique.items()}))
    return attributes
