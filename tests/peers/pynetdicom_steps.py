"""pynetdicom as a peer for procedure steps and availability notifications, in a process of its own.

python pynetdicom_steps.py serve PORT      keeps steps, and prints each request as JSON until it is terminated
python pynetdicom_steps.py report PORT      performs a step, and prints the status of each of its requests
python pynetdicom_steps.py perform PORT FILE    is a modality that performs a step of one image, which it stores
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.tag import Tag
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    InstanceAvailabilityNotification,
    ModalityPerformedProcedureStep,
    ModalityPerformedProcedureStepRetrieve,
)

CLASSES = (
    ModalityPerformedProcedureStep,
    ModalityPerformedProcedureStepRetrieve,
    InstanceAvailabilityNotification,
)


def serve(port: int) -> None:
    steps: dict[str, Dataset] = {}

    def create(event: Any) -> tuple[int, Dataset | None]:
        uid, dataset = event.request.AffectedSOPInstanceUID, event.attribute_list
        print(json.dumps(["N-CREATE", uid, dataset.to_json_dict()]), flush=True)  # noqa: T201
        if uid in steps:
            return 0x0111, None
        steps[uid] = dataset
        return 0x0000, dataset

    def change(event: Any) -> tuple[int, Dataset | None]:
        uid, dataset = event.request.RequestedSOPInstanceUID, event.attribute_list
        print(json.dumps(["N-SET", uid, dataset.to_json_dict()]), flush=True)  # noqa: T201
        if uid not in steps:
            return 0x0112, None
        steps[uid].update(dataset)
        return 0x0000, dataset

    ae = AE("PYNETDICOM")
    for sop_class in CLASSES:
        ae.add_supported_context(sop_class)
    ae.add_supported_context("1.2.840.10008.1.1")
    handlers: list[Any] = [(evt.EVT_N_CREATE, create), (evt.EVT_N_SET, change)]
    ae.start_server(("127.0.0.1", port), block=True, evt_handlers=handlers)


def begun() -> Dataset:
    scheduled, step = Dataset(), Dataset()
    scheduled.StudyInstanceUID = generate_uid()
    step.ScheduledStepAttributesSequence = [scheduled]
    step.PatientName, step.PatientID, step.SpecificCharacterSet = "Müller^Ada", "4711", "ISO_IR 100"
    step.PerformedProcedureStepID, step.PerformedStationAETitle, step.Modality = "P1", "CT1", "CT"
    step.PerformedProcedureStepStartDate, step.PerformedProcedureStepStartTime = "20240229", "120000"
    step.PerformedProcedureStepStatus = "IN PROGRESS"
    return step


def ended() -> Dataset:
    series, step = Dataset(), Dataset()
    series.SeriesInstanceUID, series.ProtocolName = generate_uid(), "Head"
    step.PerformedSeriesSequence = [series]
    step.PerformedProcedureStepEndDate, step.PerformedProcedureStepEndTime = "20240229", "121500"
    step.PerformedProcedureStepStatus = "COMPLETED"
    return step


def report(port: int) -> None:
    """Create a step twice, end it twice, ask for it; end another one that there is not; notify."""
    ae, uid = AE("PYNETDICOM"), generate_uid()
    for sop_class in CLASSES:
        ae.add_requested_context(sop_class)
    association = ae.associate("127.0.0.1", port, ae_title="RIS")
    assert association.is_established
    mpps, retrieve = CLASSES[:2]
    incomplete = begun()
    del incomplete.Modality
    answers = [
        association.send_n_create(incomplete, mpps, uid),
        association.send_n_create(begun(), mpps, uid),
        association.send_n_create(begun(), mpps, uid),
        association.send_n_set(ended(), mpps, uid),
        association.send_n_set(ended(), mpps, uid),
        association.send_n_set(ended(), mpps, "1.2.3"),
        association.send_n_get([Tag(0x00400252), Tag(0x00100010)], retrieve, uid),
        association.send_n_create(begun(), InstanceAvailabilityNotification, generate_uid()),
    ]
    for status, dataset in answers:
        about = [status.get("ErrorID"), str(status.get("OffendingElement", "")), str(status.get("ErrorComment", ""))]
        print(json.dumps([status.Status, *about, dataset.to_json_dict() if dataset else None]))  # noqa: T201
    association.release()


def perform(port: int, path: str) -> None:
    """Begin a step, store its image, and complete it."""
    image = dcmread(path)
    ae, mpps, uid = AE("PYNETDICOM"), CLASSES[0], generate_uid()
    ae.add_requested_context(mpps)
    ae.add_requested_context(image.SOPClassUID, image.file_meta.TransferSyntaxUID)
    association: Any = ae.associate("127.0.0.1", port, ae_title="ARCHIVE")
    assert association.is_established
    step, end, reference = begun(), ended(), Dataset()
    step.ScheduledStepAttributesSequence[0].StudyInstanceUID = image.StudyInstanceUID
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    end.PerformedSeriesSequence[0].ReferencedImageSequence = [reference]
    answers = [
        association.send_n_create(step, mpps, uid)[0],
        association.send_c_store(image),
        association.send_n_set(end, mpps, uid)[0],
    ]
    print(*(answer.Status for answer in answers))  # noqa: T201
    association.release()


if __name__ == "__main__":
    modes: dict[str, Any] = {"serve": serve, "report": report, "perform": perform}
    modes[sys.argv[1]](int(sys.argv[2]), *sys.argv[3:])
