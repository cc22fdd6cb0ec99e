"""Python programs that start fast, on Linux: forked from a process that has imported what they need."""

from __future__ import annotations

import os
import secrets
import shlex
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

_FORKED: Final = Path(__file__).with_name("forked.py")
_FORKING: Final = Path(__file__).with_name("forking.py")
_TIMEOUT: Final = 50


class Forks:
    """Starts programs in place of Python, from a process that has imported the modules."""

    def __init__(self, *modules: str) -> None:
        self._modules = modules
        self._address = Path(tempfile.gettempdir(), f"dimse-tests-{secrets.token_hex(8)}")
        self._program = self._address.with_suffix(".sh")
        self._process: subprocess.Popen[bytes] | None = None
        forked = ["-I", "-S", str(_FORKED), str(self._address)] if sys.platform == "linux" else []
        self.command: Final = [sys.executable, *forked]
        """After `start`. Then come the arguments of Python: `-m MODULE` or the path of a program, and its own."""

    def start(self) -> None:
        """Start the process, unless it runs."""
        if sys.platform != "linux" or self._process is not None:
            return
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self._address))
            listener.listen()
            self._process = subprocess.Popen(  # noqa: S603 - our own
                [sys.executable, "-P", str(_FORKING), str(listener.fileno()), *self._modules],
                stdin=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # of numpy: threads are not forked
            )

    def stop(self) -> None:
        """End the process, if it runs."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_TIMEOUT)
            self._process = None
            self._address.unlink()
            self._program.unlink(missing_ok=True)

    def program(self) -> str:
        """One path that does what `command` does, after it has started the process if need be."""
        self.start()
        if self._process is None:
            return sys.executable
        if not self._program.exists():
            self._program.write_text(f'#!/bin/sh\nexec {shlex.join(self.command)} "$@"\n', encoding="utf-8")
            self._program.chmod(0o700)
        return str(self._program)
