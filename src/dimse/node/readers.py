"""Reads files for an import or a new index, and describes their instances, in other processes: `Readers`.

1. A process runs `main`. It takes pickled lists of tasks from standard input, and puts a list of results for each to
   standard output. It ends with its parent, whose end closes the pipes.
2. It is in a session of its own: Ctrl-C is for the parent, which lets what was read be stored.
3. A description is made of the encoded header. The columns of the instance come with it, as each instance needs them;
   those of its study and series are made when they are needed.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

from dimse.dataset.encoding import Encoding
from dimse.dataset.recognizing import NotDicom
from dimse.errors import DatasetError
from dimse.node.arrival import Arrival
from dimse.node.examining import Content, read
from dimse.node.keys import Claims, Columns, Description, describe, description_of
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN

T = TypeVar("T")

PROCESSES: Final = max(1, min(4, os.cpu_count() or 1))
"""Processes that read."""

CHUNK: Final = 32
"""Files that a process reads at a time."""


class Task(NamedTuple):
    """A file to read, and to copy into the new file `copy`."""

    path: str
    copy: str | None


class Read(NamedTuple):
    """A file that was read."""

    uids: tuple[str, str, str, str]
    """Of study, series, instance and SOP class."""
    modality: str
    claims: Claims
    columns: dict[str, Any]
    header: bytes
    header_syntax: str
    transfer_syntax_uid: str
    size: int
    offset: int
    digest: bytes
    changed_at: float
    """When the file was changed last, in seconds since 1970."""

    def arrival(self, path: str, source: str, *, is_in_place: bool, received_at: float) -> Arrival:
        """The arrival of it, in the file `path`."""
        return Arrival(
            description=_Described(self),
            transfer_syntax_uid=self.transfer_syntax_uid,
            path=path,
            is_in_place=is_in_place,
            size=self.size,
            offset=self.offset,
            digest=self.digest,
            source=source,
            received_at=received_at,
        )


class _Described:
    """What an instance says, of which a part was read out by another process."""

    def __init__(self, read: Read) -> None:
        self.study_uid, self.series_uid, self.uid, self.sop_class_uid = read.uids
        self.modality: Final = read.modality
        self._read = read

    @cached_property
    def _whole(self) -> Description:
        return describe(self._read.header, self._read.header_syntax)

    def claims(self) -> Claims:
        """What it says of its study."""
        return self._read.claims

    def study(self) -> Columns:
        """The row of its study."""
        return self._whole.study()

    def series(self) -> Columns:
        """The row of its series."""
        return self._whole.series()

    def requests(self) -> list[dict[str, str | None]]:
        """The rows of its Request Attributes Sequence."""
        return self._whole.requests()

    def name_words(self) -> frozenset[str]:
        """The folded words of all person names of patient and study."""
        return self._whole.name_words()

    def instance(self) -> dict[str, Any]:
        """The columns of its own row."""
        return dict(self._read.columns)


Result = Read | Exception
"""What became of a task: `DatasetError` or `OSError` if it could not be read; then there is no copy."""


def work(tasks: Sequence[Task]) -> list[Result]:
    """Do tasks in this process."""
    return [_read(*task) for task in tasks]


def _read(path: str, copy: str | None) -> Result:
    try:
        content = read(path, copy)
        try:
            return _described(content)
        except DatasetError:
            if copy is not None:
                Path(copy).unlink()
            raise
    except NotDicom as error:
        return NotDicom(str(error))
    except DatasetError as error:
        return DatasetError(str(error))
    except OSError as error:
        return error


def _described(content: Content) -> Read:
    header, syntax = content.header, content.transfer_syntax_uid
    found = description_of(header)
    return Read(
        uids=(found.study_uid, found.series_uid, found.uid, found.sop_class_uid),
        modality=found.modality,
        claims=found.claims(),
        columns=found.instance(),
        header=header.data[: header.end or len(header.data)],
        header_syntax=EXPLICIT_VR_LITTLE_ENDIAN if Encoding.of(syntax).big_endian else syntax,  # it was swapped
        transfer_syntax_uid=syntax,
        size=content.size,
        offset=content.offset,
        digest=content.digest,
        changed_at=content.changed_at,
    )


class Readers:
    """Processes that do tasks, inside the block; they begin with the first ones."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(PROCESSES, "dimse-readers")
        self._own = threading.local()
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()  # what it is doing is of no use any more
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            with suppress(BrokenPipeError), process:  # it has died, and left what it was asked
                pass

    def submit(self, tasks: Sequence[Task]) -> Future[list[Result]]:
        """Have tasks done. Those that are submitted at the same time are done side by side."""
        return self._threads.submit(self._ask, tasks)

    def results(self, asked: Iterable[tuple[T, Sequence[Task]]]) -> Iterator[tuple[T, list[Result]]]:
        """What became of tasks, in their order, each time with what they are about. Those behind are done meanwhile."""
        under_way: deque[tuple[T, Future[list[Result]]]] = deque()
        for about, tasks in asked:
            under_way.append((about, self.submit(tasks)))
            if len(under_way) > 2 * PROCESSES:
                first, done = under_way.popleft()
                yield first, done.result()
        for first, done in under_way:
            yield first, done.result()

    def _ask(self, tasks: Sequence[Task]) -> list[Result]:
        process: subprocess.Popen[bytes] | None = getattr(self._own, "process", None)
        if process is None:
            self._own.process = process = _start()
            self._processes.append(process)
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        assert process.stdout is not None  # noqa: S101 - as it
        try:
            pickle.dump(tasks, process.stdin)
            process.stdin.flush()
            found: list[Result] = pickle.load(process.stdout)  # noqa: S301 - of our own process
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            why = "a process that reads files was killed, as where memory is short; run the command again"
            raise ChildProcessError(why) from error
        return found


def _start() -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", f"from {__name__} import main; main()"]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)  # noqa: S603 - our own


def main() -> None:
    """Do tasks until standard input ends."""
    while True:
        try:
            tasks = pickle.load(sys.stdin.buffer)  # noqa: S301 - of our own parent
        except EOFError:
            return
        pickle.dump(work(tasks), sys.stdout.buffer)
        sys.stdout.buffer.flush()
