"""Queries of a Modality Worklist (PS3.4 Annex K)."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from dimse.dataset.pydicom_names import Dataset
from dimse.services.query import Query, in_dicom
from dimse.services.query_keys import QueryValue, path_of, tag_of
from dimse.services.query_models import QueryRetrieveModel

STEP: Final = "ScheduledProcedureStepSequence"
"""The keyword of the sequence whose only item has the keys of the scheduled procedure step."""

_CODE: Final = ("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning")
_REFERENCE: Final = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")

_OF_STEP: Final = (
    "Modality",
    "RequestedContrastAgent",
    "ScheduledStationAETitle",
    "ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepStartTime",
    "ScheduledPerformingPhysicianName",
    "ScheduledProcedureStepDescription",
    *(f"ScheduledProtocolCodeSequence.{keyword}" for keyword in _CODE),
    "ScheduledProcedureStepID",
    "ScheduledStationName",
    "ScheduledProcedureStepLocation",
    "PreMedication",
    "ScheduledProcedureStepStatus",
)
_OTHERS: Final = (
    "AccessionNumber",
    "ReferringPhysicianName",
    *(f"ReferencedStudySequence.{keyword}" for keyword in _REFERENCE),
    *(f"ReferencedPatientSequence.{keyword}" for keyword in _REFERENCE),
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientSize",
    "PatientWeight",
    "MedicalAlerts",
    "Allergies",
    "PregnancyStatus",
    "StudyInstanceUID",
    "RequestingPhysician",
    "RequestedProcedureDescription",
    *(f"RequestedProcedureCodeSequence.{keyword}" for keyword in _CODE),
    "AdmissionID",
    "SpecialNeeds",
    "CurrentPatientLocation",
    "PatientState",
    "RequestedProcedureID",
    "ReasonForTheRequestedProcedure",
    "RequestedProcedurePriority",
    "PatientTransportArrangements",
    "ConfidentialityConstraintOnPatientDataDescription",
)
"""The return keys of Table K.6-1, and those that IHE asks of a modality beside them (RAD TF-2, 4.5)."""

_MORE_OF_STEP: Final = (
    "AnatomicalOrientationType",
    "CommentsOnTheScheduledProcedureStep",
    "ScheduledProcedureStepEndDate",
    "ScheduledProcedureStepEndTime",
)
_KEYS_OF_STEP: Final = frozenset(tag_of(keyword.partition(".")[0]) for keyword in (*_OF_STEP, *_MORE_OF_STEP))
"""The keys that belong into the sequence."""

_OF_FIELDS: Final = {
    "station_ae_title": "ScheduledStationAETitle",
    "station_name": "ScheduledStationName",
    "date": "ScheduledProcedureStepStartDate",
    "time": "ScheduledProcedureStepStartTime",
    "modality": "Modality",
    "performing_physician": "ScheduledPerformingPhysicianName",
    "patient_name": "PatientName",
    "patient_id": "PatientID",
    "accession_number": "AccessionNumber",
    "requested_procedure_id": "RequestedProcedureID",
}


def worklist_key(key: str) -> str:
    """The path of a key. A key of the scheduled procedure step gets the sequence that it belongs into.

    >>> worklist_key("Modality")
    'ScheduledProcedureStepSequence.Modality'
    """
    return f"{STEP}.{key}" if path_of(key)[0] in _KEYS_OF_STEP else key


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Worklist:
    """A query of a Modality Worklist: which scheduled procedure steps to find (PS3.4 K.6.1).

    What is not given matches everything. The query asks for the attributes that a modality needs: those of Table K.6-1,
    and those that IHE adds. `*` and `?` are wild cards in texts and codes. Raises `ValueError` for a value that its key
    cannot have (PS3.4 C.2.2.2).

    Pass it to `dimse.find` or `CFindSCU.find`. A match is one scheduled procedure step:

    >>> async def main():
    ...     async for match in find("RIS@localhost:11112", Worklist(station_ae_title="CT1", date="today")):
    ...         [step] = match.ScheduledProcedureStepSequence
    ...         print(step.ScheduledProcedureStepStartTime, match.PatientID)

    :param station_ae_title: The AE title of the modality for which the step is scheduled.
    :param station_name: The name of that modality.
    :param date: The day on which the step is scheduled to start, or a range of two days. In words, as `Query.parse` has
        them, it is reckoned from the day on which the query is sent.
    :param time: The time of day at which the step is scheduled to start, or a range of two.
    :param modality: The modality that is to be used, such as CT.
    :param performing_physician: The physician who is scheduled to perform the step.
    :param patient_name: Family name, given name and so on, separated by `^`.
    :param patient_id: The ID of the patient.
    :param accession_number: The number of the order.
    :param requested_procedure_id: The ID of the requested procedure.
    :param keys: Further keys: keywords, tags, or paths of those. A key of the scheduled procedure step may be given
        without its sequence. None is a key to return.
    """

    station_ae_title: str | None = None
    station_name: str | None = None
    date: str | datetime.date | tuple[str | datetime.date | None, str | datetime.date | None] | None = None
    time: str | datetime.time | tuple[str | datetime.time | None, str | datetime.time | None] | None = None
    modality: str | None = None
    performing_physician: str | None = None
    patient_name: str | None = None
    patient_id: str | None = None
    accession_number: str | None = None
    requested_procedure_id: str | None = None
    keys: Mapping[str, QueryValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.query()

    def query(self) -> Query:
        """The same as a `Query`.

        >>> Worklist(modality="CT").query().find_identifier().ScheduledProcedureStepSequence[0].Modality
        'CT'
        """
        keys: dict[str, QueryValue] = dict.fromkeys((*_OTHERS, *map(worklist_key, _OF_STEP)))
        given = {key: value for name, key in _OF_FIELDS.items() if (value := getattr(self, name)) is not None}
        for key, value in _flat({**given, **self.keys}):
            path = worklist_key(key)
            keys.pop(path, None)  # the last one counts
            keys[path] = in_dicom(path, value) if isinstance(value, str) else value
        return Query.of(None, keys, QueryRetrieveModel.MODALITY_WORKLIST)

    def find_identifier(self) -> Dataset:
        """The identifier of a C-FIND request (PS3.4 K.4.1.1.3)."""
        return self.query().find_identifier()

    def __repr__(self) -> str:
        given = [name for name in _OF_FIELDS if getattr(self, name) is not None]
        keys = ", ".join([*(f"{name}=..." for name in given), *self.keys])
        return f"<Worklist{': ' if keys else ''}{keys}>"


def query_of(given: Query | Worklist) -> Query:
    """A query as a `Query`."""
    return given.query() if isinstance(given, Worklist) else given


def _flat(keys: Mapping[str, QueryValue], above: str = "") -> Iterator[tuple[str, QueryValue]]:
    """The keys, those in sequences by their paths."""
    for key, value in keys.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
