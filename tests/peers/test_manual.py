"""roff reads the man pages of the wheel without a warning, and shows what the help shows."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tools.man_pages import write

from dimse.cli.app import COMMANDS, make_parser
from dimse.cli.usage_errors import commands_of, options_of
from tests.peers.processes import need


def shown(page: Path) -> str:
    """The page as `man` shows it. It has no warnings."""
    command = [need("groff"), "-ww", "-man", "-Tascii", "-P-cbou", "-rLL=100n", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own page
    assert done.stderr == ""
    return " ".join(done.stdout.split())


def test_each_command_has_a_page_with_all_its_options(tmp_path: Path) -> None:
    parsers = commands_of(make_parser())
    paths = {path.name: path for path in write(tmp_path)}
    assert set(paths) == {"dimse.1", *(f"dimse-{name.replace(' ', '-')}.1" for name in COMMANDS)}
    for name, parser in parsers.items():
        title = f"dimse-{name.replace(' ', '-')}"
        text = shown(paths[f"{title}.1"])
        assert f"{title} - {COMMANDS[name].summary.rstrip('.')} SYNOPSIS dimse {name} " in text
        for option, action in options_of(parser).items():
            assert option in text
            assert " ".join(parser._get_formatter()._expand_help(action).split()) in text
    overview = shown(paths["dimse.1"])
    for name, command in COMMANDS.items():
        assert f"dimse {name} {command.summary}" in overview
