"""Batches of arrivals: one transaction for all of them, with the names of their files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from dimse.dataset import folders
from dimse.errors import DimseError
from dimse.node.arrival import Arrival, OnDuplicate, Outcome, Placed
from dimse.node.displacing import note_displaced
from dimse.node.incoming import IncomingFolder
from dimse.node.index import UNAVAILABLE, Index
from dimse.node.mending import mend
from dimse.node.naming import Names
from dimse.node.placing import place, stored_path
from dimse.node.shared_texts import SharedTexts

MAXIMUM_BATCH: Final = 512
"""Instances of a batch."""

ATTEMPTS: Final = 3
"""How often a batch is tried that PostgreSQL ends for the sake of another transaction."""

_PAUSE: Final = 0.05
"""Seconds before it is tried again, so that the other one comes first."""

_ENDED_FOR_ANOTHER: Final = frozenset({"40001", "40P01"})
"""The SQLSTATE of serialization_failure and deadlock_detected."""


class InDoubt(DimseError):
    """Whether an instance is in the index is not known. Its file is left in `incoming/`, for the next start."""


class Batches:
    """Puts arrivals into the index and their files into their places, in one thread; for node and commands.

    The files are whole, and on the disk if they are to survive a power failure: with `fsync` their names in `folder`
    are forced to it here. What becomes of an instance that was stored before, `on_duplicate` decides.
    """

    def __init__(
        self, index: Index, data: Path, folder: IncomingFolder, *, on_duplicate: OnDuplicate, fsync: bool
    ) -> None:
        self._index = index
        self._data = data
        self._folder = folder
        self._on_duplicate = on_duplicate
        self._fsync = fsync
        self._texts = SharedTexts()

    def place(self, arrivals: Sequence[Arrival], *, keeps: bool = False) -> list[Placed | Exception]:
        """What became of each arrival; an exception if it is not stored, and then its file is gone.

        Files in place are left alone; with `keeps`, all files if the index is not available.
        """
        if not arrivals:
            return []
        placed = self._try(arrivals)
        for arrival, result in zip(arrivals, placed, strict=True):
            kept = (InDoubt, *UNAVAILABLE) if keeps else InDoubt
            is_superfluous = result.path is None if isinstance(result, Placed) else not isinstance(result, kept)
            if is_superfluous and not arrival.is_in_place:
                folders.remove(arrival.path)
        return placed

    def _try(self, arrivals: Sequence[Arrival], attempt: int = 1) -> list[Placed | Exception]:
        try:
            if self._fsync:
                self._folder.sync()
        except OSError as error:  # no name of them is known to be on the disk
            return [error] * len(arrivals)
        try:
            return [*self._place(arrivals)]
        except Exception as error:  # noqa: BLE001 - whatever it is, the senders are told
            if attempt < ATTEMPTS and _is_ended_for_another(error):
                time.sleep(_PAUSE)
                return self._try(arrivals, attempt + 1)
            return self._apart(arrivals, error)

    def _apart(self, arrivals: Sequence[Arrival], error: Exception) -> list[Placed | Exception]:
        """Try each arrival of a batch that failed alone, unless all would fail."""
        if len(arrivals) == 1 or isinstance(error, (InDoubt, *UNAVAILABLE)):
            return [error] * len(arrivals)
        return [result for arrival in arrivals for result in self._try([arrival])]

    def _place(self, arrivals: Sequence[Arrival]) -> list[Placed]:
        names = Names(str(self._data))
        placed: list[Placed] | None = None
        try:
            with self._index.writing() as connection, names:
                decided = place(connection, arrivals, self._on_duplicate, self._texts, data=self._data)
                decided = mend(connection, decided, self._data)
                for each in decided:
                    if each.path is not None and not each.arrival.is_in_place:
                        names.give(each.arrival.path, each.path)
                note_displaced(connection, self._data, names.set_aside)
                placed = decided
        except BaseException as error:
            if placed is None or not self._is_committed(placed, error):
                names.undo()
                raise
        names.keep()
        return placed

    def _is_committed(self, placed: Sequence[Placed], error: BaseException) -> bool:
        """Whether a transaction was committed whose commit failed, as a server may do just before it is gone.

        What the last arrival has added tells: it was not in its place before, and no other one has replaced it.
        """
        added = [each for each in placed if each.path is not None and each.outcome is not Outcome.SAME]
        if not added:
            return False
        try:
            with self._index.reading() as connection:
                return stored_path(connection, added[-1].arrival) == added[-1].path
        except SQLAlchemyError:
            why = "the index was lost at a commit, so it is not known whether it has the last instances"
            raise InDoubt(f"{why}; send or import them again") from error


def _is_ended_for_another(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _ENDED_FOR_ANOTHER
