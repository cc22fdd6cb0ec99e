"""pynetdicom as a peer of storage commitment, in a process of its own.

python pynetdicom_commitment.py provide PORT same|new REPORT_PORT UID...      committed to these instances
python pynetdicom_commitment.py ask PORT same|new LISTEN_PORT CLASS UID...      prints the report as JSON: event type,
whether its transaction is the one, what is committed, and what is not
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from typing import Any

from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

INSTANCE = "1.2.840.10008.1.20.1.1"


def provide(port: int, where: str, report_port: int, safe: set[str]) -> None:
    """Report on the association of the request, or on a new one."""

    def act(event: Any) -> tuple[int, None]:
        threading.Thread(target=deliver, args=(event.assoc, event.action_information)).start()
        return 0x0000, None

    def deliver(association: Any, asked: Dataset) -> None:
        report = Dataset()
        report.TransactionUID = asked.TransactionUID
        items = list(asked.ReferencedSOPSequence)
        report.ReferencedSOPSequence = [item for item in items if item.ReferencedSOPInstanceUID in safe]
        report.FailedSOPSequence = [item for item in items if item.ReferencedSOPInstanceUID not in safe]
        for item in report.FailedSOPSequence:
            item.FailureReason = 0x0112
        event = 2 if report.FailedSOPSequence else 1
        if where == "new":
            ae = AE("PYNETDICOM")
            ae.add_requested_context(StorageCommitmentPushModel)
            role = build_role(StorageCommitmentPushModel, scp_role=True)
            association = ae.associate("127.0.0.1", report_port, ae_title="WS1", ext_neg=[role])
        association.send_n_event_report(report, event, StorageCommitmentPushModel, INSTANCE)
        if where == "new":
            association.release()

    ae = AE("PYNETDICOM")
    ae.add_supported_context(StorageCommitmentPushModel)
    ae.start_server(("127.0.0.1", port), block=True, evt_handlers=[(evt.EVT_N_ACTION, act)])


def ask(port: int, where: str, listen_port: int, sop_class: str, instances: list[str]) -> None:
    """Ask, and wait for the report on that association, or release at once and wait for a new one."""
    reports: queue.Queue[tuple[int, Dataset]] = queue.Queue()
    reported, answered = threading.Event(), threading.Event()

    def report(event: Any) -> tuple[int, None]:
        if where == "new" or event.assoc is association:
            reports.put((event.event_type, event.event_information))
            reported.set()
        return 0x0000, None

    def sent(event: Any) -> None:
        if reported.is_set() and isinstance(event.pdu, P_DATA_TF):
            answered.set()

    handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, report), (evt.EVT_PDU_SENT, sent)]
    ae = AE("WS1")
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    ae.add_requested_context(StorageCommitmentPushModel)
    server: Any = ae.start_server(("127.0.0.1", listen_port), block=False, evt_handlers=handlers)
    asked = Dataset()
    asked.TransactionUID = generate_uid()
    asked.ReferencedSOPSequence = []
    for uid in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        asked.ReferencedSOPSequence.append(item)
    association = ae.associate("127.0.0.1", port, ae_title="DIMSE", evt_handlers=handlers)
    status, _ = association.send_n_action(asked, 1, StorageCommitmentPushModel, INSTANCE)
    if status.Status != 0x0000:
        raise SystemExit(f"N-ACTION: 0x{status.Status:04X}")
    if where == "new":
        association.release()
    event, information = reports.get(timeout=30)
    if not answered.wait(timeout=30):  # pynetdicom cannot answer after it has asked for the release
        raise SystemExit("the report was not answered")
    if where == "same":
        association.release()
    failed = {item.ReferencedSOPInstanceUID: item.FailureReason for item in information.get("FailedSOPSequence", [])}
    committed = [item.ReferencedSOPInstanceUID for item in information.get("ReferencedSOPSequence", [])]
    print(json.dumps([event, information.TransactionUID == asked.TransactionUID, committed, failed]))  # noqa: T201
    server.shutdown()


if __name__ == "__main__":
    command, port, *rest = sys.argv[1:]
    if command == "provide":
        provide(int(port), rest[0], int(rest[1]), set(rest[2:]))
    else:
        ask(int(port), rest[0], int(rest[1]), rest[2], rest[3:])
