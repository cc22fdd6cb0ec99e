"""What the command line says of itself, and of wrong usage."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dimse.cli.app import run

HIDE = """
import sys
from importlib.abc import MetaPathFinder
class Hidden(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "rich":
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Hidden())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "rich" else found(name, *rest)
sys.argv = ["dimse", "--help"]
from dimse.__main__ import main
main()
"""

COMMANDS = ("echo", "send", "receive", "find", "get", "move", "retrieve", "demo")

# What only prints runs in this process, through the same function as the script does: there is much of it.


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_of_each_command_tells_the_exit_codes(capfd: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert run([*command, "--help"]) == 0
    text = " ".join(capfd.readouterr().out.split())
    assert "Exit codes: 0 " in text
    assert "; 1 " in text
    assert "; 2 wrong usage" in text
    assert "130 " in text


@pytest.mark.parametrize("command", COMMANDS)
def test_defaults_are_shown_as_they_are_typed(capfd: pytest.CaptureFixture[str], command: str) -> None:
    assert run([command, "--help"]) == 0
    defaults = re.findall(r"\[default: ([^]]*)\]", " ".join(capfd.readouterr().out.split()))
    assert [text for text in defaults if re.match(r"[A-Z]\w+\.|<", text)] == []


@pytest.mark.parametrize(("columns", "widest"), [("60", 60), ("200", 100)])
@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_fits_the_terminal_and_is_never_wide(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    columns: str,
    widest: int,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert run([*command, "-h"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert max(map(len, lines)) <= widest


def test_version(dimse: Callable[..., Any]) -> None:
    done = dimse("--version")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("dimse ")


def test_nothing_at_all_is_wrong_usage_and_shows_the_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "usage: dimse" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "invalid choice: 'nope'"),
        (["-v"], "required: COMMAND"),
        (["-q", "echo", "A@host:104"], "unrecognized arguments: -q"),
        (["echo"], "required: TITLE@HOST:PORT"),
        (["echo", "A@host:104", "--time", "3"], "unrecognized arguments: --time"),
        (["echo", "A@host:104", "B@host:104"], "unrecognized arguments: B@host:104"),
        (["send", "A@host:104"], "required: PATH"),
        (["receive"], "required: --into"),
        (["echo", "A@:1"], "'A@:1' is not an address"),
        (["echo", "A@host:99999"], "99999"),
        (["echo", "A_TITLE_THAT_IS_TOO_LONG@host:104"], "is not an AE title"),
        (["echo", "A@host:104", "--calling", "A_TITLE_THAT_IS_TOO_LONG"], "is not an AE title"),
        (["echo", "A@host:104", "--timeout", "0"], "timeout"),
        (["send", "A@host:104", "file", "--retries", "-1"], "retries"),
        (["send", "A@host:104", "file", "--max-pdu", "3"], "maximum_length_to_send"),
        (["send", "A@host:104", "file", "--associations", "0"], "--associations"),
        (["send", "A@host:104", "file", "--associations", "many"], "--associations"),
        (["send", "A@host:104", "-", "-"], "standard input (-) can be given only once"),
        (["receive", "--into", "x", "--title", "A\\B"], "is not an AE title"),
        (["receive", "--into", "x", "--port", "70000"], "argument --port: must be at most 65535, not 70000"),
        (["receive", "--into", "x", "--max-associations", "0"], "--max-associations: must be at least 1, not 0"),
        (["receive", "--into", "x", "--template", "../{SOPInstanceUID}"], "'..'"),
        (["receive", "--into", "x", "--template", "/{SOPInstanceUID}"], "absolute"),
        (["receive", "--into", "x", "--template", "{NoSuchKeyword}"], "no keyword"),
        (["receive", "--into", "x", "--template", "{PatientID}.dcm"], "the same name"),
        (["receive", "--into", __file__], "not a folder"),
        (["find", "A@host:104", "-k", "Nope"], "'Nope' is not a keyword"),
        (["find", "A@host:104", "-k", "StudyDate=yesterday"], "StudyDate (DA): no such value"),
        (["find", "A@host:104", "-k", "StudyDescription", "-k", "StudyDescription=x"], "given twice"),
        (["find", "A@host:104", "--level", "wrong"], "must be one of PATIENT, STUDY, SERIES, IMAGE, not 'wrong'"),
        (["find", "A@host:104", "--level", "series"], "needs one StudyInstanceUID"),
        (["find", "A@host:104", "--level", "patient", "--model", "study"], "no PATIENT level"),
        (["find", "A@host:104", "--json", "--csv"], "choose either --json or --csv"),
        (["find", "A@host:104", "--timeout", "0"], "timeout"),
        (["get", "A@host:104", "-k", "StudyInstanceUID=1.2"], "required: --into"),
        (["get", "A@host:104", "--into", "x"], "required: -k/--key"),
        (["get", "A@host:104", "--into", "x", "-k", "PatientName=A"], "unique keys only"),
        (["get", "A@host:104", "--into", "x", "-k", "StudyInstanceUID"], "needs one StudyInstanceUID"),
        (
            ["get", "A@host:104", "--into", "x", "-k", "StudyInstanceUID=1.2", "--on-cancel", "x"],
            "argument --on-cancel: must be one of",
        ),
        (["get", "A@host:104", "--into", __file__, "-k", "StudyInstanceUID=1.2"], "not a folder"),
        (["move", "A@host:104", "-k", "StudyInstanceUID=1.2"], "required: --destination"),
        (["move", "A@host:104", "-k", "StudyInstanceUID=1.2", "--destination", "A\\B"], "is not an AE title"),
        (["retrieve", "A@host:104", "--into", "x"], "required: -k/--key"),
        (
            ["retrieve", "A@host:104", "--into", "x", "-k", "PatientID=1", "--receiver", "@:"],
            "argument --receiver: '@:' is not an address",
        ),
    ],
)
def test_wrong_usage(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("dimse: ")
    assert len(err.splitlines()) == 1
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_without_rich_one_line_says_what_to_install() -> None:
    done = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", HIDE], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert 'pip install "dimse[cli]"' in done.stderr
