"""pynetdicom with every N-service, in a process of its own.

python pynetdicom_normalized.py ask PORT ROWS      requests each on one association, and prints [class, request, status]
python pynetdicom_normalized.py serve PORT ROWS      answers each until it is terminated

ROWS is JSON: {SOP Class UID: [names of the requests]}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, build_context, evt

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


def serve(port: int, rows: dict[str, list[str]]) -> None:
    """Answer each with Success, and with what was asked."""
    ae = AE("PYNETDICOM")
    for uid in rows:
        ae.add_supported_context(uid)
    handlers: Any = [
        (evt.EVT_N_CREATE, lambda event: (0x0000, event.attribute_list)),
        (evt.EVT_N_SET, lambda event: (0x0000, event.modification_list)),
        (evt.EVT_N_GET, lambda _: (0x0000, named("N-GET"))),
        (evt.EVT_N_ACTION, lambda event: (0x0000, event.action_information)),
        (evt.EVT_N_DELETE, lambda _: 0x0000),
    ]
    ae.start_server(("127.0.0.1", port), block=True, evt_handlers=handlers)


if __name__ == "__main__":
    {"ask": ask, "serve": serve}[sys.argv[1]](int(sys.argv[2]), json.loads(sys.argv[3]))
