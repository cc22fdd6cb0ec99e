"""Programs of the user that run for what has arrived.

There is no shell. Values are put into an argument after the words were taken apart, so a value can neither add one nor
be taken apart. Two mistakes remain, and are refused: an argument that is a script, in which a value would be code (it
follows sh -c, or has white space or a sign of shells beside its placeholder), and a value that would make an option of
an argument.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_PLACEHOLDER: Final = re.compile(r"\{(\w*)\}")
_SCRIPT: Final = re.compile(r"[\s;&|<>`$()]")
"""What an argument with a placeholder has only if it is a script."""
_INTERPRETER: Final = re.compile(r"\w*sh|python[\d.]*|perl|ruby|node")
_TAKES_SCRIPT: Final = re.compile(r"-\w*[ce]")
"""Options of interpreters, whose argument is a script: sh -c, perl -e."""


class CommandLine:
    """A command whose arguments have placeholders in braces."""

    def __init__(self, words: Sequence[str], placeholders: Sequence[str]) -> None:
        """Raises `ValueError` if it cannot be run, or not safely."""
        self._arguments = list(words)
        if not self._arguments:
            raise ValueError("must name a program")
        for before, argument in zip(["", *self._arguments], self._arguments, strict=False):
            found = _PLACEHOLDER.findall(argument)
            unknown = [name for name in found if name not in placeholders]
            if unknown:
                raise ValueError(f"{{{unknown[0]}}} must be one of {', '.join(f'{{{name}}}' for name in placeholders)}")
            if found and (_SCRIPT.search(argument) or (self._is_interpreted and _TAKES_SCRIPT.fullmatch(before))):
                raise ValueError(
                    f"{{{found[0]}}} is inside a script, which could run its value; pass it as an argument of its own, "
                    f"as in sh -c 'process \"$1\"' sh {{{found[0]}}}"
                )
        if _PLACEHOLDER.search(self.program) or shutil.which(self.program) is None:
            raise ValueError(f"{self.program} is not an executable program")

    @property
    def _is_interpreted(self) -> bool:
        return any(_INTERPRETER.fullmatch(Path(argument).name) for argument in self._arguments)

    @property
    def program(self) -> str:
        """The program, as it was given."""
        return self._arguments[0]

    def filled(self, values: Mapping[str, str]) -> list[str]:
        """The arguments with values. Raises `ValueError` if one would become an option."""
        filled = [_PLACEHOLDER.sub(lambda match: values[match[1]], argument) for argument in self._arguments]
        for argument, given in zip(filled, self._arguments, strict=True):
            if argument.startswith("-") and not given.startswith("-"):
                raise ValueError(f"the value of {given} begins with a hyphen, and would be an option")
        return filled


async def run(words: Sequence[str], seconds: float) -> int:
    """Run a program, and return its exit code, which is negative for a signal.

    Its output goes to standard error, as standard output may be JSON. Raises `TimeoutError` after `seconds`, and
    `OSError` if it cannot be run. When it raises, also when it is cancelled, the program has been killed, with the
    processes that it has started.
    """
    output = asyncio.subprocess.DEVNULL if sys.stderr is None else sys.stderr.fileno()
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=output, start_new_session=True
    )
    try:
        async with asyncio.timeout(seconds):
            return await process.wait()
    finally:
        if process.returncode is None:
            _kill(process)
            await process.wait()


def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill it, with the processes that it has started."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def failure(code: int) -> str | None:
    """What an exit code says, in words; None for success."""
    if code < 0:
        names = {each.value: each.name for each in signal.Signals}
        return f"ended by {names.get(-code, f'signal {-code}')}"  # those of real time have no names
    return f"exit code {code}" if code else None
