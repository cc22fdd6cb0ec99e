"""Mends the index where it and the files of an archive disagree.

1. A file without a row is put into the index if it is a whole instance; else it stays where it is. None is deleted.
2. The row of an instance without a file is removed, with an event: a query must not offer what cannot be retrieved. One
   whose file was adopted in a folder that is not there stays, as that may be on a disk that is not mounted.
3. A damaged file stays, and so does its row: what is left of it may be all that there is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from sqlalchemy import Connection, delete

from dimse.node.arrival import OnDuplicate
from dimse.node.events import EventKind, record
from dimse.node.importing import Importer
from dimse.node.index import Index
from dimse.node.inventory import check_mounted, instances
from dimse.node.options import NodeOptions
from dimse.node.recount import correct, recount
from dimse.node.removing import lock_study, remove_lost
from dimse.node.schema import set_aside
from dimse.node.verifying import Fault, Finding

SOURCE: Final = "verify"
"""Where the index says that the instances come from whose files were not in it."""

MAX_NAMED: Final = 20
"""Instances that an event names."""


def note(index: Index, found: Sequence[Finding], mended: Collection[Finding] = ()) -> None:
    """Write an event about the instances of a study that are missing or damaged, if there are any."""
    lost = [each for each in found if each.is_loss]
    if not lost:
        return
    detail = {
        "faults": {fault.value: count for fault in Fault if (count := sum(each.fault is fault for each in lost))},
        "instances": [each.uid for each in lost[:MAX_NAMED]],
        "removed": sum(each in mended for each in lost),
    }
    with index.writing() as connection:
        record(connection, EventKind.MISSING, study_uid=lost[0].study_uid, detail=detail)


class Repairer:
    """Mends what a `Verifier` finds, inside its block. All of it blocks."""

    def __init__(self, index: Index, options: NodeOptions) -> None:
        self._index = index
        self._data = options.data
        storage = replace(options.storage, on_duplicate=OnDuplicate.KEEP)
        self._importer = Importer(index, replace(options, storage=storage), source=SOURCE)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(self._importer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def repair(self, found: Sequence[Finding]) -> set[Finding]:
        """Mend what was found of a study. Returns what was mended.

        Raises `FileNotFoundError` if the files of the archive are gone, as where a disk is not mounted any more.
        """
        mended = {each for each in found if each.fault is Fault.NO_ROW and self._adopt(each)}
        with self._index.writing() as connection:
            for study_uid in sorted({each.study_uid for each in found if each.fault is not Fault.NO_ROW}):
                mended |= self._mend(connection, study_uid, [each for each in found if each.study_uid == study_uid])
        return mended

    def _mend(self, connection: Connection, study_uid: str, found: Sequence[Finding]) -> set[Finding]:
        lock_study(connection, study_uid)  # first, as what is found then stays true
        lost = self._lost(connection, study_uid, found)
        remove_lost(connection, study_uid, {(each.series_uid, each.uid) for each in lost})
        mended = set(lost)
        for each in found:
            if each.fault is Fault.NOT_SET_ASIDE and self._is_gone(each.path):
                connection.execute(delete(set_aside).where(set_aside.c.path == each.path))
            elif each.fault is Fault.COUNTERS:
                correct(connection, recount(connection, study_uid))
            else:
                continue
            mended.add(each)
        return mended

    def _lost(self, connection: Connection, study_uid: str, found: Sequence[Finding]) -> list[Finding]:
        """Those without a file that have none now either: it may have come again, and to another place."""
        without = [each for each in found if each.fault is Fault.NO_FILE]
        if not without:
            return []
        check_mounted(connection, self._data)
        paths = {(row.series_uid, row.uid): row.path for row in instances(connection, study_uid)}
        places = ((each, paths.get((each.series_uid, each.uid))) for each in without)
        return [each for each, path in places if path is not None and self._is_gone(path)]

    def _is_gone(self, path: str) -> bool:
        """Whether a file is lost.

        Where its folder is not there either, its disk may not be mounted. Only folders in `studies/` come and go.
        """
        file = self._data / path
        return not file.exists() and (file.parent.exists() or path.startswith("studies/"))

    def _adopt(self, finding: Finding) -> bool:
        with suppress(FileNotFoundError):
            return self._importer.adopt(finding.path).error is None
        return True
