"""Located objects: what a C-GET, a C-MOVE and `send` make of them, and what happens if the archive's index is wrong."""

from __future__ import annotations

import gzip
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest
from tests.sample_objects import CT, EXPLICIT, MR, dataset_bytes, encoded, instance, save

import dimse
from dimse import Located, Query, QueryRequest, Server, Status, StoreRequest

UID = "1.2.3.4"
STUDY = Query.studies(StudyInstanceUID="1.2.3.1")
DATA = encoded(instance(UID))
LARGE = encoded(instance(UID, pixels=300_000))


def located(open_: Callable[[], Any], data: bytes = DATA, **other: Any) -> Located:
    return replace(Located(CT, UID, EXPLICIT, len(data), open_), **other)


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 700):
        yield data[start : start + 700]


class Stream:
    """As an asynchronous file object of a library."""

    def __init__(self, data: bytes) -> None:
        self._file = BytesIO(data)

    async def read(self, size: int) -> bytes:
        return self._file.read(size)


async def opened(data: bytes) -> Stream:
    return Stream(data)


async def got(*objects: Located) -> tuple[dict[str, bytes], dimse.GetReport]:
    """What arrives of a C-GET of these, without the File Meta Information, and the report."""
    server, arrived = Server(port=0), {}

    @server.on_c_get
    async def get(request: QueryRequest) -> AsyncIterator[Located]:
        for each in objects:
            yield each

    async def keep(request: StoreRequest) -> int:
        arrived[request.sop_instance_uid] = b"".join([chunk async for chunk in request.dataset_chunks()])
        return Status.SUCCESS

    async with server:
        report = await dimse.get(f"A@localhost:{server.port}", STUDY, handler=keep, raise_failures=False)
    return arrived, report


@pytest.mark.parametrize("data", [DATA, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    "open_",
    [BytesIO, pieces, Stream, opened],
    ids=["binary", "iterator", "stream", "coroutine"],
)
async def test_streams_of_each_kind(open_: Callable[[bytes], Any], data: bytes) -> None:
    arrived, report = await got(located(lambda: open_(data), data))
    assert report.failures == ()
    assert arrived == {UID: data}


def piped(data: bytes, _: Path) -> BufferedReader:
    """As the output of another program."""
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as file:  # noqa: PTH123 - a file descriptor
            file.write(data)

    Thread(target=write).start()
    return open(reading, "rb")  # noqa: PTH123 - a file descriptor, which the reader closes


def unzipped(data: bytes, path: Path) -> BufferedReader:
    """With the descriptor of the smaller file, which `GzipFile` has."""
    path.write_bytes(gzip.compress(data))
    return BufferedReader(cast("RawIOBase", gzip.open(path)))


@pytest.mark.parametrize("open_", [piped, unzipped])
async def test_a_buffered_stream_need_not_be_a_file(
    open_: Callable[[bytes, Path], BufferedReader], tmp_path: Path
) -> None:
    arrived, report = await got(located(lambda: open_(LARGE, tmp_path / "ct.gz"), LARGE))
    assert report.failures == ()
    assert arrived == {UID: LARGE}


@pytest.mark.parametrize("buffering", [0, -1])
async def test_a_file_is_closed_after_it_was_sent(tmp_path: Path, buffering: int) -> None:
    path = save(instance(UID, pixels=300_000), tmp_path / "ct.dcm")
    data, files = dataset_bytes(path), []

    def open_() -> Any:
        files.append(path.open("rb", buffering=buffering))
        files[-1].seek(path.stat().st_size - len(data))
        return files[-1]

    arrived, report = await got(located(open_, data))
    assert (arrived, report.failures) == ({UID: data}, ())
    assert [file.closed for file in files] == [True]


def _absent() -> BytesIO:
    raise FileNotFoundError("gone")


@pytest.mark.parametrize(
    "wrong",
    [
        located(lambda: BytesIO(DATA[:-2])),
        located(lambda: pieces(DATA[:-2])),
        located(lambda: pieces(DATA + b"\0\0")),
        located(lambda: Stream(DATA[:-2])),
        located(lambda: BytesIO(DATA), sop_instance_uid="1.2.3.5"),
        located(lambda: pieces(DATA), sop_instance_uid="1.2.3.5"),
        located(lambda: pieces(LARGE), LARGE, sop_class_uid=MR),
        located(lambda: pieces(DATA), sop_class_uid=MR),
        located(_absent),
    ],
    ids=[
        "short",
        "short stream",
        "long",
        "short asynchronous file",
        "instance",
        "instance of a stream",
        "class of a large one",
        "class",
        "absent",
    ],
)
async def test_a_wrong_entry_is_a_failed_suboperation_and_the_rest_arrives(wrong: Located) -> None:
    after = encoded(instance("1.2.3.9"))
    last = located(lambda: pieces(after), after, sop_instance_uid="1.2.3.9")
    arrived, report = await got(wrong, last)
    assert arrived == {"1.2.3.9": after}
    assert [result.sop_instance_uid for result in report.failures if result.sop_instance_uid] == [
        wrong.sop_instance_uid
    ]
    assert (report.suboperations.completed, report.suboperations.failed) == (1, 1)


async def test_a_file_that_is_too_short_is_found_before_its_first_byte_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(LARGE[:-5000])
    arrived, report = await got(located(lambda: path.open("rb"), LARGE), located(lambda: pieces(DATA)))
    assert list(arrived) == [UID]
    assert report.suboperations.failed == 1


async def test_a_large_stream_that_ends_early_ends_the_association() -> None:
    after = encoded(instance("1.2.3.9"))
    huge = encoded(instance(UID, pixels=3_000_000))
    with pytest.raises(dimse.AssociationAborted):
        await got(
            located(lambda: pieces(huge[:-2]), huge), located(lambda: pieces(after), after, sop_instance_uid="1.2.3.9")
        )


async def test_they_are_moved_as_they_are_got() -> None:
    arrived: dict[str, bytes] = {}
    workstation = Server("WS1", port=0)

    @workstation.on_c_store
    async def store(request: StoreRequest) -> int:
        arrived[request.sop_instance_uid] = b"".join([chunk async for chunk in request.dataset_chunks()])
        return Status.SUCCESS

    entries = [
        located(lambda: pieces(LARGE), LARGE),
        located(lambda: Stream(DATA[:-2]), sop_instance_uid="1.2.3.8"),
        located(lambda: BytesIO(DATA), sop_instance_uid="1.2.3.4"),
    ]
    async with workstation:
        server = Server(port=0, destinations={"WS1": f"WS1@localhost:{workstation.port}"})

        @server.on_c_move
        async def move(request: QueryRequest) -> AsyncIterator[Located]:
            for entry in entries:
                yield entry

        async with server:
            report = await dimse.move(f"A@localhost:{server.port}", STUDY, "WS1", raise_failures=False)
    assert arrived == {UID: DATA}
    assert (report.suboperations.completed, report.suboperations.failed) == (2, 1)


async def test_send_takes_them() -> None:
    server, arrived = Server(port=0), []

    @server.on_c_store
    async def store(request: StoreRequest) -> int:
        arrived.append([chunk async for chunk in request.dataset_chunks()])
        return Status.SUCCESS

    async with server:
        await dimse.send(f"A@localhost:{server.port}", [located(lambda: pieces(DATA))])
    assert [b"".join(chunks) for chunks in arrived] == [DATA]
