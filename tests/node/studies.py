"""Studies in an index that change at given moments, for tests of what follows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select, update

from dimse.node.index import Index
from dimse.node.keys import uid_hash
from dimse.node.schema import instance, series, storage, study, uid


def arrive(connection: Connection, study_uid: str, instance_uid: str, at: float, announced: int | None = None) -> None:
    """An instance arrives: its study has changed, and is settled no more."""
    if connection.execute(select(uid.c.id)).first() is None:
        connection.execute(insert(uid).values(id=1, uid="1.2.840.10008.1.2"))
        connection.execute(insert(storage).values(id=1, url="folder:"))
    number = connection.scalar(select(study.c.id).where(study.c.uid == study_uid))
    if number is None:
        row: dict[str, Any] = {"uid": study_uid, "created_at": at, "changed_at": at, "key_version": 1}
        made = insert(study).values(row | {"attributes": b"", "announced": announced, "series_count": 1})
        number = connection.scalar(made.returning(study.c.id))
        connection.execute(insert(series).values(study_id=number, uid="1.1", attributes=b""))
    its_series = connection.scalar(select(series.c.id).where(series.c.study_id == number))
    columns = {"sop_class": 1, "transfer_syntax": 1, "storage": 1, "bytes": 1000, "offset": 400, "digest": b""}
    row = {"series_id": its_series, "uid": instance_uid, "uid_hash": uid_hash(instance_uid), "received_at": at}
    connection.execute(insert(instance).values(columns | row))
    changes = {"changed_at": at, "settled_at": None, "settled_because": None}
    counted = {"instance_count": study.c.instance_count + 1, "bytes": study.c.bytes + 1000}
    connection.execute(update(study).where(study.c.id == number).values(changes | counted))


def settled(index: Index) -> dict[str, str]:
    """The studies that are settled, and why."""
    with index.reading() as connection:
        rows = connection.execute(select(study).where(study.c.settled_at.is_not(None)))
        return {row.uid: row.settled_because for row in rows}
