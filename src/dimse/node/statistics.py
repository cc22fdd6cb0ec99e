"""Figures of an archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text

from dimse.node.jobs import QueueState, queues
from dimse.node.schema import metadata, set_aside, study


@dataclass(frozen=True, slots=True)
class Statistics:
    """What an archive has."""

    studies: int
    series: int
    instances: int
    bytes: int
    """Of the files of its instances."""
    index_bytes: int
    """Of the database, without what its log has not written back yet."""
    set_aside: int
    """Instances that were set aside, as others with their UIDs are stored."""
    unsettled: int
    """Studies of which more is expected."""
    jobs: int
    """Pieces of work that wait."""
    failing: Sequence[QueueState]
    """The queues of them of which some have failed, such as that of a webhook."""
    oldest: float | None
    """When the first of the studies was begun, in seconds since 1970, UTC."""
    newest: float | None
    """When the latest of the studies was changed."""

    @property
    def index_bytes_per_instance(self) -> float | None:
        """Length of the index for each instance, with its share of studies and series; None without instances."""
        return self.index_bytes / self.instances if self.instances else None


def statistics(connection: Connection) -> Statistics:
    """The figures of an archive: of its counters, so that it takes a look at each study, and at no instance."""
    counted = connection.execute(
        select(
            func.count(),
            func.coalesce(func.sum(study.c.series_count), 0),
            func.coalesce(func.sum(study.c.instance_count), 0),
            func.coalesce(func.sum(study.c.bytes), 0),
            func.min(study.c.created_at),
            func.max(study.c.changed_at),
        )
    ).one()
    unsettled = select(func.count()).select_from(study).where(study.c.settled_at.is_(None))
    waiting = queues(connection)
    return Statistics(
        studies=counted[0],
        series=int(counted[1]),
        instances=int(counted[2]),
        bytes=int(counted[3]),
        index_bytes=_length(connection),
        set_aside=connection.scalars(select(func.count()).select_from(set_aside)).one(),
        unsettled=connection.scalars(unsettled).one(),
        jobs=sum(each.waiting for each in waiting),
        failing=[each for each in waiting if each.problem is not None],
        oldest=counted[4],
        newest=counted[5],
    )


def _length(connection: Connection) -> int:
    if connection.dialect.name == "sqlite":
        return int(connection.scalar(text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")))
    return sum(connection.scalar(select(func.pg_total_relation_size(name))) or 0 for name in metadata.tables)
