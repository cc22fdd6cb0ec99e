"""Processes that are measured: processor time and peak memory as the kernel counted them when they ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from programs import Program

TIMEOUT: Final = 300.0
"""Seconds after which a process is ended, and the run has failed."""

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Usage:
    """What a process took, all of it from its start to its end."""

    seconds: float
    cpu_seconds: float
    peak_memory: int
    """Bytes resident."""
    exit_code: int
    output: str


class Running:
    """A process in a group of its own, which ends with the `with` block at the latest."""

    def __init__(self, program: Program) -> None:
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
        self._start = time.perf_counter()
        self._process = subprocess.Popen(
            program.command,
            env=os.environ | program.environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._name = program.command
        self._usage: Usage | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._usage is None:
            self._signal(signal.SIGKILL)
            self._reap()
        self._output.close()

    def wait(self) -> Usage:
        """Wait until it ends by itself."""
        watchdog = threading.Timer(TIMEOUT, self._signal, [signal.SIGKILL])
        watchdog.start()
        try:
            usage = self._reap()
        finally:
            watchdog.cancel()
        if usage.exit_code:
            raise RuntimeError(f"{self._name[:6]} ended with {usage.exit_code}: {usage.output[-2000:]}")
        return usage

    def stop(self) -> Usage:
        """End it."""
        self._signal(signal.SIGTERM)
        return self._reap()

    def wait_for_port(self, port: int) -> None:
        """Wait until it listens."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    time.sleep(0.1)  # it may want to write a line about that
                    return
            if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                raise RuntimeError(f"{self._name} ended: {self._reap().output[-2000:]}")
            time.sleep(0.02)
        raise RuntimeError(f"{self._name} does not listen on {port}")

    def cpu_seconds(self) -> float:
        """Processor time so far; 0 where that cannot be known from outside."""
        if not sys.platform.startswith("linux"):
            return 0.0
        with open(f"/proc/{self._process.pid}/stat") as file:  # noqa: PTH123 - no file of ours
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Bytes resident now; 0 where that cannot be known from outside."""
        if not sys.platform.startswith("linux"):
            return 0
        with open(f"/proc/{self._process.pid}/statm") as file:  # noqa: PTH123 - no file of ours
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def wait_for_line(self, line: str) -> None:
        """Wait until it has printed just this."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            size = os.fstat(self._output.fileno()).st_size
            if line in os.pread(self._output.fileno(), size, 0).decode().splitlines():
                return
            if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break
            time.sleep(0.02)
        self._signal(signal.SIGKILL)
        raise RuntimeError(f"{self._name[:6]} did not print {line!r}: {self._reap().output[-2000:]}")

    def _signal(self, number: int) -> None:
        os.killpg(self._process.pid, number)

    def _reap(self) -> Usage:
        _, status, resources = os.wait4(self._process.pid, 0)
        seconds = time.perf_counter() - self._start
        code = self._process.returncode = os.waitstatus_to_exitcode(status)
        self._output.seek(0)
        cpu, memory = resources.ru_utime + resources.ru_stime, resources.ru_maxrss * _RSS_UNIT
        self._usage = Usage(seconds, cpu, memory, code, self._output.read())
        return self._usage


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
