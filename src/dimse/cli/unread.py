"""Output that may not be read: a command that serves peers must not wait for the reader of its lines."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from queue import Full, Queue
from typing import Final, TextIO, cast

MAXIMUM_LINES: Final = 1000
"""Lines that wait until they are read; more are dropped."""

_END: Final = 2.0
"""Seconds for the lines that wait at the end of the command."""


class _Unread(io.TextIOBase):
    """Takes the place of a stream. A thread writes the lines, each whole or not at all."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text: list[str] = []
        self._lines: Queue[bytes | None] = Queue(MAXIMUM_LINES)
        self._error: OSError | None = None
        # A daemon: at the end it may still wait for the reader.
        self._thread = threading.Thread(target=self._write_lines, daemon=True, name="output")
        self._thread.start()

    def _write_lines(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                while line:
                    line = line[os.write(self._stream.fileno(), line) :]
            except OSError as error:
                self._error = error
                return

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def write(self, text: str) -> int:
        self._text.append(text)
        return len(text)

    def flush(self) -> None:
        """Let the thread write what was written. Raises `BrokenPipeError` once the reader has exited."""
        text = "".join(self._text)
        self._text.clear()
        if not text:
            return
        if self._error is not None:
            raise self._error
        with suppress(Full):
            self._lines.put_nowait(text.encode(self.encoding, "backslashreplace"))

    def finish(self) -> None:
        """Wait for the lines that wait, but not long."""
        with suppress(Full):
            self._lines.put(None, timeout=_END)
        self._thread.join(_END)


@contextmanager
def never_waiting() -> Iterator[None]:
    """In the block, no line waits for its reader, on standard output or error; what is not read is dropped."""
    with ExitStack() as stack:
        for name in ("stdout", "stderr"):
            stream = cast("TextIO", getattr(sys, name))
            stream.flush()
            unread = _Unread(stream)
            setattr(sys, name, unread)
            stack.callback(unread.finish)
            stack.callback(setattr, sys, name, stream)
        yield
