"""Commands that `dimse receive` runs for what has arrived.

The text of an option is split into arguments once, at the start; `programs` says how values get into them.

Commands run a few at once. The others wait in a queue, and while it is full no C-STORE is answered: a slow command
slows the senders down, and nothing is forgotten.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from argparse import ArgumentParser
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from dimse import programs
from dimse.cli import arguments
from dimse.cli.output import reason
from dimse.dataset.file_writer import Stored
from dimse.programs import CommandLine
from dimse.services.server import Server
from dimse.services.store_request import StoreRequest
from dimse.services.study_completion import StudyComplete, StudyHandler

MAXIMUM_WAITING: Final = 1000
"""Commands that wait to be run. While there are more, C-STORE is answered later."""

_NOT_RUN: Final = "not run, because of a second signal"

_OF_OBJECT: Final = (
    "path",
    "folder",
    "StudyInstanceUID",
    "SOPInstanceUID",
    "SOPClassUID",
    "TransferSyntaxUID",
    "calling",
    "called",
)
_OF_STUDY: Final = ("folder", "StudyInstanceUID", "instances", "calling")


@dataclass(frozen=True, eq=False)
class Job:
    """A command to be run."""

    command: CommandLine
    values: Mapping[str, str]
    subject: str
    """The file or the folder that it is for."""
    study: str | None = None
    """If it is for a study: no two commands run for a study at once."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    job: Job
    seconds: float
    exit_code: int | None = None
    """None if it was not run."""
    error: str | None = None
    """What failed, in words."""


Report = Callable[[Outcome], None]

Action = Callable[[StoreRequest, Path], Awaitable[None]]
"""What is done with a received file before its C-STORE is answered, with Success if nothing is raised."""


