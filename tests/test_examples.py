"""Every script in examples/ does what it says, over real connections."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from types import ModuleType

import pytest
import pytest_asyncio
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

import dimse
from dimse import ServerOptions, Status, StoreOptions
from dimse.testing import Answer, FakeArchive, Refuse
from tests.web import get

EXAMPLES = Path(__file__).parent.parent / "examples"
FRAMES, FRAME_SIZE = 5, 480 * 640

CLIENTS = {"echo.py", "send_folder.py", "progress_bar.py", "pixels_from_a_camera.py"}
CLIENTS |= {"find.py", "retrieve.py", "archives.py", "worklist.py"}  # the test of the worklist is in tests/peers
CLIENTS |= {"ups_worker.py"}
SERVERS = {"receive.py", "router.py", "query_server.py"}
APPLICATIONS = {"web_gateway.py"}
TESTS = {"test_upload.py"}
NOTEBOOKS = {"notebook.ipynb"}


class Archive:
    """A storage SCP that keeps what it is sent, and says when something came."""

    def __init__(self, folder: Path) -> None:
        options = ServerOptions(store=StoreOptions(fsync=False))
        self.server = dimse.Server("ARCHIVE", port=0, options=options)
        self.received: asyncio.Queue[Path] = asyncio.Queue()
        self.status = Status.SUCCESS

        @self.server.on_c_store
        async def store(request: dimse.StoreRequest) -> Status:
            if self.status == Status.SUCCESS:
                self.received.put_nowait(await request.save_under(folder))
            return self.status

    @property
    def address(self) -> str:
        return f"ARCHIVE@localhost:{self.server.port}"


@pytest_asyncio.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    archive = Archive(tmp_path / "archive")
    async with archive.server:
        yield archive


def shipped(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A CT image, an MR image and a text file."""
    folder = tmp_path / "study"
    folder.mkdir()
    shutil.copy(shipped("CT_small.dcm"), folder / "ct.dcm")
    shutil.copy(shipped("MR_small.dcm"), folder / "mr.dcm")
    (folder / "notes.txt").write_text("not DICOM")
    return folder


