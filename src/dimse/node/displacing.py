"""What becomes of files that were in the places of others, and that were moved to `set-aside/`.

1. One that a job is to delete, of a study that was deleted and is sent again, is deleted where it is now.
2. So is one that is cut short, and one with content that is stored or set aside already.
3. Any other one is listed as set aside, with an event.
4. If the index does know it, in a place that differs in upper and lower case alone, the file system takes the two for
   one: then the new instance is refused.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, insert

from dimse.errors import DatasetError
from dimse.node.events import EventKind, record
from dimse.node.examining import examine, has_content
from dimse.node.inventory import paths_to_delete
from dimse.node.placing import stored_path
from dimse.node.removing import defer_deletion
from dimse.node.schema import set_aside

SOURCE: Final = "unknown file"
"""Where such a file came from, as its event says it."""


def note_displaced(connection: Connection, data: Path, displaced: Mapping[str, str]) -> None:
    """Write into the index what becomes of files: where they are, by where they were, both below the folder `data`.

    Raises `OSError` (EEXIST) for one that is another instance's.
    """
    if displaced:
        leaving = paths_to_delete(connection)
        is_kept = {
            aside: place not in leaving and _list(connection, data, place, aside) for place, aside in displaced.items()
        }
        defer_deletion(connection, [aside for aside, kept in is_kept.items() if not kept])


def _list(connection: Connection, data: Path, place: str, path: str) -> bool:
    """Note that the file of a place is set aside. Returns whether it is to be kept."""
    file = data / path
    try:
        found = examine(file, SOURCE, received_at=file.stat().st_mtime)
    except DatasetError:
        return False
    known = stored_path(connection, found)
    if known is not None and known != place and known.casefold() == place.casefold():
        raise OSError(errno.EEXIST, "its UIDs differ from those of another instance in case alone", str(data / place))
    if known is not None:
        return not has_content(data / known, file, found.digest)
    about = found.description
    row: dict[str, Any] = {
        "study_uid": about.study_uid,
        "series_uid": about.series_uid,
        "uid": about.uid,
        "digest": found.digest,
    }
    row |= {"bytes": found.size, "path": path, "received_at": found.received_at}
    connection.execute(insert(set_aside).values(row))
    record(
        connection,
        EventKind.DUPLICATE,
        study_uid=about.study_uid,
        series_uid=about.series_uid,
        instance_uid=about.uid,
        detail={"outcome": "set aside", "source": SOURCE},
    )
    return True
