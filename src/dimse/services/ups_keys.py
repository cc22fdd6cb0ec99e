"""The keys of a query for Unified Procedure Steps (PS3.4 CC.2.8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from dimse.services.query import Query
from dimse.services.query_keys import QueryValue
from dimse.services.query_models import QueryRetrieveModel
from dimse.services.ups_datasets import CodedConcept, date_time
from dimse.services.ups_states import UPSState

RETURNED: Final = (
    "SOPClassUID",
    "SOPInstanceUID",
    "ProcedureStepState",
    "ProcedureStepLabel",
    "WorklistLabel",
    "ScheduledProcedureStepPriority",
    "ScheduledProcedureStepStartDateTime",
    "InputReadinessState",
    "ScheduledWorkitemCodeSequence",
    "ScheduledStationNameCodeSequence",
    "InputInformationSequence",
    "ProcedureStepProgressInformationSequence",
    "StudyInstanceUID",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
)
"""What is returned of each step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UPSKeys:
    """Which steps to look for; all of them without any. Text may have the wild cards `*` and `?`.

    >>> keys = UPSKeys(state=UPSState.SCHEDULED, workitem="110004", start=(None, datetime(2024, 6, 30)))
    >>> keys.query().find_identifier().ScheduledProcedureStepStartDateTime
    '-20240630000000'
    """

    state: UPSState | None = None
    input_readiness: str | None = None
    """INCOMPLETE, UNAVAILABLE or READY."""
    label: str | None = None
    """Procedure Step Label: what is to be done."""
    worklist: str | None = None
    """Worklist Label."""
    priority: str | None = None
    """HIGH, MEDIUM or LOW."""
    workitem: CodedConcept | str | None = None
    """The scheduled workitem: its code, or its code value alone."""
    station: CodedConcept | str | None = None
    """The station it is scheduled for: its code, or its code value alone."""
    start: tuple[datetime | None, datetime | None] = (None, None)
    """The time for which it is scheduled: the first and the last moment; None leaves that end open."""
    patient_id: str | None = None
    sop_instance_uid: str | None = None
    more: Mapping[str, QueryValue] = field(default_factory=dict)
    """Further keys as of `Query.of`: keywords, tags, or paths of those."""

    def query(self, model: QueryRetrieveModel = QueryRetrieveModel.UPS_PULL) -> Query:
        """The query. Raises `ValueError` for a value that its key cannot have."""
        first, last = ("" if end is None else date_time(end) for end in self.start)
        keys: dict[str, QueryValue] = {
            "ProcedureStepState": self.state,
            "InputReadinessState": self.input_readiness,
            "ProcedureStepLabel": self.label,
            "WorklistLabel": self.worklist,
            "ScheduledProcedureStepPriority": self.priority,
            "ScheduledProcedureStepStartDateTime": f"{first}-{last}" if first or last else None,
            "PatientID": self.patient_id,
            "SOPInstanceUID": self.sop_instance_uid,
            **_of_code("ScheduledWorkitemCodeSequence", self.workitem),
            **_of_code("ScheduledStationNameCodeSequence", self.station),
            **self.more,
        }
        given = {key: value for key, value in keys.items() if value is not None}
        returned = [key for key, value in keys.items() if value is None]
        return Query.of(None, given, model).returning(*returned, *RETURNED)


def _of_code(sequence: str, code: CodedConcept | str | None) -> dict[str, QueryValue]:
    if code is None:
        return {}
    value, scheme = (code, None) if isinstance(code, str) else code[:2]
    return {
        f"{sequence}.{'CodeValue' if len(value) <= 16 else 'LongCodeValue'}": value,
        f"{sequence}.CodingSchemeDesignator": scheme,
        f"{sequence}.CodeMeaning": None,
    }
