"""The `dimse` commands that the demo runs, each in a process of its own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import IO, Any


def run_command(*arguments: str) -> int:
    """Run a command on this terminal, as a user would. Returns its exit code."""
    return subprocess.run(_announced(*arguments), check=False).returncode  # noqa: S603 - our own


def _announced(*arguments: str) -> list[str]:
    """Print the command as a user would type it. Returns the same as a command of this interpreter."""
    print(f"\n$ {shlex.join(['dimse', *arguments])}", flush=True)
    return [sys.executable, "-m", "dimse", *arguments]


class Receiver:
    """A `dimse receive --json` in another process."""

    def __init__(self, process: subprocess.Popen[str], lines: IO[str]) -> None:
        self.port = 0
        """0 if it did not start."""
        self.received: dict[str, Mapping[str, Any]] = {}
        """The JSON object of each stored instance, by SOP Instance UID."""
        self._process = process
        self._lines = lines
        first = lines.readline()
        if first:
            self.port = json.loads(first).get("port", 0)  # none if it failed
            print(first, end="", flush=True)
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._lines:
            event = json.loads(line)
            if event["event"] == "stored":
                self.received[event["sop_instance_uid"]] = event

    def stop(self) -> None:
        """Let it finish and end, and read the rest of its output."""
        self._process.terminate()
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._thread.join(10)
        self._lines.close()


@contextmanager
def receiver(folder: Path, title: str) -> Iterator[Receiver]:
    """A receiver on a free port that writes into `folder`. Raises `OSError` if it does not start."""
    command = _announced("receive", "--port", "0", "--title", title, "--into", str(folder), "--json")
    environment = os.environ | {"PYTHONUTF8": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment)  # noqa: S603
    assert process.stdout is not None  # noqa: S101 - asked for above
    started = Receiver(process, process.stdout)
    try:
        if started.port == 0:
            raise OSError("the receiver did not start")
        yield started
    finally:
        started.stop()
