"""Words that the commands share."""

from __future__ import annotations

import asyncio

import pytest

from dimse import DatasetError
from dimse.cli.output import counted, printable, reason, reason_of_end, reason_with_causes, reason_with_name, size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 KB"),
        (999_949, "999.9 KB"),
        (999_951, "1.0 MB"),
        (2e12, "2.0 TB"),
    ],
)
def test_size(count: float, text: str) -> None:
    assert size(count) == text


def test_counted() -> None:
    assert [counted(count, "object") for count in (0, 1, 2)] == ["0 objects", "1 object", "2 objects"]


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable("a\x1b[31mé\n\udc80") == "a\\x1b[31mé\\n\\udc80"


def test_a_reason_is_in_words() -> None:
    assert reason(FileNotFoundError(2, "No such file", "x.dcm")) == "x.dcm: No such file"
    assert reason(DatasetError("cut short")) == "cut short"
    assert reason(KeyError("x")) == "KeyError: 'x'"
    assert reason(TimeoutError()) == "TimeoutError"


def test_a_file_is_named_once() -> None:
    assert reason_with_name("x.dcm", DatasetError("cut short")) == "x.dcm: cut short"
    assert reason_with_name("x.dcm", DatasetError("x.dcm: cut short")) == "x.dcm: cut short"


def test_causes_that_the_text_does_not_mention_are_added() -> None:
    error = DatasetError("cannot be written")
    error.__cause__ = PermissionError(13, "Permission denied", "x.dcm")
    assert reason_with_causes(error) == "cannot be written: x.dcm: Permission denied"
    error.__cause__ = DatasetError("cannot be")
    assert reason_with_causes(error) == "cannot be written"


def test_why_a_command_ended_early() -> None:
    assert reason_of_end(BaseExceptionGroup("", [asyncio.CancelledError()])) == "interrupted"
    assert reason_of_end(ExceptionGroup("two", [DatasetError("first"), DatasetError("second")])) == "first"
