"""The log of a command on standard error."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any, Final, TextIO

from dimse.cli.output import drop_output, printable, printable_lines, reason

_LEVELS: Final = (logging.WARNING, logging.INFO, logging.DEBUG)


def log_to_stderr(verbosity: int) -> None:
    """Log warnings; with `verbosity` 1 also information, with 2 each PDU."""
    level = _LEVELS[min(verbosity, 2)]
    is_detailed = level == logging.DEBUG
    handler = _StderrHandler()
    text = "%(asctime)s %(name)s: %(message)s" if is_detailed else "dimse: %(message)s"
    handler.setFormatter(_Escaped(text, with_traceback=is_detailed))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("dimse").setLevel(level)
    # pydicom's messages may quote values, which are a patient's.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")


def shows_tracebacks() -> bool:
    """Whether unexpected errors are shown with their traceback, as with -vv."""
    return logging.getLogger("dimse").isEnabledFor(logging.DEBUG)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current standard error, which a progress bar replaces while it is shown."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, stream: TextIO) -> None: ...

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Go on without a log if its reader has exited."""
        if isinstance(sys.exception(), BrokenPipeError):
            drop_output(sys.stderr)
        else:
            super().handleError(record)


class _Escaped(logging.Formatter):
    """Escapes what a terminal would obey. Without tracebacks, an exception is shown as its reason, on the same line."""

    def __init__(self, text: str, *, with_traceback: bool) -> None:
        super().__init__(text)
        self._with_traceback = with_traceback

    def format(self, record: logging.LogRecord) -> str:
        if self._with_traceback or not record.exc_info or record.exc_info[1] is None:
            return super().format(record)
        plain = logging.makeLogRecord(record.__dict__)
        plain.exc_info = plain.exc_text = None
        return f"{super().format(plain)}: {printable(reason(record.exc_info[1]))}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's own name
        return printable_lines(super().formatException(ei))
