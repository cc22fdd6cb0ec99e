"""Work for later: rows that are written in the transaction of what they follow from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select

from dimse.node.schema import job


def defer(
    connection: Connection,
    kind: str,
    payload: Mapping[str, Any],
    *,
    key: str | None = None,
    queue: str | None = None,
    not_before: float = 0,
) -> None:
    """Note work for later, in the transaction of `connection`.

    `payload` is what JSON can hold. There is one job with a `key`: while it waits, another one changes nothing.
    Jobs of a `queue`, by default that of their kind, run one at a time. `not_before` is a moment in seconds since 1970.
    """
    if key is not None and connection.execute(select(job.c.id).where(job.c.key == key)).first() is not None:
        return
    row = {"kind": kind, "payload": dict(payload), "key": key, "queue": queue or kind}
    connection.execute(insert(job).values(row | {"not_before": not_before or time.time()}))
