"""What the rows of a study say of its instances: its counters, its modalities and its SOP classes, counted anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, Table, func, select, update

from dimse.node.schema import instance, series, study, uid

_SERIES_COLUMNS: Final = ("instance_count", "bytes")
_STUDY_COLUMNS: Final = ("modalities", "sop_classes", "series_count", "instance_count", "bytes")


_TOTALS: Final = (func.count(instance.c.id), func.coalesce(func.sum(instance.c.bytes), 0))


@dataclass(frozen=True, slots=True)
class Difference:
    """A column that is not what the rows below it say."""

    table: str
    """`study` or `series`."""
    id: int
    uid: str
    column: str
    stored: int | str
    counted: int | str


def listed(values: Iterable[str]) -> str:
    r"""Values as a row of `study` has them, in order, each between two backslashes.

    >>> listed(["SR", "CT"])
    '\\CT\\SR\\'
    """
    each = {part for value in values for part in value.split("\\") if part}
    return "\\" + "".join(f"{value}\\" for value in sorted(each)) if each else ""


def recount(connection: Connection, study_uid: str | None = None) -> list[Difference]:
    """What differs from the rows below it, in one study or in all."""
    which = study.c.uid == study_uid if study_uid is not None else study.c.id.is_not(None)
    return [*_different_series(connection, which), *_different_studies(connection, which)]


def correct(connection: Connection, differences: Sequence[Difference]) -> None:
    """Store what was counted, in the transaction that counted it."""
    for each in differences:
        table = study if each.table == study.name else series
        connection.execute(update(table).where(table.c.id == each.id).values({each.column: each.counted}))


def _different_series(connection: Connection, which: ColumnElement[bool]) -> list[Difference]:
    counted = (
        select(series.c.id, series.c.uid, *(series.c[name] for name in _SERIES_COLUMNS), *_TOTALS)
        .select_from(study.join(series).outerjoin(instance))
        .where(which)
        .group_by(series.c.id)
    )
    differences = []
    for id_, uid_, count, size, *totals in connection.execute(counted):
        differences += _compared(series, id_, uid_, dict(zip(_SERIES_COLUMNS, (count, size), strict=True)), totals)
    return differences


def _different_studies(connection: Connection, which: ColumnElement[bool]) -> list[Difference]:
    below = study.outerjoin(series).outerjoin(instance)
    modalities = _values(connection, select(study.c.id, series.c.modality).select_from(below).where(which))
    with_classes = below.join(uid, instance.c.sop_class == uid.c.id)
    sop_classes = _values(connection, select(study.c.id, uid.c.uid).select_from(with_classes).where(which))
    counted = (
        select(
            study.c.id,
            study.c.uid,
            *(study.c[name] for name in _STUDY_COLUMNS),
            func.count(series.c.id.distinct()),
            *_TOTALS,
        )
        .select_from(below)
        .where(which)
        .group_by(study.c.id)
    )
    differences = []
    for id_, uid_, *values in connection.execute(counted):
        stored = dict(zip(_STUDY_COLUMNS, values[: len(_STUDY_COLUMNS)], strict=True))
        totals = values[len(_STUDY_COLUMNS) :]
        counted_anew = [listed(modalities[id_]), listed(sop_classes[id_]), *totals]
        differences += _compared(study, id_, uid_, stored, counted_anew)
    return differences


def _values(connection: Connection, statement: Select[Any]) -> defaultdict[int, set[str]]:
    """The values of each study."""
    values: defaultdict[int, set[str]] = defaultdict(set)
    for row in connection.execute(statement.distinct()):
        if row[1] is not None:
            values[row[0]].add(row[1])
    return values


def _compared(
    table: Table, id_: int, uid_: str, stored: Mapping[str, int | str], counted: Sequence[int | str]
) -> list[Difference]:
    return [
        Difference(table.name, id_, uid_, name, old, new if isinstance(new, str) else int(new))
        for (name, old), new in zip(stored.items(), counted, strict=True)
        if old != new
    ]
