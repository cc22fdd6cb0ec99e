"""odil and GDCM: what they send and ask for, and what they send when they are asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from pydicom import Dataset, dcmread

import dimse
from dimse import (
    Association,
    CEchoSCU,
    CFindSCU,
    CGetSCU,
    ClientOptions,
    ConnectionLost,
    MoveDestination,
    Query,
    QueryRequest,
    Status,
    StoreRequest,
    Strictness,
    retrieval_contexts,
)
from dimse.network.association import exchange_of
from dimse.services.get_scu import GetResults
from dimse.services.given import Source
from dimse.services.verification import EchoRequest
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN, LITTLE_ENDIAN
from tests.services.member_archive import ADA, Archive, files_in, member

from . import processes
from .processes import DEADLINE, Peer, is_listened_on, need, run, until
from .samples import Samples, differences, sop_instance_uid, transfer_syntax

JPEG = "1.2.840.10008.1.2.4.50"

T = TypeVar("T")


class Noting(Archive):
    """Lists and sends a few, stores received ones as `folder`/{SOP Instance UID}, and notes the calling titles."""

    def __init__(self, folder: Path) -> None:
        super().__init__(get=True, move=True)
        self.asking: list[tuple[str, Association]] = []
        """What was asked for and on which association."""
        for each in self.instances:
            each.SOPClassesInStudy = each.SOPClassUID  # odil asks for it to know what to propose
        self.on_c_echo(self.echo)

        @self.on_c_store
        async def store(request: StoreRequest) -> Status:
            await request.save(folder / request.sop_instance_uid)
            return Status.SUCCESS

    async def echo(self, request: EchoRequest) -> Status:
        self.asking.append(("C-ECHO", request.association))
        return Status.SUCCESS

    async def find(self, request: QueryRequest) -> AsyncIterator[Dataset]:
        self.asking.append((f"C-FIND {request.identifier.get('PatientName')}", request.association))
        async for match in super().find(request):
            yield match


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Noting]:
    async with Noting(tmp_path) as server:
        yield server


# They ask


async def odil(command: str, archive: Archive, *arguments: str) -> str:
    """Its command line; what it prints."""
    code, output = await run(need("odil"), command, "127.0.0.1", str(archive.port), "ODIL", "ARCHIVE", *arguments)
    assert code == 0, output
    return output


async def gdcm(archive: Archive, *arguments: str) -> None:
    """GDCM's gdcmscu. It aborts after its release is answered, by any peer, so that it says nothing of its success."""
    options = ["--call", "ARCHIVE", "--aetitle", "WS1", "127.0.0.1", str(archive.port)]
    await run(need("gdcmscu"), *arguments, *options)


async def assert_asked(archive: Noting, *wanted: str) -> None:
    """These came, and each association was released: the answers were understood."""
    assert [what for what, _ in archive.asking] == list(wanted)
    for _, association in archive.asking:
        await exchange_of(association).over
        assert association.error is None


async def test_they_echo(archive: Noting) -> None:
    await odil("echo", archive)
    await gdcm(archive, "--echo")
    await assert_asked(archive, "C-ECHO", "C-ECHO")


@pytest.mark.parametrize("program", ["odil", "gdcm"])
async def test_they_store(archive: Noting, program: str, samples: Samples, tmp_path: Path) -> None:
    path = samples["explicit"]
    if program == "odil":
        await odil("store", archive, str(path))
    else:
        await gdcm(archive, "--store", "-i", str(path))
    received = tmp_path / sop_instance_uid(path)
    assert transfer_syntax(received) in LITTLE_ENDIAN
    if program == "gdcm":
        assert differences(received, path) == []
    else:  # it writes numbers in text anew, with all their digits
        assert dcmread(received).PixelData == dcmread(path).PixelData


async def test_odil_finds_and_gets(archive: Noting, tmp_path: Path) -> None:
    found = await odil("find", archive, "study", "QueryRetrieveLevel=STUDY", "PatientName=Ada*", "StudyInstanceUID")
    assert "2 answers" in found
    assert "'1.1'" in found
    into = tmp_path / "into"
    keys = ("QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.1")
    assert "Completed: 3" in await odil("get", archive, "study", *keys, "-d", str(into))
    assert {dcmread(path).PixelData for path in into.iterdir()} == {member(uid).PixelData for uid in ADA[:3]}


