"""Procedure steps (MPPS) that a node keeps: the SCP, and what the steps say about studies.

1. A step is kept with what it says about its studies in one transaction, before its sender gets Success: so both
   survive a restart.
2. A step in progress says that more of its studies is to come. One that has ended says which instances there are,
   also one that was discontinued; one that lists nothing says nothing.
3. Steps are forgotten `KEPT` seconds after their last change. There are at most `MAXIMUM_STEPS`: beyond it a new one is
   refused with Resource Limitation (0x0213).
4. So is one of more than `MAXIMUM_STUDIES` studies, or with more than `MAXIMUM_LISTED` instances, as what it lists is
   kept with each of its studies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, update

from dimse import uids
from dimse.dataset.codec import decode, encode
from dimse.dataset.pydicom_names import Dataset
from dimse.errors import StatusError
from dimse.node.index import Index
from dimse.node.schema import expected, procedure_step
from dimse.services.procedure_step import StepStatus
from dimse.services.procedure_step_scp import ProcedureSteps, StepChange
from dimse.services.server import Server
from dimse.status import Status

MAXIMUM_STEPS: Final = 10_000
"""Procedure steps that a node keeps."""

MAXIMUM_STUDIES: Final = 100
"""Studies that a procedure step belongs to."""

MAXIMUM_LISTED: Final = 200_000
"""Instances that a procedure step lists, counted with each of its studies."""

KEPT: Final = 30 * 24 * 3600.0
"""Seconds after its last change until a procedure step is forgotten."""

_SYNTAX: Final = uids.EXPLICIT_VR_LITTLE_ENDIAN
_REFERENCES: Final = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")


def serve_procedure_steps(server: Server, index: Index, ended: Callable[[], None]) -> ProcedureSteps:
    """Register the SCP of procedure steps. `ended` is called when a step has ended."""

    async def accept(_: StepChange) -> None:
        """What a step may be is decided by `ProcedureSteps`."""

    return ProcedureSteps(server, accept, store=IndexStepStore(index, ended))


class IndexStepStore:
    """Keeps procedure steps in the index. `ended` is called when a step has ended."""

    def __init__(self, index: Index, ended: Callable[[], None]) -> None:
        self._index = index
        self._ended = ended

    async def get(self, sop_instance_uid: str) -> Dataset | None:
        """The data set of a step."""
        wanted = select(procedure_step.c.dataset).where(procedure_step.c.uid == sop_instance_uid)
        encoded: bytes | None = await self._index.read(lambda connection: connection.scalar(wanted))
        return None if encoded is None else decode(encoded, _SYNTAX)

    async def put(self, sop_instance_uid: str, dataset: Dataset) -> None:
        """Keep the data set of a step, and what it says about its studies."""
        status = StepStatus(dataset.PerformedProcedureStepStatus)
        encoded = encode(dataset, _SYNTAX)
        studies, listed = studies_of(dataset), instances_of(dataset) if status.is_final else None
        if len(studies) > MAXIMUM_STUDIES or len(studies) * len(listed or ()) > MAXIMUM_LISTED:
            raise StatusError(Status.RESOURCE_LIMITATION, "the procedure step has too many studies and instances")

        def work(connection: Connection) -> None:
            row: dict[str, object] = {"status": status.value, "dataset": encoded, "changed_at": time.time()}
            _keep(connection, sop_instance_uid, row)
            _expect(connection, sop_instance_uid, studies, listed)

        await self._index.write(work)
        if status.is_final:
            self._ended()


def forget_old(connection: Connection, now: float) -> None:
    """Delete the steps that have not changed for long."""
    connection.execute(delete(procedure_step).where(procedure_step.c.changed_at < now - KEPT))


def studies_of(step: Dataset) -> list[str]:
    """The Study Instance UIDs that a step belongs to."""
    items = step.get("ScheduledStepAttributesSequence") or []
    return list(dict.fromkeys(uid for item in items if (uid := str(item.get("StudyInstanceUID") or ""))))


def instances_of(step: Dataset) -> list[str]:
    """The SOP Instance UIDs that a step lists."""
    return list(dict.fromkeys(_listed(step)))


def _listed(step: Dataset) -> Iterator[str]:
    for series in step.get("PerformedSeriesSequence") or []:
        for keyword in _REFERENCES:
            for reference in series.get(keyword) or []:
                if uid := str(reference.get("ReferencedSOPInstanceUID") or ""):
                    yield uid


def _keep(connection: Connection, uid: str, row: dict[str, object]) -> None:
    """Write the row of a step. Raises `StatusError` if there are too many."""
    if connection.execute(update(procedure_step).where(procedure_step.c.uid == uid).values(row)).rowcount:
        return
    if (connection.scalar(select(func.count()).select_from(procedure_step)) or 0) >= MAXIMUM_STEPS:
        raise StatusError(Status.RESOURCE_LIMITATION, "too many procedure steps are kept")
    connection.execute(insert(procedure_step).values(row | {"uid": uid}))


def _expect(connection: Connection, uid: str, studies: list[str], listed: list[str] | None) -> None:
    """Note what a step says about its studies; `listed` is None while it is in progress."""
    connection.execute(delete(expected).where(expected.c.step_uid == uid))
    if studies and listed != []:
        row = {"step_uid": uid, "instances": listed, "listed": None if listed is None else len(listed)}
        connection.execute(insert(expected), [row | {"study_uid": study_uid} for study_uid in studies])
