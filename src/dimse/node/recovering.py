"""What a crash left undone: looks through `incoming/`, and nothing else."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Final

from dimse.dataset import folders
from dimse.errors import DatasetError
from dimse.node.arrival import Arrival
from dimse.node.batches import MAXIMUM_BATCH, Batches
from dimse.node.displacing import note_displaced
from dimse.node.examining import examine, has_content
from dimse.node.forcing import force
from dimse.node.incoming import IncomingFolder, abandoned
from dimse.node.index import Index
from dimse.node.naming import Names
from dimse.node.options import NodeOptions
from dimse.node.places import is_ours
from dimse.node.placing import stored_path

logger = logging.getLogger("dimse.storage")

SOURCE: Final = "recovered"
"""The source of instances whose transaction was not committed: who sent them is not known any more."""


def recover(index: Index, data: Path, batches: Batches) -> int:
    """Finish what ended processes had begun. Returns the number of files that they left.

    An instance that the index has gets its place; one that it does not have, but is whole, is stored now; what is not
    whole was never acknowledged, and is deleted. Blocks. Raises `OSError` or `sqlalchemy.exc.SQLAlchemyError`; if the
    index is not available, the files are left for another start.
    """
    with abandoned(data) as files:
        rest: list[Arrival] = []
        for file in files:
            try:
                arrival = replace(examine(file, SOURCE, received_at=file.stat().st_mtime), is_in_place=False)
            except DatasetError:
                folders.remove(str(file))
                continue
            if not _is_mended(index, data, arrival):
                rest.append(arrival)
            if len(rest) == MAXIMUM_BATCH:
                _store(batches, rest)
                rest = []
        _store(batches, rest)
    if files:
        logger.warning("%d files of an ended process were in incoming/, and are stored, or deleted if cut", len(files))
    return len(files)


def recover_alone(index: Index, options: NodeOptions) -> None:
    """`recover` for a command that stores nothing itself."""
    folder = IncomingFolder(options.data)
    try:
        storage = options.storage
        batches = Batches(index, options.data, folder, on_duplicate=storage.on_duplicate, fsync=storage.fsync)
        recover(index, options.data, batches)
    finally:
        folder.close()


def _is_mended(index: Index, data: Path, arrival: Arrival) -> bool:
    """Whether the index has it, in a place that is ours; then its file has its place now.

    What is there may have other content: that of a study that was deleted, and sent again.
    """
    with index.reading() as connection:
        path = stored_path(connection, arrival)
    if path is None or not is_ours(path):
        return False
    if has_content(data / path, Path(arrival.path), arrival.digest):
        folders.remove(arrival.path)
    else:
        force([arrival.path])
        with index.writing() as connection, Names(str(data)) as names:
            names.give(arrival.path, path)
            note_displaced(connection, data, names.set_aside)
        names.keep()
    return True


def _store(batches: Batches, arrivals: list[Arrival]) -> None:
    force([arrival.path for arrival in arrivals])
    for result in batches.place(arrivals, keeps=True):
        if isinstance(result, Exception):
            raise result
