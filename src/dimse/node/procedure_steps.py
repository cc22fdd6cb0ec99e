"""Procedure steps (MPPS) that a node keeps: the SCP, and what the steps say about studies.

1. A step is kept with what it says about its studies in one transaction, before its sender gets Success: so both
   survive a restart.
2. A step in progress says that more of its studies is to come. One that has ended says which instances there are,
   also one that was discontinued; one that lists nothing says nothing.
3. Steps are forgotten `KEPT` seconds after their last change, and beyond `MAXIMUM_STEPS` or `MAXIMUM_STEP_BYTES` those
   that changed longest ago, so that devices that never end their steps keep no others out.
4. What a step lists is kept with each of its studies. So one of more than `MAXIMUM_STUDIES` studies, or with more than
   `MAXIMUM_LISTED` instances, is refused with Resource Limitation (0x0213).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, select

from dimse import uids
from dimse.dataset.codec import decode, encode
from dimse.dataset.pydicom_names import Dataset
from dimse.dataset.threads import beside_the_loop
from dimse.errors import StatusError
from dimse.node.index import Index
from dimse.node.schema import expected, procedure_step
from dimse.services.procedure_step import StepStatus
from dimse.services.procedure_step_scp import ProcedureSteps, StepChange
from dimse.services.server import Server
from dimse.status import Status

MAXIMUM_STEPS: Final = 10_000
"""Procedure steps that a node keeps."""

MAXIMUM_STEP_BYTES: Final = 256 * 1024 * 1024
"""Bytes of their data sets, and of what they list."""

MAXIMUM_STUDIES: Final = 100
"""Studies that a procedure step belongs to."""

MAXIMUM_LISTED: Final = 200_000
"""Instances that a procedure step lists, counted with each of its studies."""

KEPT: Final = 30 * 24 * 3600.0
"""Seconds after its last change until a procedure step is forgotten."""

_BESIDE: Final = 4
"""Bytes of JSON beside each UID that is listed."""

_SYNTAX: Final = uids.EXPLICIT_VR_LITTLE_ENDIAN
_REFERENCES: Final = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")


def serve_procedure_steps(server: Server, index: Index, ended: Callable[[], None]) -> ProcedureSteps:
    """Register the SCP of procedure steps. `ended` is called when a step has ended."""

    async def accept(_: StepChange) -> None:
        """What a step may be is decided by `ProcedureSteps`."""

    return ProcedureSteps(server, accept, store=IndexStepStore(index, ended))


class IndexStepStore:
    """Keeps procedure steps in the index. `ended` is called when a step has ended; `clock` is `time.time`."""

    def __init__(self, index: Index, ended: Callable[[], None], *, clock: Callable[[], float] = time.time) -> None:
        self._index = index
        self._ended = ended
        self._clock = clock

    async def get(self, sop_instance_uid: str) -> Dataset | None:
        """The data set of a step."""
        wanted = select(procedure_step.c.dataset).where(procedure_step.c.uid == sop_instance_uid)
        encoded: bytes | None = await self._index.read(lambda connection: connection.scalar(wanted))
        return None if encoded is None else await beside_the_loop(lambda: decode(encoded, _SYNTAX))

    async def put(self, sop_instance_uid: str, dataset: Dataset) -> None:
        """Keep the data set of a step, and what it says about its studies."""
        status = StepStatus(dataset.PerformedProcedureStepStatus)
        encoded, listed = await beside_the_loop(
            lambda: (encode(dataset, _SYNTAX), instances_of(dataset) if status.is_final else None)
        )
        studies = studies_of(dataset)
        size = len(encoded) + len(studies) * sum(len(each) + _BESIDE for each in listed or ())
        is_long = len(studies) > MAXIMUM_STUDIES or len(studies) * len(listed or ()) > MAXIMUM_LISTED
        if is_long or size > MAXIMUM_STEP_BYTES:
            raise StatusError(Status.RESOURCE_LIMITATION, "the procedure step has too many studies and instances")

        def work(connection: Connection) -> None:
            row = {"status": status.value, "dataset": encoded, "bytes": size, "changed_at": self._clock()}
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


def _keep(connection: Connection, uid: str, row: dict[str, Any]) -> None:
    """Write the row of a step, and forget others if there is no room for it."""
    connection.execute(delete(procedure_step).where(procedure_step.c.uid == uid))
    _make_room(connection, row["bytes"])
    connection.execute(insert(procedure_step).values(row | {"uid": uid}))


def _make_room(connection: Connection, size: int) -> None:
    steps = connection.execute(select(func.count(), func.coalesce(func.sum(procedure_step.c.bytes), 0))).one()
    count, total = int(steps[0]), int(steps[1])
    oldest = select(procedure_step.c.uid, procedure_step.c.bytes).order_by(procedure_step.c.changed_at).limit(1)
    while count >= MAXIMUM_STEPS or total + size > MAXIMUM_STEP_BYTES:
        step = connection.execute(oldest).one()
        connection.execute(delete(procedure_step).where(procedure_step.c.uid == step.uid))
        count, total = count - 1, total - step.bytes


def _expect(connection: Connection, uid: str, studies: list[str], listed: list[str] | None) -> None:
    """Note what a step says about its studies; `listed` is None while it is in progress."""
    if studies and listed != []:
        row = {"step_uid": uid, "instances": listed, "listed": None if listed is None else len(listed)}
        connection.execute(insert(expected), [row | {"study_uid": study_uid} for study_uid in studies])
