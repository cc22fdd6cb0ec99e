"""Progress bars are shown on a terminal only."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import suppress

import pytest

from dimse.cli import output
from dimse.cli.progress import CounterBar, TransferBar

ERASED = "\x1b[2K"
"""The line is empty again."""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(show: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> str:
    """What a terminal gets."""
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", terminal)
        show()
    return terminal.getvalue()


def transfer() -> None:
    bar = TransferBar()
    bar.add_object()  # before the transfer: not part of it
    with bar.shown(2000, 2):
        bar.update(1000, 500.0, 4000)
        bar.add_object()
    bar.update(2000, 500.0, 4000)


def counters() -> None:
    bar = CounterBar("Finding")
    with bar.shown():
        bar.update(1, 3, "1 of 3")
    bar.update(3, 3, "3 of 3")


def test_bytes_and_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(transfer, monkeypatch)
    assert "Sending" in text
    assert "1/2 objects" in text
    assert "500 bytes/s" in text


def test_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(counters, monkeypatch)
    assert "Finding" in text
    assert "1 of 3" in text
    assert "3 of 3" not in text


def test_bytes_have_the_unit_of_their_total(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is known when they are sent, not before."""
    assert "1.0/4.0 KB" in shown(transfer, monkeypatch)


def test_a_bar_that_did_not_move_vanishes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        with suppress(OSError), TransferBar().shown(2000, 2):
            raise OSError

    assert not shown(transfer, monkeypatch).endswith(ERASED)
    assert shown(refused, monkeypatch).endswith(ERASED)


def test_what_is_printed_beside_a_bar_goes_to_its_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def printing() -> None:
        with CounterBar("Finding").shown():
            output.print_line("a match")

    assert "a match" not in shown(printing, monkeypatch)
    assert capsys.readouterr().out == "a match\n"


def test_nothing_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    transfer()
    counters()
    assert capsys.readouterr() == ("", "")
