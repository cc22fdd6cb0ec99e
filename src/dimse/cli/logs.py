"""The log of a command: on standard error, in a file, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from dimse.cli.output import printable, printable_lines, reason
from dimse.errors import DimseError

_LEVELS: Final = (logging.WARNING, logging.INFO, logging.DEBUG, logging.DEBUG)
_PDUS: Final = 3
"""The verbosity that shows PDUs."""

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""The attributes of each log record. The others are fields of ours."""

_own = logging.getLogger("dimse.cli")
"""What the command itself prints on standard error, for the file."""


def begin(parameters: dict[str, Any]) -> None:
    """Begin to log as the parsed arguments say, which are taken out of them. Raises `OSError` for the file."""
    verbosity = parameters.pop("verbose", 0) + parameters.pop("more_verbose", 0)
    path, as_json = parameters.pop("log_file", None), parameters.pop("log_json", False)
    log_to_stderr(verbosity, as_json=as_json and path is None)
    if path is not None:
        _log_to_file(path, as_json=as_json)


def log_to_stderr(verbosity: int, *, as_json: bool = False) -> None:
    """Log warnings; with `verbosity` 1 also operations, with 2 commands, with 3 PDUs."""
    level = _LEVELS[min(verbosity, _PDUS)]
    is_detailed = level == logging.DEBUG
    handler = _StderrHandler(level)
    handler.addFilter(lambda record: record.name != _own.name)  # it is printed already
    handler.setFormatter(_Json() if as_json else _Text("%H:%M:%S" if verbosity else None, with_traceback=is_detailed))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("dimse").setLevel(level)
    logging.getLogger("dimse.upper_layer").setLevel(logging.NOTSET if verbosity >= _PDUS else logging.INFO)
    # pydicom's messages may quote values, which are a patient's.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")


def _log_to_file(path: str, *, as_json: bool) -> None:
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(_Json() if as_json else _Text("%Y-%m-%dT%H:%M:%S", with_traceback=True))
    logging.getLogger().addHandler(handler)
    logging.getLogger("dimse").setLevel(logging.DEBUG)


def note_failure(error: Exception) -> None:
    """Log in the file why the command has failed, which standard error has already."""
    is_expected = isinstance(error, DimseError | OSError)
    _own.error("%s", reason(error), exc_info=None if is_expected else error)


def shows_tracebacks() -> bool:
    """Whether unexpected errors are shown with their traceback, as with -vv."""
    shown = [each for each in logging.getLogger().handlers if isinstance(each, _StderrHandler)]
    return any(each.level <= logging.DEBUG for each in shown)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current standard error, which a progress bar replaces while it is shown."""

    def __init__(self, level: int) -> None:
        logging.Handler.__init__(self, level)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, stream: TextIO) -> None: ...


class _Text(logging.Formatter):
    """Lines with time, number of the association and message; `date_format` None is for warnings alone.

    They are escaped, as a terminal would obey what peers send. Without tracebacks, an exception is shown as its reason,
    on the same line.
    """

    def __init__(self, date_format: str | None, *, with_traceback: bool) -> None:
        super().__init__(datefmt=date_format)
        self._with_traceback = with_traceback

    def format(self, record: logging.LogRecord) -> str:
        if self._with_traceback or not record.exc_info or record.exc_info[1] is None:
            return super().format(record)
        plain = logging.makeLogRecord(record.__dict__)
        plain.exc_info = plain.exc_text = None
        return f"{super().format(plain)}: {printable(reason(record.exc_info[1]))}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        if self.datefmt is None:
            return printable(f"dimse: {record.message}")
        association = getattr(record, "association", None)
        words = [f"{self.formatTime(record, self.datefmt)}.{int(record.msecs):03d}"]
        words += [] if record.levelno < logging.WARNING else [f"{record.levelname}:"]
        words += [] if association is None else [f"#{association}"]
        return printable(" ".join([*words, record.message]))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's own name
        return printable_lines(super().formatException(ei))


class _Json(logging.Formatter):
    """A JSON object for each record, with its fields."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {"time": time, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        fields |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str).replace("\x7f", "\\u007f")
