"""Programs that run for what has arrived."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from dimse import programs
from dimse.programs import CommandLine

PLACEHOLDERS = ("path", "calling")

SHELL = pytest.mark.skipif(sys.platform == "win32", reason="needs sh")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "must name a program"),
        (["no-such-program", "{path}"], "no-such-program is not an executable program"),
        (["{path}"], r"\{path} is not an executable program"),
        (["echo", "{PatientName}"], r"\{PatientName} must be one of \{path}, \{calling}"),
        (["sh", "-c", "rm {path}"], r"\{path} is inside a script, which could run its value"),
        (["sh", "-c", "wc<{path}"], r"\{path} is inside a script, which could run its value"),
        (["env", "bash", "-lc", "{calling}"], r"\{calling} is inside a script, which could run its value"),
    ],
)
def test_what_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CommandLine(words, PLACEHOLDERS)


def test_values_stay_what_they_are() -> None:
    command = CommandLine([sys.executable, "--to={path}", "{calling}"], PLACEHOLDERS)
    values = {"path": "/a b/$(id)/{calling}", "calling": "A'B; rm"}
    assert command.filled(values) == [sys.executable, "--to=/a b/$(id)/{calling}", "A'B; rm"]
    with pytest.raises(ValueError, match=r"the value of \{calling\} begins with a hyphen, and would be an option"):
        command.filled(values | {"calling": "--delete"})


@SHELL
async def test_a_program_that_is_cancelled_is_killed_with_its_children(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as it is where it was closed
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    task = asyncio.create_task(programs.run(["sh", "-c", 'cat "$1" & wait', "sh", str(gate)], 60))
    with await asyncio.to_thread(gate.open, "wb", 0) as pipe:  # returns when the child has opened it
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with suppress(BrokenPipeError):
            while pipe.write(b"."):  # noqa: ASYNC110 - it says so by an error
                await asyncio.sleep(0)


@SHELL
async def test_a_program_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(TimeoutError):
        await programs.run(["sleep", "60"], 0.01)


@SHELL
@pytest.mark.parametrize(
    ("script", "said"), [("exit 0", None), ("exit 3", "exit code 3"), ("kill -9 $$", "ended by SIGKILL")]
)
async def test_how_it_ended(monkeypatch: pytest.MonkeyPatch, script: str, said: str | None) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert programs.failure(await programs.run(["sh", "-c", script], 60)) == said
