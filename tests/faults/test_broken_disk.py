"""Disks that fail and disks that are full: never Success for what is not stored, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest
from tests.faults.failing_files import ABSORBED, FailingFiles
from tests.sample_objects import CT, EXPLICIT, dataset_bytes, encoded, instance

from dimse import (
    CGetSCU,
    CStoreSCU,
    ProposedContext,
    Query,
    RetryPolicy,
    Server,
    ServerOptions,
    Status,
    StatusError,
    StoreOptions,
    StoreRequest,
    connect,
    retrieval_contexts,
)
from dimse.dataset.sources import MemorySource

NUMBERS = count(1)
CODES = [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE, 0]

Store = Callable[[Path, bytes, str], Awaitable[int]]
"""Stores an instance below a folder. Returns the status."""


def source(pixels: int) -> tuple[bytes, MemorySource]:
    uid = f"1.2.3.{next(NUMBERS)}"
    data = encoded(instance(uid, pixels=pixels))
    return data, MemorySource([data], sop_class_uid=CT, sop_instance_uid=uid, transfer_syntax_uid=EXPLICIT)


@asynccontextmanager
async def by_c_store(folders: list[Path]) -> AsyncIterator[Callable[[MemorySource], Awaitable[int]]]:
    """Sends to a server that stores below the last of `folders`."""
    server = Server(port=0, options=ServerOptions(store=StoreOptions()))

    @server.on_c_store
    async def store(request: StoreRequest) -> int:
        await request.save_under(folders[-1])
        return Status.SUCCESS

    async with (
        server,
        connect(f"A@127.0.0.1:{server.port}", contexts=[ProposedContext(CT, [EXPLICIT])]) as association,
    ):
        scu = CStoreSCU(association, retry=RetryPolicy(retries=0))

        async def send(sent: MemorySource) -> int:
            refused = None
            try:
                return (await scu.send(sent)).status
            except StatusError as error:
                refused = error
            assert refused.comment
            assert str(folders[-1]) not in refused.comment
            return refused.status

        yield send


@asynccontextmanager
async def by_c_get(folders: list[Path]) -> AsyncIterator[Callable[[MemorySource], Awaitable[int]]]:
    """Gets from a server into the last of `folders`."""
    server, given = Server(port=0), list[MemorySource]()

    @server.on_c_get
    async def give(_: object) -> AsyncIterator[MemorySource]:
        yield given[-1]

    async with (
        server,
        connect(f"A@127.0.0.1:{server.port}", contexts=retrieval_contexts([CT], [EXPLICIT])) as association,
    ):

        async def get(sent: MemorySource) -> int:
            given.append(sent)
            uid = sent.sop_instance_uid
            results = CGetSCU(association).get(
                Query.instances(StudyInstanceUID="1.2.3.1", SeriesInstanceUID="1.2.3.2", SOPInstanceUID=uid),
                into=folders[-1],
                raise_failures=False,
            )
            async with results:
                async for _ in results:
                    pass
            refusal = results.refusals.get(uid)
            if refusal is None:
                assert results.suboperations.completed == 1
                return 0
            return int(str(refusal).partition("0x")[2][:4], 16)

        yield get


def content(folder: Path) -> list[str]:
    return sorted(str(Path(at, name).relative_to(folder)) for at, _, names in os.walk(folder) for name in names)


def is_left(folder: Path) -> list[str]:
    """The files and folders in a folder that should not be there."""
    return [str(folder), *content(folder)] if folder.exists() else []


def stored_whole(folder: Path, data: bytes) -> bool:
    """Whether one file is below the folder, and it is whole."""
    return [dataset_bytes(folder / name) for name in content(folder)] == [data]


@pytest.mark.parametrize("storing", [by_c_store, by_c_get])
async def test_the_nth_operation_fails(storing: object, fast_disk: Path) -> None:
    """For n = 1, 2, ... until none fails; with small instances, which are stored in one call, and larger ones."""
    assert callable(storing)
    roots, wrong, tried = [fast_disk], list[str](), 0
    sizes = (400, 200_000) if storing is by_c_store else (400,)
    async with storing(roots) as store:
        for code in CODES:
            for pixels in sizes:
                for n in count(1):
                    roots.append(fast_disk / f"{code}-{pixels}-{n}")
                    data, sent = source(pixels)
                    failing = FailingFiles(roots[-1], n, code)
                    with failing.patched():
                        status = await store(sent)
                    if failing.failed is None and (code or n > 40):
                        assert status == Status.SUCCESS
                        break
                    tried += 1
                    case = f"{errno.errorcode.get(code, 'short')} of {failing.failed}, number {n}: 0x{status:04X}"
                    if status == Status.SUCCESS and (
                        not stored_whole(roots[-1], data) or (code and failing.failed not in ABSORBED)
                    ):
                        wrong.append(f"{case}, and {content(roots[-1])}")
                    if status not in (Status.SUCCESS, Status.OUT_OF_RESOURCES):
                        wrong.append(case)
                    if status != Status.SUCCESS and is_left(roots[-1]):
                        wrong.append(f"{case}, left {is_left(roots[-1])}")
                    data, sent = source(pixels)
                    if await store(sent) != Status.SUCCESS:
                        wrong.append(f"{case}, and the next one fails too")
    assert not wrong, "\n".join(wrong)
    assert tried > 15 * len(CODES) * len(sizes)


@pytest.mark.parametrize("storing", [by_c_store, by_c_get])
async def test_a_full_disk(storing: object, small_disk: Path) -> None:
    """With no room at all, with some, and with room for all but the last page; and with no room for another file."""
    assert callable(storing)
    wrong, tried = list[str](), 0
    root, filler = small_disk / "root", small_disk / "filler"
    async with storing([root]) as store:
        for pixels in (2, 400, 4000, 60_000, 1_000_000, 1_500_000, 4 * 2**20):
            pages = -(-(len(source(pixels)[0]) + 400) // 4096)
            for free in sorted({0, pages // 2, pages - 1}):
                available = os.statvfs(small_disk).f_bavail
                filler.write_bytes(bytes(4096) * (available - free))
                data, sent = source(pixels)
                status = await store(sent)
                tried += 1
                filler.unlink()
                if status != Status.OUT_OF_RESOURCES or is_left(root):
                    wrong.append(f"{pixels} bytes, {free} pages: 0x{status:04X}, left {is_left(root)}")
                data, sent = source(pixels)
                if await store(sent) != Status.SUCCESS or not stored_whole(root, data):
                    wrong.append(f"{pixels} bytes, {free} pages: the next one fails too")
                shutil.rmtree(root)
        others = [small_disk / str(number) for number in range(os.statvfs(small_disk).f_ffree)]
        for files in range(6):  # the root, two folders and the two names of the file need five
            for other in others[files:]:
                other.touch()
            status = await store(source(400)[1])
            tried += 1
            if (status == Status.SUCCESS) != (files >= 5) or (status and (status != 0xA700 or is_left(root))):
                wrong.append(f"{files} files: 0x{status:04X}, left {is_left(root)}")
            for other in others:
                other.unlink(missing_ok=True)
    assert not wrong, "\n".join(wrong)
    assert tried > 20


def _remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)  # noqa: S603, S607 - no input of others


@contextmanager
def _without_descriptors() -> Iterator[None]:
    """No file can be opened within this block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = list[int]()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))  # noqa: PTH208
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def _with_small_files() -> Iterator[None]:
    """No file can have more than a megabyte within this block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("storing", [by_c_store, by_c_get])
async def test_storage_that_cannot_be_written(storing: object, small_disk: Path) -> None:
    """A read-only file system, a process without free descriptors, and one with a limit on the size of files."""
    assert callable(storing)
    root = small_disk / "root"
    async with storing([root]) as store:
        assert await store(source(400)[1]) == Status.SUCCESS
        before = content(root)
        _remount(small_disk, "ro")
        assert await store(source(400)[1]) == Status.OUT_OF_RESOURCES
        _remount(small_disk, "rw")
        sent = source(400)[1]
        with _without_descriptors():
            assert await store(sent) == Status.OUT_OF_RESOURCES
        sent = source(2_000_000)[1]
        with _with_small_files():
            assert await store(sent) == Status.OUT_OF_RESOURCES
        assert content(root) == before
        assert await store(sent) == Status.SUCCESS
