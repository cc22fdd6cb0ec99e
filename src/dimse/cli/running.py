"""An event loop for a command, its log, and the exit codes."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar

from dimse.cli.output import complain, printable, printable_lines, reason

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NO_ASSOCIATION: Final = 3
INTERRUPTED: Final = 130

EXIT_CODES: Final = (
    "0 all is well; 1 something was refused or failed, and is named; 2 wrong usage; 3 no association; 130 interrupted."
)

T = TypeVar("T")

verbosity = 0
"""How many -v there were; set once, by `log_to_stderr`."""


class UsageError(Exception):
    """Wrong usage of the command line; the message is for the user."""


def run(main: Coroutine[Any, Any, T], *, fast: bool = True) -> T:
    """Run `main`, on uvloop where it is installed. `fast=False` is for what ends before uvloop is even loaded."""
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if fast and find_spec("uvloop") is not None:
        import uvloop

        loop_factory = uvloop.new_event_loop
    gc.freeze()  # what is imported stays: a full collection need not look at it again, which takes 10 ms each time
    runner = asyncio.Runner(loop_factory=loop_factory)
    result = runner.run(main)
    runner.close()  # but not after a KeyboardInterrupt: that would wait for its threads
    return result


async def interrupted(work: Coroutine[Any, Any, None]) -> bool:
    """Do `work`, and say whether Ctrl-C ended it.

    The work is cancelled, and the C-CANCEL that this sends is given the time that it takes. What is around it goes
    on, so that an association is released and not aborted.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        complain("dimse: interrupted; Ctrl-C again does not wait for the peer to stop")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return True
    return False


@contextmanager
def telling(tell: Callable[[T], object]) -> Iterator[Callable[[T], None]]:
    """`tell` as a callback for the job inside. When the output pipe is closed, the job is cancelled.

    Then `BrokenPipeError` is raised.
    """
    task, broken = asyncio.current_task(), list[BrokenPipeError]()

    def tell_or_cancel(value: T) -> None:
        try:
            if not broken:
                tell(value)
        except BrokenPipeError as error:
            broken.append(error)
            if task is not None:
                task.cancel()

    try:
        yield tell_or_cancel
    except asyncio.CancelledError:
        if not broken:
            raise
    if broken:
        raise broken[0]


def why(error: BaseException) -> str:
    """Why a whole command ended early."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return "interrupted" if isinstance(error, asyncio.CancelledError) else reason(error)


def make_folder(into: Path) -> None:
    """Make the folder that a command writes to. Raises `UsageError` or `OSError`."""
    if into.exists() and not into.is_dir():
        raise UsageError(f"--into {into}: not a folder")
    into.mkdir(parents=True, exist_ok=True)
    if not os.access(into, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "this folder cannot be written to", str(into))


@contextmanager
def usage() -> Iterator[None]:
    """A ValueError inside is about what the user typed."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from None


def log_to_stderr(verbose: int) -> None:
    """Warnings to standard error; with `verbose` 1 information too, with 2 a line per PDU."""
    global verbosity
    verbosity = verbose
    handler = _StderrHandler()
    handler.setFormatter(_OneLine("dimse: %(message)s" if verbose < 2 else "%(asctime)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("dimse").setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)])
    # pydicom's messages may quote values, which are a patient's.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current standard error, which a progress bar replaces to stay below the text."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, stream: TextIO) -> None: ...


class _OneLine(logging.Formatter):
    """Shows an exception as its reason, and its traceback only with -vv."""

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info and record.exc_info[1] is not None and verbosity < 2:
            plain = logging.makeLogRecord(record.__dict__)
            plain.exc_info = plain.exc_text = None
            return f"{super().format(plain)}: {printable(reason(record.exc_info[1]))}"
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's own name
        return printable_lines(super().formatException(ei))
