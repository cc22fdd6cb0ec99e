"""pynetdicom with every information model, in a process of its own.

python pynetdicom_models.py ask PORT ROWS TITLE      requests each, on one association, and prints the results as JSON
python pynetdicom_models.py serve PORT ROWS RECEIVER_PORT      answers each until it is terminated
python pynetdicom_models.py strip PORT CLASSES UIDS      retrieves instances without their bulk data; prints their tags

ROWS is JSON: [{"name", "find", "move", "get", "level", "stored"}]; what a model lacks is null. CLASSES and UIDS are
JSON lists.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, _config, build_context, build_role, evt
from pynetdicom.sop_class import CompositeInstanceRetrieveWithoutBulkDataGet  # type: ignore[attr-defined]

_config.UNRESTRICTED_STORAGE_SERVICE = True


def identifier_of(row: dict[str, Any]) -> Dataset:
    """What is asked for."""
    identifier = Dataset()
    identifier.PatientName = ""
    identifier.SOPInstanceUID = "1.2.3.4"
    if row["level"]:
        identifier.QueryRetrieveLevel = row["level"]
    if row["level"] == "STUDY":
        identifier.StudyInstanceUID = "1.2.3.1"
    elif row["level"] == "FRAME":
        identifier.SimpleFrameList = [2, 5]
    return identifier


def stored(row: dict[str, Any]) -> Dataset:
    """An instance of the model."""
    found = Dataset()
    found.SOPClassUID, found.SOPInstanceUID = row["stored"], "1.2.3.4"
    found.PatientName = row["name"]
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return found


def ask(port: int, rows: list[dict[str, Any]], title: str) -> None:
    """One association for all of them."""
    arrived: list[str] = []

    def store(event: Any) -> int:
        arrived.append(str(event.dataset.PatientName))
        return 0x0000

    models = [uid for row in rows for uid in (row["find"], row["move"], row["get"]) if uid]
    classes = sorted({row["stored"] for row in rows})
    ae = AE("PYNETDICOM")
    association: Any = ae.associate(
        "127.0.0.1",
        port,
        [*map(build_context, models), *map(build_context, classes)],
        ext_neg=[build_role(uid, scp_role=True) for uid in classes],
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )
    take = association.dimse.get_msg
    association.dimse.get_msg = lambda block=False: take(block=True) if block else (None, None)
    for row in rows:
        said: dict[str, Any] = {"name": row["name"]}
        if row["find"]:
            answers = list(association.send_c_find(identifier_of(row), row["find"]))
            said["find"] = [str(match.PatientName) for _, match in answers if match is not None]
            said["find_status"] = answers[-1][0].Status
        if row["get"]:
            arrived.clear()
            statuses = [status.Status for status, _ in association.send_c_get(identifier_of(row), row["get"])]
            said["get"], said["get_status"] = list(arrived), statuses[-1]
        if row["move"]:
            *_, (status, _) = association.send_c_move(identifier_of(row), title, row["move"])
            said["move"] = [status.Status, status.NumberOfCompletedSuboperations]
        print(json.dumps(said), flush=True)  # noqa: T201
    association.release()


def strip(port: int, classes: list[str], instances: list[str]) -> None:
    """Composite Instance Retrieve Without Bulk Data: prints the UIDs and tags that came."""

    def store(event: Any) -> int:
        dataset = event.dataset
        waveforms = [[int(each.tag) for each in item] for item in dataset.get("WaveformSequence", ())]
        print(json.dumps([dataset.SOPInstanceUID, [int(tag) for tag in dataset.keys()], waveforms]))  # noqa: SIM118, T201
        return 0x0000

    association: Any = AE("PYNETDICOM").associate(
        "127.0.0.1",
        port,
        [build_context(uid, ExplicitVRLittleEndian) for uid in (CompositeInstanceRetrieveWithoutBulkDataGet, *classes)],
        ext_neg=[build_role(uid, scp_role=True) for uid in classes],
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.SOPInstanceUID = "IMAGE", instances
    *_, (status, _) = association.send_c_get(identifier, CompositeInstanceRetrieveWithoutBulkDataGet)
    print(json.dumps([status.Status, status.NumberOfCompletedSuboperations]))  # noqa: T201
    association.release()


def serve(port: int, rows: list[dict[str, Any]], receiver: int) -> None:
    """Answer each request with one match, or one instance, that names the model."""
    by_class = {uid: row for row in rows for uid in (row["find"], row["move"], row["get"]) if uid}

    def checked(event: Any) -> dict[str, Any]:
        row = by_class[str(event.context.abstract_syntax)]
        level = event.identifier.get("QueryRetrieveLevel")
        assert level == row["level"], (level, row)  # pynetdicom then answers with a failure
        assert level != "FRAME" or event.identifier.SimpleFrameList == [2, 5]
        return row

    def find(event: Any) -> Iterator[tuple[int, Dataset]]:
        match = Dataset()
        match.PatientName = checked(event)["name"]
        yield 0xFF00, match

    def get(event: Any) -> Iterator[Any]:
        yield 1
        yield 0xFF00, stored(checked(event))

    def move(event: Any) -> Iterator[Any]:
        row = checked(event)
        yield "127.0.0.1", receiver, {"contexts": [build_context(row["stored"])]}
        yield 1
        yield 0xFF00, stored(row)

    ae = AE("PYNETDICOM")
    for uid in by_class:
        ae.add_supported_context(uid)
    for uid in {row["stored"] for row in rows}:
        ae.add_supported_context(uid, scu_role=True, scp_role=True)
    handlers: Any = [(evt.EVT_C_FIND, find), (evt.EVT_C_GET, get), (evt.EVT_C_MOVE, move)]
    ae.start_server(("127.0.0.1", port), block=True, evt_handlers=handlers)


if __name__ == "__main__":
    command, port, rows, last = sys.argv[1:]
    if command == "ask":
        ask(int(port), json.loads(rows), last)
    elif command == "strip":
        strip(int(port), json.loads(rows), json.loads(last))
    else:
        serve(int(port), json.loads(rows), int(last))