class Commands:
    """Runs commands, up to `jobs` at once, each for up to `seconds`, and reports how each ended."""

    def __init__(self, report: Report, *, jobs: int, seconds: float) -> None:
        self._report = report
        self._jobs = jobs
        self._seconds = seconds
        self._waiting: deque[Job] = deque()
        self._running: dict[asyncio.Task[None], Job] = {}
        self._ended = asyncio.Event()
        """A command has ended since it was last cleared."""

    def __len__(self) -> int:
        """How many run or wait."""
        return len(self._waiting) + len(self._running)

    async def add(self, job: Job) -> None:
        """Run a command. Returns at once, or when there is room in the queue."""
        if self._jobs == 0:
            self._report(Outcome(job, 0, error=_NOT_RUN))
            return
        self._waiting.append(job)
        self._start()
        while len(self._waiting) > MAXIMUM_WAITING:
            self._ended.clear()
            await self._ended.wait()

    def _start(self) -> None:
        while len(self._running) < self._jobs and (job := self._next()) is not None:
            self._waiting.remove(job)
            task = asyncio.get_running_loop().create_task(self._run(job))
            self._running[task] = job
            task.add_done_callback(self._end)

    def _next(self) -> Job | None:
        studies = {job.study for job in self._running.values()} - {None}
        return next((job for job in self._waiting if job.study not in studies), None)

    def _end(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._ended.set()
        self._start()

    async def _run(self, job: Job) -> None:
        began = perf_counter()
        code = error = None
        try:
            code = await programs.run(job.command.filled(job.values), self._seconds)
            error = programs.failure(code)
        except TimeoutError:
            error = f"killed after {self._seconds:g} s (--exec-timeout)"
        except (OSError, ValueError) as problem:
            error = f"not run: {reason(problem) if isinstance(problem, OSError) else problem}"
        except asyncio.CancelledError:
            error = "killed by a second signal"
        self._report(Outcome(job, perf_counter() - began, code, error))

    async def finish(self) -> None:
        """Wait until all have ended."""
        while self._running:
            await asyncio.wait(self._running)

    def kill(self) -> None:
        """Kill those that run, and run no others."""
        self._jobs = 0
        while self._waiting:
            self._report(Outcome(self._waiting.popleft(), 0, error=_NOT_RUN))
        self._ended.set()
        for task in self._running:
            task.cancel()


def _parsed(text: str, placeholders: Sequence[str]) -> CommandLine:
    """The command of an option. Raises `ValueError` if it cannot be run, or not safely."""
    return CommandLine(shlex.split(text), placeholders)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options about commands."""
    group = parser.add_argument_group("commands on arrival")
    for option, dest, text, placeholders in (
        ("--exec", "on_object", "each object that is stored", _OF_OBJECT),
        ("--exec-study", "on_study", "each complete study", _OF_STUDY),
    ):
        group.add_argument(
            option,
            dest=dest,
            metavar="COMMAND",
            type=arguments.checked(lambda text, known=placeholders: _parsed(text, known)),  # type: ignore[misc]
            help=f"Run this command for {text}. There is no shell. Placeholders in its arguments: "
            f"{', '.join(f'{{{name}}}' for name in placeholders)}.",
        )
    group.add_argument(
        "--study-quiet",
        metavar="SECONDS",
        type=arguments.seconds,
        default=30,
        help="A study is complete when none of its objects has arrived for this many seconds.",
    )
    group.add_argument(
        "--exec-jobs",
        metavar="N",
        type=arguments.integer_from(1),
        default=2,
        help="Maximum number of commands at once.",
    )
    group.add_argument(
        "--exec-timeout",
        metavar="SECONDS",
        type=arguments.seconds,
        default=600,
        help="Kill a command that runs longer than this.",
    )


@dataclass(frozen=True)
class Chosen:
    """The values of the options."""

    on_object: CommandLine | None
    on_study: CommandLine | None
    study_quiet: float
    exec_jobs: int
    exec_timeout: float


class OnArrival:
    """The commands for what arrives in a folder, under the names of a template."""

    def __init__(self, chosen: Chosen, report: Report, folder: Path, template: str) -> None:
        self.commands = Commands(report, jobs=chosen.exec_jobs, seconds=chosen.exec_timeout)
        self.actions = [] if chosen.on_object is None else [self._for_object(chosen.on_object)]
        """What to do with each received file."""
        self._chosen = chosen
        self._folder = folder.absolute()
        self._depth = _depth_of_study(template)

    def register(self, server: Server) -> None:
        """Let the server say which studies are complete."""
        if self._chosen.on_study is not None:
            server.on_study_complete(quiet=self._chosen.study_quiet)(self._for_study(self._chosen.on_study))

    def _for_object(self, command: CommandLine) -> Action:
        """Runs a command for a received file, unless it was stored before."""

        async def run(request: StoreRequest, path: Path) -> None:
            if request.stored in (Stored.NEW, Stored.REPLACED):
                await self.commands.add(self._job(command, request, path.absolute()))  # noqa: ASYNC240 - no file access

        return run

    def _job(self, command: CommandLine, request: StoreRequest, path: Path) -> Job:
        values = {
            "path": str(path),
            "folder": str(path.parent),
            "StudyInstanceUID": request.study_instance_uid or "",
            "SOPInstanceUID": request.sop_instance_uid,
            "SOPClassUID": request.sop_class_uid,
            "TransferSyntaxUID": request.transfer_syntax_uid,
            "calling": request.association.calling_ae_title,
            "called": request.association.called_ae_title,
        }
        return Job(command, values, path.relative_to(self._folder).as_posix())

    def _for_study(self, command: CommandLine) -> StudyHandler:
        """The handler that runs a command for a complete study."""

        async def run(study: StudyComplete) -> None:
            folder = self._folder_of(study)
            values = {
                "folder": str(folder),
                "StudyInstanceUID": study.study_instance_uid,
                "instances": str(study.instances),
                "calling": ",".join(study.calling_ae_titles),
            }
            subject = folder.relative_to(self._folder).as_posix()
            await self.commands.add(Job(command, values, subject, study.study_instance_uid))

        return run

    def _folder_of(self, study: StudyComplete) -> Path:
        """The folder that the template makes for the study, or else the innermost one with all of its files."""
        paths = [path.absolute() for path in study.paths]
        if self._depth is None:
            return Path(os.path.commonpath([path.parent for path in paths]))
        folders = [self._folder.joinpath(*path.relative_to(self._folder).parts[: self._depth]) for path in paths]
        return Path(os.path.commonpath(folders))


def _depth_of_study(template: str) -> int | None:
    """How far down the folder is that a template names by the study; None if there is none."""
    folders = template.split("/")[:-1]
    return next((depth for depth, name in enumerate(folders, 1) if "{StudyInstanceUID}" in name), None)
