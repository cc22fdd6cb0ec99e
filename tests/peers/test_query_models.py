"""Every information model, against pynetdicom in both roles."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

import dimse
from dimse import (
    CFindSCU,
    CGetSCU,
    ClientOptions,
    CMoveSCU,
    Query,
    QueryRequest,
    QueryValue,
    Server,
    Status,
    StoreRequest,
    Strictness,
)
from dimse.services.query_models import MODELS, QueryRetrieveLevel, QueryRetrieveModel
from tests.ports import free_port
from tests.sample_objects import CT, instance, save

from .processes import Peer, need_pynetdicom, run

SCRIPT = Path(__file__).parent / "pynetdicom_models.py"
PRIVATE = QueryRetrieveModel("Dose Archive", find="1.2.3.4.1", get="1.2.3.4.2")
"""pynetdicom knows no private services, so this one is only asked for."""


def level_of(model: QueryRetrieveModel) -> QueryRetrieveLevel | None:
    levels = model.levels
    return QueryRetrieveLevel.STUDY if QueryRetrieveLevel.STUDY in levels else next(iter(levels), None)


def row(model: QueryRetrieveModel) -> dict[str, str | None]:
    uids = {"find": model.find, "move": model.move, "get": model.get}
    return {"name": model.name, **uids, "level": level_of(model), "stored": stored(model)}


def stored(model: QueryRetrieveModel) -> str:
    return next(iter(model.stored), CT)


ROWS = json.dumps([row(model) for model in MODELS])


def query_of(model: QueryRetrieveModel, *, retrieves: bool) -> Query:
    level = level_of(model)
    keys: dict[str, Any] = {"PatientName": None}
    if retrieves:
        keys = {"StudyInstanceUID": "1.2.3.1"} if level is QueryRetrieveLevel.STUDY else {"SOPInstanceUID": "1.2.3.4"}
        if QueryRetrieveLevel.PATIENT in model.levels:
            keys["PatientID"] = "1"
    elif level is QueryRetrieveLevel.STUDY and QueryRetrieveLevel.PATIENT in model.levels:
        keys = {"PatientID": "1"}
    return Query.of(level, keys, model)


class Archive:
    """Answers every model with its name."""

    def __init__(self, receiver: int) -> None:
        self.asked: list[tuple[QueryRetrieveModel, QueryRetrieveLevel | None]] = []
        self.server = Server("DIMSE", port=0, destinations={"RECEIVER": f"RECEIVER@localhost:{receiver}"})
        self.server.on_c_find(*(model for model in MODELS if model.find))(self.find)
        self.server.on_c_get(*(model for model in MODELS if model.get))(self.bring)
        self.server.on_c_move(*(model for model in MODELS if model.move))(self.bring)

    async def find(self, request: QueryRequest) -> AsyncIterator[Dataset]:
        self.asked.append((request.model, request.level))
        match = Dataset()
        match.PatientName = request.model.name
        yield match

    async def bring(self, request: QueryRequest) -> AsyncIterator[Dataset]:
        found = instance(sop_class=stored(request.model), pixels=0)
        found.PatientName = request.model.name
        yield found


def receiver(arrived: list[str]) -> Server:
    server = Server("RECEIVER", port=0)

    @server.on_c_store
    async def store(request: StoreRequest) -> int:
        arrived.append(request.sop_class_uid)
        async for _ in request.chunks():
            pass
        return Status.SUCCESS

    return server


async def test_pynetdicom_asks_us() -> None:
    arrived: list[str] = []
    async with receiver(arrived) as to:
        archive = Archive(to.port)
        async with archive.server as server:
            code, output = await run(need_pynetdicom(), str(SCRIPT), "ask", str(server.port), ROWS, "RECEIVER")
    assert code == 0, output
    said = {each["name"]: each for each in map(json.loads, output.splitlines())}
    for model in MODELS:
        expected: dict[str, object] = {"name": model.name}
        if model.find:
            expected |= {"find": [model.name], "find_status": 0}
        if model.get:
            expected |= {"get": [model.name], "get_status": 0}
        if model.move:
            expected |= {"move": [0, 1]}
        assert said[model.name] == expected
    assert archive.asked == [(model, level_of(model)) for model in MODELS if model.find]
    assert arrived == [stored(model) for model in MODELS if model.move]


async def test_we_ask_pynetdicom(tmp_path: Path) -> None:
    arrived: list[str] = []
    port = free_port()
    async with receiver(arrived) as to:
        command = [need_pynetdicom(), str(SCRIPT), "serve", str(port), ROWS, str(to.port)]
        with Peer(command, port, tmp_path / "peer", title="PYNETDICOM") as peer:
            contexts = dimse.retrieval_contexts(
                sorted({stored(model) for model in MODELS}), dimse.uids.LITTLE_ENDIAN, models=MODELS
            )
            # pynetdicom accepts the contexts, and leaves the SCP role unanswered (PS3.7 D.3.3.4)
            lenient = ClientOptions(strictness=Strictness.LENIENT)
            async with dimse.connect(peer.address, contexts=contexts, options=lenient) as association:
                for model in MODELS:
                    await ask(association, model)
            report = await dimse.get(
                peer.address,
                query_of(QueryRetrieveModel.HANGING_PROTOCOL, retrieves=True),
                into=tmp_path / "got",
                options=lenient,
            )
            assert len(report.retrieved) == 1
            query = query_of(QueryRetrieveModel.RELEVANT_PATIENT_BREAST, retrieves=False)
            assert [str(match.PatientName) async for match in dimse.find(peer.address, query)] == [query.model.name]
    assert arrived == [stored(model) for model in MODELS if model.move]


async def ask(association: dimse.Association, model: QueryRetrieveModel) -> None:
    if model.find:
        found = CFindSCU(association).find(query_of(model, retrieves=False))
        assert [str(match.PatientName) async for match in found] == [model.name]
    if model.get:
        async with CGetSCU(association).get(query_of(model, retrieves=True)) as instances:
            received = [(each.sop_class_uid, [chunk async for chunk in each.chunks()]) async for each in instances]
        assert [(sop_class, bool(chunks)) for sop_class, chunks in received] == [(stored(model), True)]
    if model.move:
        async with CMoveSCU(association).move(query_of(model, retrieves=True), "RECEIVER") as moving:
            async for _ in moving:
                pass
        assert moving.suboperations.completed == 1


def encapsulated_pdf(path: Path) -> Path:
    document = instance("1.2.3.5", sop_class="1.2.840.10008.5.1.4.1.1.104.1", pixels=0)
    document.EncapsulatedDocument = b"%PDF-1.4" * 100_000
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    return save(document, path)


FRAMES = json.dumps([{**row(QueryRetrieveModel.COMPOSITE_INSTANCE_ROOT), "level": QueryRetrieveLevel.FRAME}])


async def test_pynetdicom_asks_us_for_frames() -> None:
    arrived: list[str] = []
    frames: list[tuple[QueryRetrieveLevel | None, list[int]]] = []
    async with receiver(arrived) as to:
        archive = Archive(to.port)
        model = QueryRetrieveModel.COMPOSITE_INSTANCE_ROOT

        async def bring(request: QueryRequest) -> AsyncIterator[Dataset]:
            frames.append((request.level, list(request.identifier.SimpleFrameList)))
            async for found in archive.bring(request):
                yield found

        archive.server.on_c_get(model)(archive.server.on_c_move(model)(bring))
        async with archive.server as server:
            code, output = await run(need_pynetdicom(), str(SCRIPT), "ask", str(server.port), FRAMES, "RECEIVER")
    assert code == 0, output
    assert json.loads(output) == {"name": model.name, "get": [model.name], "get_status": 0, "move": [0, 1]}
    assert frames == [(QueryRetrieveLevel.FRAME, [2, 5])] * 2
    assert arrived == [CT]


async def test_we_ask_pynetdicom_for_frames(tmp_path: Path) -> None:
    arrived: list[str] = []
    keys: dict[str, QueryValue] = {"SOPInstanceUID": "1.2.3.4", "SimpleFrameList": [2, 5]}
    query = Query.of(QueryRetrieveLevel.FRAME, keys, QueryRetrieveModel.COMPOSITE_INSTANCE_ROOT)
    lenient = ClientOptions(strictness=Strictness.LENIENT)  # pynetdicom does not answer the SCP role
    port = free_port()
    async with receiver(arrived) as to:
        command = [need_pynetdicom(), str(SCRIPT), "serve", str(port), FRAMES, str(to.port)]
        with Peer(command, port, tmp_path / "peer", title="PYNETDICOM") as peer:
            got = await dimse.get(peer.address, query, into=tmp_path / "got", options=lenient)
            moved = await dimse.move(peer.address, query, "RECEIVER")
    assert (len(got.retrieved), moved.suboperations.completed) == (1, 1)
    assert arrived == [CT]


LEFT_OUT = {0x7FE00010, 0x00420011}


async def test_pynetdicom_retrieves_without_bulk_data(tmp_path: Path) -> None:
    shipped = ["CT_small.dcm", "waveform_ecg.dcm", "JPEG2000.dcm"]
    paths = [Path(str(get_testdata_file(name, download=False))) for name in shipped]
    wholes = {dcmread(path).SOPInstanceUID: path for path in (*paths, encapsulated_pdf(tmp_path / "pdf.dcm"))}
    server = Server(port=0)

    @server.on_c_get(QueryRetrieveModel.WITHOUT_BULK_DATA)
    async def get(request: QueryRequest) -> AsyncIterator[Path]:
        for uid in request.identifier.SOPInstanceUID:
            yield wholes[uid]

    classes, uids = sorted({dcmread(path).SOPClassUID for path in wholes.values()}), list(wholes)
    async with server:
        code, output = await run(
            need_pynetdicom(), str(SCRIPT), "strip", str(server.port), json.dumps(classes), json.dumps(uids)
        )
    *arrived, status = map(json.loads, output.splitlines())
    assert (code, status) == (0, [Status.SUCCESS, len(wholes)]), output
    for (uid, tags, waveforms), expected in zip(arrived, uids, strict=True):
        whole = dcmread(wholes[expected])
        assert uid == expected
        assert tags == sorted({int(tag) for tag in whole.keys()} - LEFT_OUT)  # noqa: SIM118 - iterating decodes
        groups = whole.get("WaveformSequence", ())
        assert waveforms == [[int(each.tag) for each in item if each.keyword != "WaveformData"] for item in groups]


async def test_a_private_model_is_used_like_the_others() -> None:
    server = Server(port=0)

    @server.on_c_find(PRIVATE)
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        assert (request.model, request.level) == (PRIVATE, None)
        yield Dataset()

    @server.on_c_get(PRIVATE)
    async def get(request: QueryRequest) -> AsyncIterator[Dataset]:
        yield instance(request.identifier.SOPInstanceUID)

    arrived: list[str] = []

    async def keep(request: StoreRequest) -> int:
        arrived.append(request.sop_instance_uid)
        return Status.SUCCESS

    async with server:
        query = Query.in_model(PRIVATE, SOPInstanceUID="1.2.9")
        assert len([match async for match in dimse.find(f"DIMSE@localhost:{server.port}", query)]) == 1
        await dimse.get(f"DIMSE@localhost:{server.port}", query, handler=keep)
    assert arrived == ["1.2.9"]
