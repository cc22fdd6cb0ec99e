"""Every entry point sends each kind of source unchanged, and refuses other objects with a message."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from tests.sample_objects import CT, EXPLICIT, dataset_bytes, instance, save
from tests.server_options import buffered

import dimse
from dimse import CStoreSCU, DatasetError, QueryRequest, Server, StoreRequest, connect, presentation_contexts


class Archive(Server):
    def __init__(self) -> None:
        super().__init__("ARCHIVE", port=0, options=buffered())
        self.stored: list[bytes] = []
        self.on_c_store(self.keep)

    async def keep(self, request: StoreRequest) -> int:
        self.stored.append(bytes(request.data))
        return 0

    @property
    def address(self) -> str:
        return f"ARCHIVE@127.0.0.1:{self.port}"


@pytest.fixture
async def archive() -> AsyncIterator[Archive]:
    async with Archive() as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save(instance(pixels=300_000), tmp_path / "a.dcm")


@pytest.fixture
def data(path: Path) -> bytes:
    return path.read_bytes()


def stream_reader(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


class Body:
    """The body of an HTTP message, as some libraries have it."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    async def read(self, size: int = -1) -> bytes:
        await asyncio.sleep(0)
        part, self.rest = self.rest[: min(size, 5000)], self.rest[min(size, 5000) :]
        return part


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 7001):
        await asyncio.sleep(0)
        yield data[start : start + 7001]
        yield b""


class Minimal:
    """No more of a binary stream than its `read`."""

    def __init__(self, data: bytes) -> None:
        self.read = BytesIO(data).read


KINDS: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "stream": BytesIO,
    "minimal stream": Minimal,
    "stream reader": stream_reader,
    "body": Body,
    "asynchronous iterator": chunks,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("many", [False, True])
async def test_a_job(archive: Archive, path: Path, data: bytes, kind: str, many: bool) -> None:
    source = KINDS[kind](data)
    report = await dimse.send(archive.address, [source, path] if many else source)
    assert archive.stored == [dataset_bytes(path)] * (1 + many)
    assert report.results[0].sop_instance_uid == "1.2.3.4"


@pytest.mark.parametrize("kind", KINDS)
async def test_an_scu(archive: Archive, path: Path, data: bytes, kind: str) -> None:
    async with connect(archive.address, contexts=[(CT, [EXPLICIT])]) as association:
        await CStoreSCU(association).send(KINDS[kind](data))
    assert archive.stored == [dataset_bytes(path)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("service", ["get", "move"])
async def test_a_handler(archive: Archive, path: Path, data: bytes, kind: str, service: str, tmp_path: Path) -> None:
    server = Server("SERVER", port=0, destinations={"ARCHIVE": archive.address})

    async def found(_: QueryRequest) -> AsyncIterator[Any]:
        yield KINDS[kind](data)

    server.on_c_get(found)
    server.on_c_move(found)
    query = dimse.Query.studies(StudyInstanceUID="1.2.3.1")
    contexts = dimse.retrieval_contexts([CT])
    async with server, connect(f"SERVER@127.0.0.1:{server.port}", contexts=contexts) as association:
        if service == "get":
            async with dimse.CGetSCU(association).get(query, into=tmp_path / "in", template="{SOPInstanceUID}") as each:
                assert [dataset_bytes(cast("Path", one.path)) async for one in each] == [dataset_bytes(path)]
        else:
            async with dimse.CMoveSCU(association).move(query, "ARCHIVE") as counters:
                assert [one.completed async for one in counters][-1] == 1
            assert archive.stored == [dataset_bytes(path)]


def test_presentation_contexts_of_bytes(path: Path, data: bytes) -> None:
    assert presentation_contexts(data) == presentation_contexts([path]) == presentation_contexts(path)
    with pytest.raises(TypeError, match=r"must be a path, bytes, .* not BytesIO"):
        presentation_contexts([BytesIO(data)])  # type: ignore[list-item]


async def test_a_generator_of_paths(archive: Archive, path: Path) -> None:
    report = await dimse.send(archive.address, (path for _ in range(3)))
    assert len(report.stored) == 3


# Objects that are not sources


NOT_SOURCES = pytest.mark.parametrize(
    ("source", "name"),
    [
        (5, "int"),
        (None, "NoneType"),
        ({"a.dcm": 1}, "dict"),
        (np.zeros(90_000, np.uint8), "uint8|ndarray"),
        (array("B", bytes(90_000)), "int|array"),
        ([1, 2], "int|list"),
        ([["a.dcm"]], "list"),
        (StringIO("text"), "text stream"),
    ],
)


@NOT_SOURCES
async def test_a_job_refuses(source: Any, name: str) -> None:
    """Before it asks for an association, and not once for each of 90 000."""
    with pytest.raises(TypeError, match=f"a source must be a path, bytes, .* ({name})"):
        await dimse.send("A@127.0.0.1:1", source)


@NOT_SOURCES
async def test_an_scu_refuses(archive: Archive, source: Any, name: str) -> None:
    async with connect(archive.address, contexts=[(CT, [EXPLICIT])]) as association:
        with pytest.raises(TypeError, match=f"a source must be a path, bytes, .* ({name})"):
            await CStoreSCU(association).send(source)


# What is not whole, or ends otherwise


CUT_SHORT = [(kind, "CT_small.dcm", 3000) for kind in KINDS]
CUT_SHORT += [(kind, "JPEG2000.dcm", 200) for kind in ("bytes", "bytearray")]


@pytest.mark.parametrize(("kind", "name", "missing"), CUT_SHORT)
async def test_what_is_cut_short_is_not_sent(archive: Archive, kind: str, name: str, missing: int) -> None:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    whole = await asyncio.to_thread(Path(path).read_bytes)
    report = await dimse.send(archive.address, KINDS[kind](whole[:-missing]), raise_failures=False)
    (failure,) = report.failures
    assert isinstance(failure.error, DatasetError)
    assert "truncated" in str(failure.error)
    assert archive.stored == []


async def test_bytes_that_are_no_file(archive: Archive) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await dimse.send(archive.address, b"study/")
    assert "the bytes: not a DICOM file" in str(caught.value.exceptions[0])


async def test_an_asynchronous_stream_that_fails_fails_alone(archive: Archive, path: Path, data: bytes) -> None:
    async def fails() -> AsyncIterator[bytes]:
        yield data[:200_000]
        raise ZeroDivisionError

    report = await dimse.send(archive.address, [fails(), path], raise_failures=False)
    assert [type(failure.error) for failure in report.failures] == [ZeroDivisionError]
    assert archive.stored == [dataset_bytes(path)]


@pytest.mark.parametrize("given", [0, 200_000])
async def test_a_read_of_an_asynchronous_stream_ends_with_its_job(
    archive: Archive, path: Path, data: bytes, given: int
) -> None:
    waits, ended = asyncio.Event(), asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        try:
            yield data[:given]
            waits.set()
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    sending = asyncio.create_task(dimse.send(archive.address, stalls()))
    async with asyncio.timeout(20):
        await waits.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await ended.wait()
