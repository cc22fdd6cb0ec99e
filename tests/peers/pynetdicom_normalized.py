"""pynetdicom with every N-service, in a process of its own.

python pynetdicom_normalized.py ask PORT ROWS      requests each on one association, and prints [class, request, status]
python pynetdicom_normalized.py serve PORT ROWS      answers each until it is terminated; reports N-ACTIONs of type 2
python pynetdicom_normalized.py hear PORT ROWS      requests an N-ACTION of type 2 of each class, and prints the report

ROWS is JSON: {SOP Class UID: [names of the requests]}.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.pdu import P_DATA_TF

INSTANCE = "1.2.3.4"


def named(name: str) -> Dataset:
    """A data set that says what was asked."""
    dataset = Dataset()
    dataset.PatientID = name
    return dataset


def ask(port: int, rows: dict[str, list[str]]) -> None:
    """One association for all of them."""
    association: Any = AE("PYNETDICOM").associate("127.0.0.1", port, list(map(build_context, rows)))
    take = association.dimse.get_msg  # else the reactor may take a response for a request, and abort
    association.dimse.get_msg = lambda block=False: take(block=True) if block else (None, None)
    for uid, requests in rows.items():
        calls: dict[str, Any] = {
            "N-CREATE": lambda uid=uid: association.send_n_create(named("N-CREATE"), uid, INSTANCE),
            "N-SET": lambda uid=uid: association.send_n_set(named("N-SET"), uid, INSTANCE),
            "N-GET": lambda uid=uid: association.send_n_get([0x00100020], uid, INSTANCE),
            "N-ACTION": lambda uid=uid: association.send_n_action(named("N-ACTION"), 1, uid, INSTANCE),
            "N-DELETE": lambda uid=uid: (association.send_n_delete(uid, INSTANCE), None),
        }
        for name in requests:
            status, dataset = calls[name]()
            said = None if dataset is None else dataset.get("PatientID")
            print(json.dumps([uid, name, status.get("Status"), said]), flush=True)  # noqa: T201
    association.release()


def hear(port: int, rows: dict[str, list[str]]) -> None:
    """An association for each, on which its report comes."""
    heard, answered = threading.Event(), threading.Semaphore(0)

    def report(event: Any) -> tuple[int, None]:
        said = [event.request.AffectedSOPClassUID, event.event_type, event.event_information.PatientID]
        print(json.dumps(said), flush=True)  # noqa: T201
        heard.set()
        return 0x0000, None

    def sent(event: Any) -> None:
        if heard.is_set() and isinstance(event.pdu, P_DATA_TF):
            heard.clear()
            answered.release()

    for uid in rows:
        association: Any = AE("PYNETDICOM").associate(
            "127.0.0.1",
            port,
            [build_context(uid)],
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, report), (evt.EVT_PDU_SENT, sent)],
        )
        take = association.dimse.get_msg
        association.dimse.get_msg = lambda block=False, take=take: take(block=True) if block else (None, None)
        association.send_n_action(named("N-ACTION"), 2, uid, INSTANCE)
        association.dimse.get_msg = take
        assert answered.acquire(timeout=30)
        association.release()


def act(event: Any) -> tuple[int, Dataset]:
    """Answer, and report what came of it in a thread: this one serves the request."""
    if event.action_type == 2:
        arguments = named("DONE"), 2, event.request.RequestedSOPClassUID, INSTANCE
        threading.Thread(target=event.assoc.send_n_event_report, args=arguments, daemon=True).start()
    return 0x0000, event.action_information


def serve(port: int, rows: dict[str, list[str]]) -> None:
    """Answer each with Success, and with what was asked."""
    ae = AE("PYNETDICOM")
    for uid in rows:
        ae.add_supported_context(uid)
    handlers: Any = [
        (evt.EVT_N_CREATE, lambda event: (0x0000, event.attribute_list)),
        (evt.EVT_N_SET, lambda event: (0x0000, event.modification_list)),
        (evt.EVT_N_GET, lambda _: (0x0000, named("N-GET"))),
        (evt.EVT_N_ACTION, act),
        (evt.EVT_N_DELETE, lambda _: 0x0000),
    ]
    ae.start_server(("127.0.0.1", port), block=True, evt_handlers=handlers)


if __name__ == "__main__":
    {"ask": ask, "hear": hear, "serve": serve}[sys.argv[1]](int(sys.argv[2]), json.loads(sys.argv[3]))
