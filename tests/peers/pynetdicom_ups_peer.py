"""pynetdicom as a worklist manager and as a performer of Unified Procedure Steps, in a process of its own.

python pynetdicom_ups_peer.py manage PORT      keeps steps by the state table, and reports events
python pynetdicom_ups_peer.py perform PORT LABEL      creates a step, performs it, and prints each status as JSON
python pynetdicom_ups_peer.py watch PORT LISTEN TITLE COUNT      subscribes to all, and prints so many events as JSON
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from pydicom import Dataset
from pydicom.tag import Tag
from pydicom.uid import generate_uid
from pynetdicom import AE, evt

PUSH, WATCH, PULL, EVENT, QUERY = (f"1.2.840.10008.5.1.4.34.6.{number}" for number in range(1, 6))
EVERYTHING = "1.2.840.10008.5.1.4.34.5"


class Manager:
    """The steps, by the state table; final states need a performed procedure, or nothing."""

    def __init__(self) -> None:
        self.steps: dict[str, Dataset] = {}
        self.locks: dict[str, str] = {}
        self.subscribers: set[Any] = set()

    def create(self, event: Any) -> tuple[int, Dataset | None]:
        uid, step = event.request.AffectedSOPInstanceUID, event.attribute_list
        if uid in self.steps:
            return 0x0111, None
        if step.ProcedureStepState != "SCHEDULED":
            return 0xC309, None
        step.SOPClassUID, step.SOPInstanceUID = PUSH, uid
        self.steps[uid] = step
        self.report(uid, 1)
        return 0x0000, None

    def find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        wanted = event.identifier
        for step in self.steps.values():
            if all(not wanted.get(key) or wanted.get(key) == step.get(key) for key in ("ProcedureStepState",)):
                match = Dataset()
                for element in wanted:
                    match[element.tag] = step.get(element.tag, element)
                yield 0xFF00, match

    def get(self, event: Any) -> tuple[int, Dataset | None]:
        step = self.steps.get(event.request.RequestedSOPInstanceUID)
        return (0xC307, None) if step is None else (0x0000, step)

    def set(self, event: Any) -> tuple[int, Dataset | None]:
        uid, changes = event.request.RequestedSOPInstanceUID, event.modification_list
        if changes.get("TransactionUID") != self.locks.get(uid):
            return 0xC301, None
        changes.pop("TransactionUID", None)
        self.steps[uid].update(changes)
        if "ProcedureStepProgressInformationSequence" in changes:
            self.report(uid, 3)
        return 0x0000, None

    def act(self, event: Any) -> tuple[int, Dataset | None]:
        uid, given = event.request.RequestedSOPInstanceUID, event.action_information
        if event.action_type == 3:
            self.subscribers.add(event.assoc)
            return 0x0000, None
        step = self.steps.get(uid)
        if step is None:
            return 0xC307, None
        if event.action_type == 2:
            self.report(uid, 2, given)
            return 0x0000, None
        return self.change(uid, step, given), None

    def change(self, uid: str, step: Dataset, given: Dataset) -> int:
        state = step.ProcedureStepState
        if state in ("COMPLETED", "CANCELED"):
            return 0xC300
        if given.ProcedureStepState == "IN PROGRESS":
            if state == "IN PROGRESS":
                return 0xC302 if self.locks[uid] == given.TransactionUID else 0xC301
            self.locks[uid] = given.TransactionUID
        elif self.locks.get(uid) != given.TransactionUID:
            return 0xC301
        elif given.ProcedureStepState == "COMPLETED" and not step.UnifiedProcedureStepPerformedProcedureSequence:
            return 0xC304
        step.ProcedureStepState = given.ProcedureStepState
        self.report(uid, 1)
        return 0x0000

    def report(self, uid: str, kind: int, more: Dataset | None = None) -> None:
        """Report an event to each subscriber on its association, in a thread: this one serves a request."""
        told, step = Dataset(), self.steps[uid]
        for keyword in {1: ("ProcedureStepState", "InputReadinessState"), 2: ()}.get(
            kind, ("ProcedureStepProgressInformationSequence",)
        ):
            told[keyword] = step[keyword]
        told.update(more or Dataset())
        for assoc in self.subscribers:
            arguments = (told, kind, PUSH, uid)
            threading.Thread(
                target=assoc.send_n_event_report, args=arguments, kwargs={"meta_uid": EVENT}, daemon=True
            ).start()


def manage(port: int) -> None:
    manager, ae = Manager(), AE("PYNETDICOM")
    for uid in ("1.2.840.10008.1.1", PUSH, WATCH, PULL, EVENT, QUERY):
        ae.add_supported_context(uid)
    handlers: list[Any] = [
        (evt.EVT_N_CREATE, manager.create),
        (evt.EVT_C_FIND, manager.find),
        (evt.EVT_N_GET, manager.get),
        (evt.EVT_N_SET, manager.set),
        (evt.EVT_N_ACTION, manager.act),
    ]
    ae.start_server(("127.0.0.1", port), block=True, evt_handlers=handlers)


def say(what: str, status: Any, **more: Any) -> None:
    sys.stdout.write(json.dumps({"what": what, "status": int(status.Status) if status else None, **more}) + "\n")
    sys.stdout.flush()


def step_to_create(label: str) -> Dataset:
    step = Dataset()
    step.ProcedureStepLabel, step.ProcedureStepState = label, "SCHEDULED"
    step.ScheduledProcedureStepPriority, step.InputReadinessState = "HIGH", "READY"
    step.ScheduledProcedureStepStartDateTime = "20240131120000"
    step.PatientName, step.PatientID = "Doe^Jane", "4711"
    return step


def perform(port: int, label: str) -> None:
    ae = AE("PYNETDICOM")
    for uid in (PUSH, WATCH, PULL, QUERY):
        ae.add_requested_context(uid)
    assoc = ae.associate("127.0.0.1", port)
    uid, transaction = generate_uid(), generate_uid()
    status, _ = assoc.send_n_create(step_to_create(label), PUSH, uid)
    say("create", status)
    wanted = Dataset()
    wanted.ProcedureStepState, wanted.ProcedureStepLabel = "SCHEDULED", label
    wanted.SOPInstanceUID = wanted.SOPClassUID = wanted.PatientID = wanted.TransactionUID = ""
    for model in (PULL, WATCH, QUERY):
        for found, match in assoc.send_c_find(wanted, model):
            if match is not None:
                same = match.SOPInstanceUID == uid and match.SOPClassUID == PUSH
                say("match", found, same=same, lock=match.TransactionUID or None)
    for name, state, lock in (
        ("claim", "IN PROGRESS", transaction),
        ("claimed by another", "IN PROGRESS", generate_uid()),
        ("claimed again", "IN PROGRESS", transaction),
        ("too early", "COMPLETED", transaction),
    ):
        say(name, change(assoc, uid, state, lock))
    performed, item = Dataset(), Dataset()
    for keyword in ("PerformedStationNameCodeSequence", "PerformedWorkitemCodeSequence"):
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "L", "something"
        setattr(item, keyword, [code])
    item.PerformedProcedureStepStartDateTime = item.PerformedProcedureStepEndDateTime = "20240131120000"
    item.OutputInformationSequence = []
    performed.UnifiedProcedureStepPerformedProcedureSequence = [item]
    say("set without the lock", assoc.send_n_set(performed, PUSH, uid, meta_uid=PULL)[0])
    performed.TransactionUID = transaction
    say("set", assoc.send_n_set(performed, PUSH, uid, meta_uid=PULL)[0])
    say("complete", change(assoc, uid, "COMPLETED", transaction))
    say("completed again", change(assoc, uid, "COMPLETED", transaction))
    status, step = assoc.send_n_get([Tag(0x00741000), Tag(0x00081195)], PUSH, uid, meta_uid=WATCH)
    assert step is not None
    say("get", status, state=step.ProcedureStepState, disclosed="TransactionUID" in step)
    assoc.release()


def change(assoc: Any, uid: str, state: str, transaction: str) -> Any:
    information = Dataset()
    information.ProcedureStepState, information.TransactionUID = state, transaction
    return assoc.send_n_action(information, 1, PUSH, uid, meta_uid=PULL)[0]


def watch(port: int, listen: int, title: str, count: int) -> None:
    enough = threading.Semaphore(0)

    def reported(event: Any) -> tuple[int, None]:
        told = event.event_information
        say("event", None, kind=event.event_type, state=told.get("ProcedureStepState"))
        enough.release()
        return 0x0000, None

    ae = AE(title)
    ae.add_supported_context(EVENT)
    server: Any = ae.start_server(("127.0.0.1", listen), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, reported)])
    ae.add_requested_context(WATCH)
    assoc = ae.associate("127.0.0.1", port)
    information = Dataset()
    information.ReceivingAE, information.DeletionLock = title, "FALSE"
    say("subscribe", assoc.send_n_action(information, 3, PUSH, EVERYTHING, meta_uid=WATCH)[0])
    assoc.release()
    for _ in range(count):
        enough.acquire()
    server.shutdown()


_COMMANDS: dict[str, Callable[..., None]] = {"manage": manage, "perform": perform, "watch": watch}

if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    _COMMANDS[name](*(int(each) if each.isdigit() else each for each in arguments))