def load(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(Path(name).stem, EXAMPLES / name)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


async def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> int:
    """What `main()` of an example returns. It makes its own event loop, so it gets a thread."""
    module = load(name)
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    code: int = await asyncio.to_thread(module.main)
    return code


@asynccontextmanager
async def running(name: str, *arguments: object) -> AsyncIterator[tuple[Process, str]]:
    """A server in a process of its own, and the address from its first line. It is ended as a user would."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", EXAMPLES / name, *map(str, arguments), stdout=PIPE, stderr=PIPE
    )
    try:
        first = await line_of(process)
        yield process, first.split()[0]
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
        assert errors == b""
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def line_of(process: Process) -> str:
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    if not line:
        _, errors = await process.communicate()
        pytest.fail(f"it ended: {errors.decode()}")
    return line


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.*")} == CLIENTS | SERVERS | APPLICATIONS | TESTS | NOTEBOOKS


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_begins_with_what_it_does(path: Path) -> None:
    docstring = path.read_text(encoding="utf-8").split('"""')[1]
    assert re.search(rf"^    .*python .*{path.stem}", docstring, re.MULTILINE)


async def test_echo(archive: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(monkeypatch, "echo.py", archive.address) == 0
    printed = capsys.readouterr().out
    assert f"{archive.address} answered 0x0000 Success in" in printed
    assert "accepted: Verification SOP Class in Explicit VR Little Endian" in printed


@pytest.mark.parametrize(
    ("name", "more", "code"),
    [
        ("echo.py", [], 1),
        ("send_folder.py", ["study"], 3),
        ("progress_bar.py", ["study"], 3),
        ("find.py", [], 1),
        ("retrieve.py", ["received", "1.2.3"], 3),
    ],
)
async def test_says_that_nobody_listens(
    name: str,
    more: list[str],
    code: int,
    study: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(study.parent)
    async with dimse.Server(port=0) as server:
        address = f"NOBODY@127.0.0.1:{server.port}"
    assert await run(monkeypatch, name, address, *more) == code
    assert "cannot connect" in capsys.readouterr().out


async def test_send_folder(
    archive: Archive, study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(monkeypatch, "send_folder.py", archive.address, study) == 0
    printed = capsys.readouterr().out
    assert printed.count("stored   ") == 2
    assert f"skipped  {study / 'notes.txt'}: not DICOM" in printed
    assert "2 stored, 0 failed" in printed


async def test_send_folder_names_what_is_refused(
    archive: Archive, study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.status = Status.CANNOT_UNDERSTAND
    assert await run(monkeypatch, "send_folder.py", archive.address, study) == 1
    assert f"failed   {study / 'ct.dcm'}: " in capsys.readouterr().out


async def test_progress_bar(
    archive: Archive, study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(monkeypatch, "progress_bar.py", archive.address, study / "ct.dcm") == 0
    captured = capsys.readouterr()
    assert "100%" in captured.err
    assert "1 stored in" in captured.out


async def test_progress_bar_names_what_is_not_stored(
    archive: Archive, study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (archive.address, study / "ct.dcm", study / "notes.txt", study / "missing.dcm")
    assert await run(monkeypatch, "progress_bar.py", *arguments) == 1
    printed = capsys.readouterr().out
    assert "not stored" in printed
    assert "notes.txt" in printed
    assert "missing.dcm" in printed
    assert archive.received.qsize() == 1


async def test_pixels_from_a_camera(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(monkeypatch, "pixels_from_a_camera.py", archive.address, "--frames", FRAMES) == 0
    assert f"{FRAMES} frames, {FRAMES * FRAME_SIZE} bytes: 0x0000 Success" in capsys.readouterr().out
    received = dcmread(archive.received.get_nowait()).pixel_array
    assert received.shape == (FRAMES, 480, 640)
    assert (received[1, :, 8:16] == 255).all()
    assert (received[1, :, 600] == received[0, :, 600]).all()


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send on Windows")
async def test_receive(study: Path, tmp_path: Path) -> None:
    into = tmp_path / "received"
    async with running("receive.py", 0, into, "--modality", "CT") as (process, address):
        report = await dimse.send(address, study, raise_failures=False)
        lines = [await line_of(process), await line_of(process)]
    assert [Path(result.name).name for result in report.stored] == ["ct.dcm"]
    assert [result.status for result in report.failures] == [0x0124]
    assert sum("refused an object of modality 'MR'" in line for line in lines) == 1
    assert [dcmread(path).Modality for path in into.rglob("*.dcm")] == ["CT"]


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send on Windows")
async def test_router(archive: Archive, study: Path, tmp_path: Path) -> None:
    spool, other = tmp_path / "spool", archive.address.replace("ARCHIVE", "RESEARCH")
    async with running("router.py", 0, spool, archive.address, other) as (process, address):
        await dimse.send(address, study, raise_failures=False)
        lines = [await line_of(process) for _ in range(4)]
        arrived = [dcmread(await archive.received.get()).Modality for _ in range(4)]
    assert sorted(arrived) == ["CT", "CT", "MR", "MR"]
    assert {line.split()[0] for line in lines} == {f"{archive.address}:", f"{other}:"}
    assert all(line.endswith(" delivered\n") for line in lines)
    assert list(spool.rglob("*.dcm")) == []


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send on Windows")
async def test_router_goes_on_with_what_waits(archive: Archive, study: Path, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    archive.status = Status.OUT_OF_RESOURCES
    async with running("router.py", 0, spool, archive.address) as (process, address):
        await dimse.send(address, study / "ct.dcm")
        assert (await line_of(process)).endswith(" waiting\n")
    assert len(list(spool.rglob("*.dcm"))) == 1
    archive.status = Status.SUCCESS
    async with running("router.py", 0, spool, archive.address) as (process, _):
        assert (await line_of(process)).endswith(" delivered\n")
    assert archive.received.qsize() == 1


CT_STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
MR_STUDY = "1.3.6.1.4.1.5962.1.2.4.20040826185059.5457"
NO_STUDY = "1.2.840.99999.1"


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send on Windows")
async def test_query_server_and_find(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running("query_server.py", 0, tmp_path / "archived") as (_, address):
        await dimse.send(address, study)
        for arguments, found in [
            ([], {CT_STUDY, MR_STUDY}),
            (["--name", "compressed*^ct?"], {CT_STUDY}),
            (["--since", "2004-02-01"], {MR_STUDY}),
            (["--modality", "CT", "--modality", "MR"], {CT_STUDY, MR_STUDY}),
            (["--modality", "US"], set()),
        ]:
            assert await run(monkeypatch, "find.py", address, *arguments) == 0
            printed = capsys.readouterr().out
            assert {uid for uid in (CT_STUDY, MR_STUDY) if uid in printed} == found
            assert printed.endswith(f"{len(found)} studies\n")


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send on Windows")
async def test_query_server_finds_again_what_it_had(study: Path) -> None:
    async with running("query_server.py", 0, study) as (_, address), dimse.connect(address) as association:
        query = dimse.Query.studies(StudyInstanceUID=CT_STUDY).modality("CT").returning("NumberOfStudyRelatedInstances")
        [match] = [match async for match in dimse.CFindSCU(association).find(query)]
    assert match.PatientID == "1CT1"
    assert match.ModalitiesInStudy == "CT"
    assert match.NumberOfStudyRelatedInstances == 1


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send on Windows")
async def test_query_server_has_an_instance_without_modality(study: Path) -> None:
    image = dcmread(study / "ct.dcm")
    del image.Modality
    image.save_as(study / "ct.dcm")
    async with running("query_server.py", 0, study) as (_, address), dimse.connect(address) as association:
        query = dimse.Query.studies().returning("ModalitiesInStudy")
        found = {
            match.StudyInstanceUID: match.ModalitiesInStudy async for match in dimse.CFindSCU(association).find(query)
        }
    assert found == {CT_STUDY: "", MR_STUDY: "MR"}


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send on Windows")
async def test_retrieve(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    into = tmp_path / "received"
    async with running("query_server.py", 0, study) as (_, address):
        assert await run(monkeypatch, "retrieve.py", address, into, CT_STUDY, MR_STUDY, NO_STUDY) == 0
    printed = capsys.readouterr().out
    assert printed.count("by C-GET") == 2
    assert "2 of 2 instances" in printed
    assert {dcmread(path).StudyInstanceUID for path in into.rglob("*.dcm")} == {CT_STUDY, MR_STUDY}


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send on Windows")
async def test_query_server_moves(archive: Archive, study: Path) -> None:
    destination = f"--destination={archive.address}"
    async with running("query_server.py", 0, study, destination) as (_, address), dimse.connect(address) as association:
        query = dimse.Query.studies(StudyInstanceUID=CT_STUDY)
        counters = [count async for count in dimse.CMoveSCU(association).move(query, "ARCHIVE")]
    assert (counters[-1].completed, counters[-1].failed) == (1, 0)
    assert dcmread(archive.received.get_nowait()).StudyInstanceUID == CT_STUDY


def test_upload() -> None:
    options = ["-q", "-p", "dimse.pytest_plugin", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, "test_upload.py"]
    ended = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - our own
    assert ended.returncode == 0, ended.stdout + ended.stderr


async def test_archives(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ct, mr = dcmread(study / "ct.dcm"), dcmread(study / "mr.dcm")
    mr.PatientID = ct.PatientID
    with FakeArchive([ct]) as one, FakeArchive([ct, mr]) as two, FakeArchive() as down:
        addresses = [one.address, two.address, down.address]
        assert await run(monkeypatch, "archives.py", ct.PatientID, tmp_path / "here", *addresses) == 0
        assert {dcmread(path).Modality for path in (tmp_path / "here").rglob("*.dcm")} == {"CT", "MR"}
        down.on("A-ASSOCIATE", Refuse())
        capsys.readouterr()
        assert await run(monkeypatch, "archives.py", ct.PatientID, tmp_path / "here", *addresses) == 1
    assert down.address in capsys.readouterr().out
    operations = [request.operation for request in (*one.requests, *two.requests)]
    assert operations.count("C-GET") == 2  # each study once, from the archive that answered first


async def test_web_gateway(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = dcmread(study / "ct.dcm")
    with FakeArchive([image]) as archived:
        monkeypatch.setenv("ARCHIVE", archived.address)
        gateway = load("web_gateway.py")
        path = f"/studies/{image.StudyInstanceUID}/series/{image.SeriesInstanceUID}/instances/"
        async with gateway.archive:
            response = await get(gateway.app, path + image.SOPInstanceUID)
            assert response.status == 200
            assert dcmread(BytesIO(response.body)).PixelData == image.PixelData
            assert (await get(gateway.app, path + "1.2.3")).status == 404
            assert (await get(gateway.app, path + "x")).status == 404
            archived.on("C-GET", Answer(Status.CANNOT_UNDERSTAND))
            assert (await get(gateway.app, path + image.SOPInstanceUID)).status == 502
        assert archived.connections == 1


async def test_notebook(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a kernel runs it: each cell is compiled so that it may await, in one namespace."""
    cells = json.loads((EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    with FakeArchive([dcmread(study / "ct.dcm")]) as archived:
        monkeypatch.chdir(tmp_path)
        namespace: dict[str, object] = {}
        for cell in (cell["source"] for cell in cells if cell["cell_type"] == "code"):
            source = cell.replace("ARCHIVE@localhost:11112", archived.address)
            running = eval(compile(source, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), namespace)  # noqa: S307 - ours
            if running is not None:
                await running
    printed = capsys.readouterr().out
    assert "0x0000 Success" in printed
    assert f"1CT1 20040119 {CT_STUDY}" in printed
    assert printed.endswith("1 of 1\n")


async def test_retrieve_names_what_does_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with dimse.Server("ARCHIVE", port=0) as server:
        server.on_c_find(not_allowed)
        server.on_c_get(not_allowed)
        address = f"ARCHIVE@localhost:{server.port}"
        assert await run(monkeypatch, "retrieve.py", address, tmp_path / "received", CT_STUDY) == 1
    assert ": C-FIND: 0x0124 Not authorized" in capsys.readouterr().out


async def not_allowed(request: dimse.QueryRequest) -> AsyncIterator[Dataset]:
    if request.association.is_open:
        raise dimse.StatusError(Status.NOT_AUTHORIZED, "C-FIND")
    yield Dataset()


async def test_ups_worker() -> None:
    server, item = dimse.Server("WORKLIST", port=0), Dataset()
    item.SeriesInstanceUID, item.ReferencedSOPSequence = "1.2.3", [Dataset(), Dataset()]
    good, empty = Dataset(), Dataset()
    good.ProcedureStepLabel, good.ScheduledProcedureStepPriority, good.InputInformationSequence = (
        "Chest",
        "HIGH",
        [item],
    )
    empty.ProcedureStepLabel = "Nothing"
    async with dimse.UPSManager(server) as manager, server:
        for step in (good, empty):
            await manager.create(step)
        command = (sys.executable, "-W", "error", EXAMPLES / "ups_worker.py", f"WORKLIST@localhost:{server.port}")
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        lines = [await line_of(process), await line_of(process)]
        process.send_signal(signal.SIGTERM)
        assert (await process.communicate())[1] == b""
        assert (process.returncode, lines) == (0, ["Chest: COMPLETED\n", "Nothing: CANCELED, the step has no input\n"])
        [done, _] = [step.dataset async for step in manager.steps()]
        [performed] = done.UnifiedProcedureStepPerformedProcedureSequence
        assert performed.PerformedProcedureStepDescription == "2 images"
