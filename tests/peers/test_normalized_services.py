"""DIMSE-N services without a page of their own, against pynetdicom in both roles."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from pydicom import Dataset

import dimse
from dimse import NormalizedReply, NormalizedRequest, NormalizedResult, NormalizedSCU, Server, Status
from tests.ports import free_port

from .processes import Peer, need_pynetdicom, run

SCRIPT = Path(__file__).parent / "pynetdicom_normalized.py"
INSTANCE = "1.2.3.4"
ROWS = {
    "1.2.840.10008.5.1.1.33": ["N-CREATE", "N-ACTION", "N-GET"],  # Media Creation Management
    "1.2.840.10008.5.1.1.40": ["N-GET"],  # Display System
    "1.2.840.10008.1.40": ["N-ACTION"],  # Procedural Event Logging
    "1.2.840.10008.1.42": ["N-ACTION"],  # Substance Administration Logging
    "1.2.840.10008.5.1.4.34.8": ["N-CREATE", "N-SET", "N-GET", "N-ACTION", "N-DELETE"],  # RT Conventional Machine
    "1.2.840.10008.5.1.4.34.9": ["N-CREATE", "N-SET", "N-GET", "N-ACTION", "N-DELETE"],  # RT Ion Machine
}
"""SOP Class UID -> the requests of its SCU (PS3.4 Annexes S, EE, P, AA, DD)."""
REPORTED = {uid: ROWS[uid] for uid in ("1.2.840.10008.5.1.4.34.8", "1.2.840.10008.5.1.4.34.9")}
"""Those whose SCP reports events; of the verification of a machine, type 2 is "done" (PS3.4 Annex DD)."""
ASKED = [(uid, name) for uid, names in ROWS.items() for name in names]


def named(name: str) -> Dataset:
    dataset = Dataset()
    dataset.PatientID = name
    return dataset


async def test_pynetdicom_asks_us() -> None:
    server = Server(port=0)
    asked: list[tuple[str, str]] = []

    async def answer(request: NormalizedRequest) -> NormalizedReply:
        name = request.command.name.removesuffix("-RQ")
        asked.append((request.sop_class_uid, name))
        assert request.sop_instance_uid == INSTANCE
        assert request.attributes == ((0x00100020,) if name == "N-GET" else ())
        assert name in ("N-GET", "N-DELETE") or request.dataset.PatientID == name
        return NormalizedReply(None if name == "N-DELETE" else named(name))

    for register in (server.on_n_create, server.on_n_set, server.on_n_get, server.on_n_action, server.on_n_delete):
        register(*ROWS)(answer)
    async with server:
        code, output = await run(need_pynetdicom(), str(SCRIPT), "ask", str(server.port), json.dumps(ROWS))
    assert code == 0, output
    answers = [json.loads(line) for line in output.splitlines()]
    assert asked == ASKED
    assert answers == [[uid, name, 0, None if name == "N-DELETE" else name] for uid, name in ASKED]


async def test_we_ask_pynetdicom(tmp_path: Path) -> None:
    port = free_port()
    command = [need_pynetdicom(), str(SCRIPT), "serve", str(port), json.dumps(ROWS)]
    with Peer(command, port, tmp_path / "peer", title="PYNETDICOM") as peer:
        contexts = [(uid, dimse.uids.LITTLE_ENDIAN) for uid in ROWS]
        async with dimse.connect(peer.address, contexts=contexts) as association:
            scu, said = NormalizedSCU(association), []
            for uid, name in ASKED:
                calls = {
                    "N-CREATE": lambda uid=uid: scu.create(uid, named("N-CREATE"), sop_instance_uid=INSTANCE),
                    "N-SET": lambda uid=uid: scu.set(uid, INSTANCE, named("N-SET")),
                    "N-GET": lambda uid=uid: scu.get(uid, INSTANCE, ["PatientID"]),
                    "N-ACTION": lambda uid=uid: scu.action(uid, INSTANCE, 1, named("N-ACTION")),
                    "N-DELETE": lambda uid=uid: scu.delete(uid, INSTANCE),
                }
                result = await calls[name]()
                said.append((uid, None if result.dataset is None else result.dataset.get("PatientID")))
    assert said == [(uid, None if name == "N-DELETE" else name) for uid, name in ASKED]


async def test_we_report_to_pynetdicom() -> None:
    server, reports = Server(port=0), list[asyncio.Task[NormalizedResult]]()

    @server.on_n_action(*REPORTED)
    async def act(request: NormalizedRequest) -> int:
        report = NormalizedSCU(request.association).event_report(request.sop_class_uid, INSTANCE, 2, named("DONE"))
        reports.append(asyncio.create_task(report))
        return Status.SUCCESS

    async with server:
        code, output = await run(need_pynetdicom(), str(SCRIPT), "hear", str(server.port), json.dumps(REPORTED))
        assert code == 0, output
        assert [(await report).status for report in reports] == [Status.SUCCESS] * 2
    assert [json.loads(line) for line in output.splitlines()] == [[uid, 2, "DONE"] for uid in REPORTED]


async def test_pynetdicom_reports_to_us(tmp_path: Path) -> None:
    handlers, heard = Server(), asyncio.Queue[tuple[str, str | None, int | None, str]]()

    @handlers.on_n_event_report(*REPORTED)
    async def event(request: NormalizedRequest) -> int:
        said = request.sop_class_uid, request.sop_instance_uid, request.event_type_id, request.dataset.PatientID
        heard.put_nowait(said)
        return Status.SUCCESS

    port = free_port()
    command = [need_pynetdicom(), str(SCRIPT), "serve", str(port), json.dumps(REPORTED)]
    with Peer(command, port, tmp_path / "peer", title="PYNETDICOM") as peer:
        contexts = [(uid, dimse.uids.LITTLE_ENDIAN) for uid in REPORTED]
        async with dimse.connect(peer.address, contexts=contexts, services=handlers) as association:
            for uid in REPORTED:
                await NormalizedSCU(association).action(uid, INSTANCE, 2, named("N-ACTION"))
                assert await asyncio.wait_for(heard.get(), 30) == (uid, INSTANCE, 2, "DONE")
