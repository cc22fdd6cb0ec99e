"""Instance Availability Notification as SCU: tells which instances of a study can be retrieved (PS3.4 Annex R)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from dimse import uids
from dimse.address import Address
from dimse.dataset.codec import text_of
from dimse.dataset.pydicom_names import Dataset
from dimse.network.application_entity import ApplicationEntity, entity_of
from dimse.options import ClientOptions
from dimse.services.normalized_scu import NormalizedResult, NormalizedSCU
from dimse.services.procedure_step import set_values
from dimse.services.query_keys import tag_of


class InstanceAvailability(StrEnum):
    """Instance Availability (0008,0056): how soon an instance can be retrieved (PS3.3 C.4.23.1.1)."""

    ONLINE = "ONLINE"
    NEARLINE = "NEARLINE"
    OFFLINE = "OFFLINE"
    UNAVAILABLE = "UNAVAILABLE"


def availability_notification(
    instances: Iterable[Dataset],
    retrieve_ae_title: str,
    *,
    availability: InstanceAvailability = InstanceAvailability.ONLINE,
    procedure_step_uid: str | None = None,
) -> Dataset:
    """The data set that notifies of the availability of `instances` of one study at an AE (PS3.4 Table R.3.2-1).

    An instance is a data set that has the UIDs of its study, series, SOP class and instance. `procedure_step_uid` is
    the SOP Instance UID of the Modality Performed Procedure Step that made them.

    Raises `ValueError` if there are none, if one lacks a UID, or if they are of several studies.

    >>> instance = Dataset()
    >>> instance.StudyInstanceUID, instance.SeriesInstanceUID, instance.SOPInstanceUID = "1.2", "1.2.1", "1.2.1.1"
    >>> instance.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    >>> notification = availability_notification([instance], "ARCHIVE")
    >>> notification.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].RetrieveAETitle
    'ARCHIVE'
    """
    series: dict[str, list[Dataset]] = {}
    studies = set()
    for instance in instances:
        study, of_series, sop_class, uid = (
            text_of(instance, tag_of(keyword))
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
        )
        if not (study and of_series and sop_class and uid):
            raise ValueError("an instance must have Study, Series and SOP Instance UID, and SOP Class UID")
        studies.add(study)
        values = {"RetrieveAETitle": retrieve_ae_title, "InstanceAvailability": availability.value}
        series.setdefault(of_series, []).append(_reference(sop_class, uid, values))
    if len(studies) != 1:
        raise ValueError(f"a notification is about the instances of one study, not of {len(studies)}")
    steps = [] if procedure_step_uid is None else [_step(procedure_step_uid)]
    return _made(
        ReferencedPerformedProcedureStepSequence=steps,
        StudyInstanceUID=studies.pop(),
        ReferencedSeriesSequence=[
            _made(SeriesInstanceUID=uid, ReferencedSOPSequence=references) for uid, references in series.items()
        ],
    )


async def notify_availability(
    address: str | Address | ApplicationEntity,
    notification: Dataset,
    *,
    calling_ae_title: str | None = None,
    options: ClientOptions | None = None,
    timeout: float | None = None,
) -> NormalizedResult:
    """Send a notification, which `availability_notification` makes, to the application entity at `address`.

    `timeout` is short for `ClientOptions(timeouts=Timeouts.all(timeout))`, in seconds.

    Raises `StatusError` for a failure status, `PresentationContextError` and `AssociationError`.

    >>> async def main(instances):
    ...     await notify_availability("RIS@localhost:11112", availability_notification(instances, "ARCHIVE"))
    """
    entity = entity_of(address, options, calling_ae_title, timeout)
    async with entity.connect([(uids.INSTANCE_AVAILABILITY, uids.LITTLE_ENDIAN)]) as association:
        return await NormalizedSCU(association).create(
            uids.INSTANCE_AVAILABILITY, notification, sop_instance_uid=uids.new_uid()
        )


def _step(sop_instance_uid: str) -> Dataset:
    return _reference(uids.PERFORMED_PROCEDURE_STEP, sop_instance_uid, {"PerformedWorkitemCodeSequence": []})


def _reference(sop_class_uid: str, sop_instance_uid: str, values: Mapping[str, object]) -> Dataset:
    return _made(ReferencedSOPClassUID=sop_class_uid, ReferencedSOPInstanceUID=sop_instance_uid, **values)


def _made(**values: object) -> Dataset:
    dataset = Dataset()
    set_values(dataset, values)
    return dataset
