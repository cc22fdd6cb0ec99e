"""When nothing more is expected of a study, and why: it is settled, once for each time that it has changed.

1. A study that changes has `settled_at` NULL, and a new `changed_at`. It is settled by an UPDATE that demands both, in
   the transaction that writes the event: so never twice, never one that changed meanwhile, and never without its event.
   What settles it is a look at the index, so nothing is lost when a node is killed.
2. The evidence, the strongest first:
       MPPS              all procedure steps of the study have ended, and what they list is all here
       count             as many instances are here as one of them has announced (0020,1208)
       association end   all associations that sent something of it have ended, and it was quiet since; but no step of
                         it is in progress
       quiet time        it was quiet for longer
   The last two wait while an instance of it is under way, as a large one may take longer than that. Evidence is used
   once: steps that have settled a study are forgotten for what comes later.
3. The senders of a study are known in memory alone: associations do not outlive the process. After a restart, for
   `import` and beyond `MAXIMUM_WATCHED` studies the quiet time settles.
4. Looks are `PACE` seconds apart, as other processes change studies too. One of which nothing has changed is one query.
5. A change that is later than now was noted by a clock that has been set back. It counts as one of now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, Connection, Double, bindparam, delete, func, select, update

from dimse.network.association import Association
from dimse.node.events import EventKind, record
from dimse.node.index import Index
from dimse.node.options import SettlingOptions
from dimse.node.recurring import Recurring
from dimse.node.schema import expected, instance, series, study
from dimse.node.statements import Statement

PACE: Final = 1.0
"""Seconds between two looks at the studies that are not settled."""

PAGE: Final = 200
"""Studies that are settled in one transaction, which other writers wait for."""

MAXIMUM_WATCHED: Final = 100_000
"""Studies whose senders are remembered."""

_AHEAD: Final = 5.0
"""Seconds by which the clock of another process may be ahead."""

_UIDS: Final = 500
"""UIDs of a query."""


class Because(StrEnum):
    """Why a study was settled: the evidence."""

    MPPS = "mpps"
    COUNT = "count"
    ASSOCIATION_END = "association-end"
    QUIET = "quiet"


@dataclass(slots=True)
class _Sent:
    """What is known of the senders of a study."""

    associations: int = 0
    """How many of those that sent something of it are open."""
    titles: set[str] = field(default_factory=set)
    """Their calling AE titles, also of those that have ended."""


class Senders:
    """Which associations send which studies, until these are settled."""

    def __init__(self) -> None:
        self._studies: dict[str, _Sent] = {}
        self._open: dict[Association, set[str]] = {}
        self._ended: dict[str, float] = {}
        """When the last association ended, for each study of which none is open."""

    def stored(self, association: Association, study_uid: str) -> None:
        """An instance of a study was stored."""
        studies = self._open.setdefault(association, set())
        if study_uid in studies or (study_uid not in self._studies and len(self._studies) >= MAXIMUM_WATCHED):
            return
        studies.add(study_uid)
        sent = self._studies.setdefault(study_uid, _Sent())
        sent.associations += 1
        sent.titles.add(association.calling_ae_title)
        self._ended.pop(study_uid, None)

    def look(self, now: float) -> None:
        """Note which associations have ended."""
        for association in [each for each in self._open if not each.is_open]:
            for study_uid in self._open.pop(association):
                sent = self._studies[study_uid]
                sent.associations -= 1
                if not sent.associations:
                    self._ended[study_uid] = now

    def ended(self, before: float) -> dict[str, Sequence[str]]:
        """The studies all of whose associations had ended `before`, and their AE titles."""
        return {uid: sorted(self._studies[uid].titles) for uid, ended in self._ended.items() if ended <= before}

    def forget(self, study_uids: Iterable[str]) -> None:
        """Forget studies of which no association is open."""
        for study_uid in study_uids:
            if self._ended.pop(study_uid, None) is not None:
                del self._studies[study_uid]


@dataclass(frozen=True, slots=True)
class Settled:
    """A study that may be settled, as it was when its evidence was found."""

    id: int
    uid: str
    changed_at: float
    because: Because
    evidence: dict[str, Any]
    steps: Sequence[str] = ()
    """The procedure steps that are the evidence."""


class Settling:
    """Settles studies inside its block. `clock` is `time.time`.

    `stored` has to be called with each instance that an association stores. `arriving` are the studies of which
    instances are under way.
    """

    def __init__(
        self,
        index: Index,
        options: SettlingOptions,
        *,
        arriving: Collection[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.senders = Senders()
        self._index = index
        self._options = options
        self._arriving = arriving
        self._clock = clock
        self._looking = Recurring("the settling of studies", self._look, PACE)

    def stored(self, association: Association, study_uid: str) -> None:
        """An instance was stored that an association has sent."""
        self.senders.stored(association, study_uid)

    def wake(self) -> None:
        """Look at once, as there is new evidence."""
        self._looking.wake()

    async def __aenter__(self) -> Self:
        await self._looking.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._looking.__aexit__(kind, error, traceback)

    async def _look(self) -> float:
        await self.look()
        return PACE

    async def look(self) -> None:
        """Settle the studies for which there is evidence now."""
        now = self._clock()
        self.senders.look(now)
        newest = await self._index.read(_newest_change)
        if newest is not None:
            if newest > now + _AHEAD:
                await self._index.write(partial(_correct_changes, now=now))
            await self._settle_pages(by_steps)
            await self._settle_pages(by_count)
        await self._settle_ended(now)
        if newest is not None:
            quiet = partial(by_quiet, now=now, seconds=self._options.quiet, arriving=list(self._arriving))
            await self._settle_pages(quiet)

    async def _settle_pages(self, find: Callable[[Connection], Sequence[Settled]]) -> None:
        is_full = True
        while is_full:
            found = await self._index.read(find)
            is_full = len(found) == PAGE
            await self._settle(found)

    async def _settle_ended(self, now: float) -> None:
        quiet = now - self._options.quiet_after_association
        ended = self.senders.ended(quiet)
        uids = [uid for uid in ended if uid not in self._arriving]
        for begin in range(0, len(uids), PAGE):
            titles = {uid: ended[uid] for uid in uids[begin : begin + PAGE]}
            unsettled, found = await self._index.read(partial(by_associations, titles=titles, quiet=quiet))
            await self._settle(found)
            self.senders.forget(titles.keys() - unsettled | {each.uid for each in found})

    async def _settle(self, found: Sequence[Settled]) -> None:
        if found:
            await self._index.write(partial(settle, found=found, now=self._clock()))


_SETTLE: Final = Statement(
    update(study)
    .where(study.c.id == bindparam("study"), study.c.settled_at.is_(None))
    .where(study.c.changed_at == bindparam("changed", type_=Double()))
    .values(settled_at=bindparam("now"), settled_because=bindparam("because"))
    .returning(study.c.id)
)


def settle(connection: Connection, found: Sequence[Settled], now: float) -> None:
    """Settle studies that have not changed since their evidence was found, in a transaction that writes.

    They are locked in the order of their UIDs, as by `placing`.
    """
    for each in sorted(found, key=lambda each: each.uid):
        because = each.because.value
        if _SETTLE.rows(connection, study=each.id, changed=each.changed_at, now=now, because=because):
            detail = {"because": because} | each.evidence
            record(connection, EventKind.STUDY_SETTLED, study_uid=each.uid, detail=detail)
            if each.steps:
                used = (expected.c.study_uid == each.uid, expected.c.step_uid.in_(each.steps))
                connection.execute(delete(expected).where(*used))


_UNSETTLED: Final = study.c.settled_at.is_(None)
_COLUMNS: Final = (
    study.c.id,
    study.c.uid,
    study.c.changed_at,
    study.c.series_count,
    study.c.instance_count,
    study.c.bytes,
)


def _settled(row: Any, because: Because, steps: Sequence[str] = (), /, **evidence: Any) -> Settled:
    counts = {"series": row.series_count, "instances": row.instance_count, "bytes": row.bytes}
    return Settled(row.id, row.uid, row.changed_at, because, evidence | counts, steps)


def by_quiet(connection: Connection, now: float, seconds: float, arriving: Collection[str] = ()) -> Sequence[Settled]:
    """A page of the studies of which nothing has changed for `seconds`, the longest first; not those `arriving`."""
    quiet = select(*_COLUMNS).where(_UNSETTLED, study.c.changed_at <= now - seconds, study.c.uid.not_in(arriving))
    rows = connection.execute(quiet.order_by(study.c.changed_at).limit(PAGE))
    return [_settled(row, Because.QUIET, quiet_seconds=round(now - row.changed_at, 3)) for row in rows]


def by_count(connection: Connection) -> Sequence[Settled]:
    """A page of the studies that have as many instances as were announced."""
    full = select(*_COLUMNS).where(_UNSETTLED, study.c.announced.is_not(None))
    rows = connection.execute(full.where(study.c.announced == study.c.instance_count).order_by(study.c.id).limit(PAGE))
    return [_settled(row, Because.COUNT, announced=row.instance_count) for row in rows]


def by_associations(
    connection: Connection, titles: dict[str, Sequence[str]], quiet: float
) -> tuple[set[str], Sequence[Settled]]:
    """Of studies whose senders have ended: those that are not settled, and among them those quiet since `quiet`."""
    rows = connection.execute(select(*_COLUMNS).where(_UNSETTLED, study.c.uid.in_(list(titles)))).all()
    in_progress = set(
        connection.scalars(
            select(expected.c.study_uid).where(expected.c.study_uid.in_(list(titles)), expected.c.listed.is_(None))
        )
    )
    found = [row for row in rows if row.changed_at <= quiet and row.uid not in in_progress]
    settled = [_settled(row, Because.ASSOCIATION_END, senders=titles[row.uid]) for row in found]
    return {row.uid for row in rows}, settled


def by_steps(connection: Connection) -> Sequence[Settled]:
    """A page of the studies whose procedure steps have ended, and which have all that these list."""
    ended = (
        select(expected.c.study_uid)
        .group_by(expected.c.study_uid)
        .having(func.count() == func.count(expected.c.listed))
        .subquery()
    )
    rows = connection.execute(
        select(*_COLUMNS).join(ended, ended.c.study_uid == study.c.uid).where(_UNSETTLED).order_by(study.c.id)
    )
    found = []
    for row in rows:
        its_own = expected.c.study_uid == row.uid
        steps = connection.execute(select(expected.c.step_uid, expected.c.listed).where(its_own)).all()
        if all(_are_here(connection, step.step_uid, row.uid) for step in steps):
            listed = sum(step.listed for step in steps)
            uids = [step.step_uid for step in steps]
            found.append(_settled(row, Because.MPPS, uids, steps=uids, listed=listed))
            if len(found) == PAGE:
                break
    return found


def _are_here(connection: Connection, step_uid: str, study_uid: str) -> bool:
    """Whether all instances that a step lists are in one of its studies. The lists are long: one is read at a time."""
    its_own = (expected.c.step_uid == step_uid, expected.c.study_uid == study_uid)
    uids: Sequence[str] = connection.scalar(select(expected.c.instances).where(*its_own)) or ()
    studies = select(expected.c.study_uid).where(expected.c.step_uid == step_uid)
    for begin in reversed(range(0, len(uids), _UIDS)):  # what is listed last comes last, and is missing longest
        some = uids[begin : begin + _UIDS]
        here: ColumnElement[int] = func.count(instance.c.uid.distinct())
        counted = select(here).select_from(study.join(series).join(instance))
        if connection.scalar(counted.where(study.c.uid.in_(studies), instance.c.uid.in_(some))) != len(some):
            return False
    return True


def _newest_change(connection: Connection) -> float | None:
    """When the study changed that changed last, of those that are not settled; None if all are."""
    newest: float | None = connection.scalar(select(func.max(study.c.changed_at)).where(_UNSETTLED))
    return newest


def _correct_changes(connection: Connection, now: float) -> None:
    connection.execute(update(study).where(_UNSETTLED, study.c.changed_at > now + _AHEAD).values(changed_at=now))
