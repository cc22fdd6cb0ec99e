"""The log of a command on standard error."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dimse.cli import logs


def log_to_stderr(verbosity: int) -> None:
    """As in a process of its own, without the handlers of the tests."""
    logging.getLogger().handlers.clear()
    logs.log_to_stderr(verbosity)


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [
        (0, ["warning"]),
        (1, ["info", "warning"]),
        (2, ["debug", "info", "warning"]),
        (3, ["pdu", "debug", "info", "warning"]),
        (9, None),
    ],
)
def test_each_v_logs_more(verbosity: int, shown: list[str] | None, capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(verbosity)
    logger = logging.getLogger("dimse.network")
    logging.getLogger("dimse.upper_layer").debug("pdu")
    logger.debug("debug")
    logger.info("info")
    logger.warning("warning")
    lines = capsys.readouterr().err.splitlines()
    assert [line.rsplit(maxsplit=1)[-1] for line in lines] == (shown or ["pdu", "debug", "info", "warning"])
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


def test_lines_have_the_time_without_the_date_and_the_number_of_the_association(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_to_stderr(1)
    logging.getLogger("dimse.network").info("opened", extra={"association": 3})
    logging.getLogger("dimse.network").warning("odd")
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d\d\d #3 opened", first)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d\d\d WARNING: odd", second)


def test_a_file_has_the_details_and_standard_error_what_was_asked_for(
    dimse: Callable[..., Any], receiver: Any, tmp_path: Path
) -> None:
    file = tmp_path / "log.txt"
    for _ in range(2):
        done = dimse("echo", receiver.address, "--log-file", file)
        assert (done.code, done.err) == (0, "")
    text = file.read_text()
    assert text.count("> C-ECHO-RQ  Message ID 1") == 2
    assert "P-DATA-TF" not in text
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} #\d+ ", text)


def test_a_file_has_the_error_too(dimse: Callable[..., Any], closed_port: int, tmp_path: Path) -> None:
    file = tmp_path / "log.json"
    done = dimse("echo", f"A@127.0.0.1:{closed_port}", "--log-file", file, "--log-json")
    assert done.code == 3
    assert done.err.count("\n") == 1
    *_, last = map(json.loads, file.read_text().splitlines())
    assert (last["level"], last["logger"]) == ("ERROR", "dimse.cli")
    assert last["message"] in done.err


def test_a_file_that_cannot_be_written_is_an_error(dimse: Callable[..., Any], tmp_path: Path) -> None:
    done = dimse("echo", "A@127.0.0.1:1", "--log-file", tmp_path / "none" / "log")
    assert done.code == 1
    assert done.err.endswith("log: No such file or directory\n")


def test_json_has_the_fields(dimse: Callable[..., Any], receiver: Any, tmp_path: Path) -> None:
    done = dimse("echo", "-v", "--log-json", receiver.address)
    records = [json.loads(line) for line in done.err.splitlines()]
    (echo,) = [each for each in records if each.get("event") == "operation-ended"]
    assert (echo["operation"], echo["status"], echo["level"]) == ("C-ECHO", "0x0000", "INFO")
    assert echo["seconds"] > 0
    assert {each["association"] for each in records} == {echo["association"]}
    assert {"calling_ae_title", "called_ae_title", "peer", "message_id", "time", "logger"} <= echo.keys()
