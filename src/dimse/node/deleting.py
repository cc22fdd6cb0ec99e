"""Deleting the files of what the index no longer has.

1. Nothing is deleted but by a job that was committed with the end of its rows: "delete-files" with "paths", relative to
   the data folder. A path that leads out of it is refused, and then nothing is deleted.
2. Between the removal of a study and this job it may have been sent again, to the same places. So a file in its usual
   place is deleted in a transaction that writes, in which the index has no instance there: what has been committed
   stays, and what comes waits. Files in other places have names that are not used again.
3. The thumbnails of a study go when its folder does.
4. Files that are not there are fine, since a job may run twice. Folders that have become empty are removed.
5. A file that cannot be deleted keeps no other one. Its job is run again until it can be.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from dimse.node.index import Index, exclude_writers
from dimse.node.jobs import GiveUp, Job
from dimse.node.schema import instance, series, study
from dimse.node.web.thumbnails import remove_thumbnails

KIND: Final = "delete-files"
"""The kind of its jobs."""

AT_ONCE: Final = 200
"""Files that are deleted in one transaction, which other writers wait for."""

LONGEST: Final = 0.25
"""Seconds after which a transaction ends early: to delete a file of gigabytes may take as long."""

_USUAL: Final = 4
"""Parts of a usual path: studies/{study}/{series}/{instance}.dcm."""


class Deleted(NamedTuple):
    """What was done about files that are to be deleted."""

    dealt_with: int
    """How many of them: at least one, and not all if that took longer than `LONGEST`."""
    problem: OSError | None
    """Why the first one is left that cannot be deleted."""


class FileDeletion:
    """The handler of "delete-files" for the data folder `data`."""

    def __init__(self, index: Index, data: Path) -> None:
        self._index = index
        self._data = data

    async def __call__(self, job: Job) -> None:
        """Delete the files of a job. Raises `GiveUp` for a path out of the data folder.

        Raises the first `OSError` by which a file could not be deleted, when all others are.
        """
        paths = checked(job.payload["paths"])
        problem: OSError | None = None
        while paths:
            done = await self._index.write(partial(delete, data=self._data, paths=paths[:AT_ONCE]))
            paths = paths[done.dealt_with :]
            problem = problem or done.problem
        if problem is not None:
            raise problem


def checked(paths: Iterable[str]) -> list[PurePosixPath]:
    """The paths, if all are in the data folder. Raises `GiveUp` otherwise."""
    found = [PurePosixPath(path) for path in paths]
    for path in found:
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise GiveUp(f"{path} is not in the data folder")
    return found


def delete(connection: Connection, data: Path, paths: Sequence[PurePosixPath]) -> Deleted:
    """Delete files that the index does not have, in a transaction that writes."""
    exclude_writers(connection, instance)
    kept = set(_in_index(connection, paths))
    end = time.monotonic() + LONGEST
    problem: OSError | None = None
    for done, path in enumerate(paths, 1):
        try:
            if path not in kept:
                data.joinpath(path).unlink(missing_ok=True)
        except OSError as error:
            problem = problem or error
        if time.monotonic() >= end:
            paths = paths[:done]
            break
    for folder in sorted({parent for path in paths for parent in _folders(path)}, key=_depth, reverse=True):
        with suppress(OSError):  # it is not empty, or gone
            data.joinpath(folder).rmdir()
    for study_uid in {path.parts[1] for path in paths if _is_usual(path)}:
        if not data.joinpath("studies", study_uid).exists():
            remove_thumbnails(data, study_uid)
    return Deleted(len(paths), problem)


def _in_index(connection: Connection, paths: Sequence[PurePosixPath]) -> Iterator[PurePosixPath]:
    """Those in their usual place of which there is an instance."""
    of_series = defaultdict(list)
    for path in paths:
        if _is_usual(path):
            of_series[path.parent].append(path)
    for folder, files in of_series.items():
        found = connection.execute(
            select(instance.c.uid)
            .join(series, instance.c.series_id == series.c.id)
            .join(study, series.c.study_id == study.c.id)
            .where(study.c.uid == folder.parent.name, series.c.uid == folder.name, instance.c.path.is_(None))
            .where(instance.c.uid.in_([path.name.removesuffix(".dcm") for path in files]))
        )
        yield from (folder / f"{uid}.dcm" for uid in found.scalars())


def _is_usual(path: PurePosixPath) -> bool:
    return len(path.parts) == _USUAL and path.parts[0] == "studies"


def _folders(path: PurePosixPath) -> list[PurePosixPath]:
    """The folders that a file may leave empty: those of its study and series, not the topmost."""
    return list(path.parents)[:-2]


def _depth(path: PurePosixPath) -> int:
    return len(path.parts)
