"""Words that the commands share."""

from __future__ import annotations

import pytest

from dimse import DatasetError
from dimse.cli.output import about, counted, printable, reason, size


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
    assert about("x.dcm", DatasetError("cut short")) == "x.dcm: cut short"
    assert about("x.dcm", DatasetError("x.dcm: cut short")) == "x.dcm: cut short"