async def test_gdcm_finds(archive: Noting) -> None:
    await gdcm(archive, "--find", "--studyroot", "--study", "--key", "10,10=Ada*", "--key", "20,d=")
    await assert_asked(archive, "C-FIND Ada*")


async def test_gdcm_moves_to_itself(archive: Noting, tmp_path: Path) -> None:
    """It reads each instance in the syntax of the last context that it accepted for its class, so it is offered one."""
    destination = MoveDestination(archive.receiver, transfer_syntaxes=[EXPLICIT_VR_LITTLE_ENDIAN])
    port = archive.receiver.rpartition(":")[2]

    archive.destinations = {"WS1": destination}

    @archive.on_c_move
    async def move(request: QueryRequest) -> AsyncIterator[Source]:
        await until(lambda: is_listened_on(int(port)))  # it asks first, and then listens
        async for source in archive.bring(request):
            yield source

    into = tmp_path / "into"
    into.mkdir()
    what = ("--studyroot", "--study", "--key", "20,d=1.1")
    await gdcm(archive, "--move", *what, "--port-scp", port, "-o", str(into))
    received = {path.name: dcmread(path, force=True) for path in into.iterdir()}
    assert {name: each.PixelData for name, each in received.items()} == {
        f"{uid}.dcm": member(uid).PixelData for uid in ADA[:3]
    }


# We ask


@pytest.fixture(scope="module")
def odil_archive(samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    paths = [samples["explicit"], samples["implicit"]]
    with processes.odil(tmp_path_factory.mktemp("odil") / "archive", paths) as peer:
        yield peer


async def once_it_listens(ask: Callable[[], Awaitable[T]]) -> T:
    """odil listens anew for each association, so that there is a moment in which it does not."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                return await ask()
            except ConnectionLost:
                await asyncio.sleep(0.01)


async def test_odil_answers_echo_and_find(odil_archive: Peer, samples: Samples) -> None:
    async def ask() -> dict[str, str]:
        async with dimse.connect(odil_archive.address) as association:
            await CEchoSCU(association).echo()
            query = Query.studies().returning("PatientID")
            async with CFindSCU(association).find(query) as matches:
                return {match.StudyInstanceUID: match.PatientID async for match in matches}

    held = [dcmread(samples[name]) for name in ("explicit", "implicit")]
    assert await once_it_listens(ask) == {each.StudyInstanceUID: each.PatientID for each in held}


@pytest.mark.parametrize("strictness", Strictness)
async def test_native_data_on_a_compressed_context_is_refused_or_stored_as_what_it_is(
    odil_archive: Peer, samples: Samples, strictness: Strictness, tmp_path: Path
) -> None:
    dataset = dcmread(samples["explicit"])
    contexts = retrieval_contexts([dataset.SOPClassUID], [*LITTLE_ENDIAN, JPEG])

    async def get() -> GetResults:
        options = ClientOptions(strictness=strictness)
        async with dimse.connect(odil_archive.address, contexts=contexts, options=options) as association:
            query = Query.studies(StudyInstanceUID=dataset.StudyInstanceUID)
            async with CGetSCU(association).get(query, into=tmp_path, raise_failures=False) as instances:
                async for _ in instances:
                    pass
            return instances

    instances = await once_it_listens(get)
    stored = files_in(tmp_path)
    if strictness is Strictness.STRICT:
        assert stored == []
        assert "is native, in JPEG Baseline" in str(instances.failures[0])
    else:
        assert transfer_syntax(tmp_path / stored[0]) in LITTLE_ENDIAN
        assert (dcmread(tmp_path / stored[0]).pixel_array == dataset.pixel_array).all()


async def test_what_odil_has_is_retrieved_in_a_syntax_that_it_is_in(
    odil_archive: Peer, samples: Samples, tmp_path: Path
) -> None:
    """It sends native data sets on any context of their class that was accepted."""
    query = Query.studies(PatientName="*")
    report = await once_it_listens(lambda: dimse.retrieve(odil_archive.address, query, into=tmp_path))
    assert len(report.retrieved) == report.listed == 2
    for result in report.retrieved:
        assert result.path is not None
        assert transfer_syntax(result.path) in LITTLE_ENDIAN
    paths = {result.sop_instance_uid: result.path for result in report.retrieved}
    for name in ("explicit", "implicit"):
        received = paths[sop_instance_uid(samples[name])]
        assert received is not None
        assert (dcmread(received).pixel_array == dcmread(samples[name]).pixel_array).all()
