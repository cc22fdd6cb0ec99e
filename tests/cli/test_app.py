"""The `dimse` command: its commands are found, and any error is one line and an exit code."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from dimse.cli.app import COMMANDS, make_parser, run
from dimse.cli.usage_errors import commands_of

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
sys.argv = ["dimse", *sys.argv[1:]]
from dimse.__main__ import main
main()
"""


def test_version(dimse: Callable[..., Any]) -> None:
    done = dimse("--version")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("dimse ")


def test_nothing_at_all_is_wrong_usage_and_shows_the_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "usage: dimse" in capfd.readouterr().err


def test_without_rich_one_line_says_what_to_install() -> None:
    done = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", HIDE, "--help"], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert 'pip install "dimse[cli]"' in done.stderr


def test_the_version_without_rich() -> None:
    done = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", HIDE, "--version"], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("dimse ")


@pytest.mark.parametrize(
    ("arguments", "modules"),
    [
        (
            ["--version"],
            {"cli", "cli.app", "cli.exit_codes", "cli.log_options", "cli.output", "cli.parser", "errors", "status"},
        ),
        (
            ["--help"],
            {"cli", "cli.app", "cli.exit_codes", "cli.log_options", "cli.output", "cli.parser", "errors", "status"},
        ),
    ],
)
def test_help_and_the_version_import_little(arguments: list[str], modules: set[str]) -> None:
    done = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-X", "importtime", "-m", "dimse", *arguments], capture_output=True, text=True, check=True
    )
    imported = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert not imported & {"asyncio", "logging", "numpy", "pydicom", "rich", "ssl"}
    ours = {name.removeprefix("dimse.") for name in imported if name.startswith("dimse.")}
    assert ours - {"version", "upper_layer"} == modules


def test_the_list_of_commands_says_what_they_say() -> None:
    for name, command in COMMANDS.items():
        function = getattr(import_module(command.module), name.replace("-", "_").replace(" ", "_"))
        assert command.summary == (function.__doc__ or "").partition("\n")[0]


def test_each_command_has_a_module_with_a_function_of_its_name() -> None:
    parser = make_parser()
    texts = {"": parser.format_help()} | {name: each.format_help() for name, each in commands_of(parser).items()}
    for name in COMMANDS:
        above, _, word = name.rpartition(" ")
        assert f"\n    {word}" in texts[above]


def test_an_unexpected_error_is_one_line_and_with_vv_a_traceback(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> int:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("dimse.cli.echo.echo", fail)
    assert run(["echo", "A@host"]) == 1
    assert capfd.readouterr().err == "dimse: ZeroDivisionError: a defect\n"
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    assert run(["-vv", "echo", "A@host"]) == 1
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "dimse: ZeroDivisionError: a defect"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell that closes descriptors")
@pytest.mark.parametrize(("closed", "said"), [("<&-", "failed: standard input is closed\n"), (">&- 2>&-", "")])
def test_closed_standard_streams(closed: str, said: str, closed_port: int, tmp_path: Path) -> None:
    source = "-" if said else str(tmp_path)
    command = [sys.executable, "-m", "dimse", "send", f"A@127.0.0.1:{closed_port}", source]
    done = subprocess.run(  # noqa: S603 - our own
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *command],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, said)
