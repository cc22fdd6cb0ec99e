"""The log of a command on standard error."""

from __future__ import annotations

import logging

import pytest

from dimse.cli import logs


def log_to_stderr(verbosity: int) -> None:
    """As in a process of its own, without the handlers of the tests."""
    logging.getLogger().handlers.clear()
    logs.log_to_stderr(verbosity)


@pytest.mark.parametrize(
    ("verbosity", "shown"), [(0, ["warning"]), (1, ["info", "warning"]), (2, ["debug", "info", "warning"]), (9, None)]
)
def test_each_v_logs_more(verbosity: int, shown: list[str] | None, capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(verbosity)
    logger = logging.getLogger("dimse.network")
    logger.debug("debug")
    logger.info("info")
    logger.warning("warning")
    lines = capsys.readouterr().err.splitlines()
    assert [line.rsplit(maxsplit=1)[-1] for line in lines] == (shown or ["debug", "info", "warning"])
    assert logs.shows_tracebacks() == (verbosity > 1)


def test_an_exception_is_its_reason_and_with_vv_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(0)
    logging.getLogger("dimse").error("it failed", exc_info=ValueError("bad"))
    assert capsys.readouterr().err == "dimse: it failed: ValueError: bad\n"
    log_to_stderr(2)
    logging.getLogger("dimse").error("it failed", exc_info=ValueError("bad"))
    assert capsys.readouterr().err.splitlines()[-1] == "ValueError: bad"


def test_messages_of_pydicom_which_may_quote_values_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(2)
    logging.getLogger("pydicom").warning("Invalid value for VR PN: 'Doe'")
    assert capsys.readouterr().err == ""
