"""The man pages of the wheel: they have what the help has, and roff reads them without a warning."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tools.man_pages import pages, write

from dimse.cli.app import COMMANDS, make_parser
from dimse.cli.usage_errors import commands_of, options_of


@pytest.fixture
def groff() -> str:
    found = shutil.which("groff")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI has no groff")
        pytest.skip("there is no groff")
    return found


def shown(groff: str, page: Path) -> str:
    """The page as `man` shows it. It has no warnings."""
    done = subprocess.run(  # noqa: S603 - our own page
        [groff, "-ww", "-man", "-Tascii", "-P-cbou", "-rLL=100n", page], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return " ".join(done.stdout.split())


def test_each_command_has_a_page_with_all_its_options(groff: str, tmp_path: Path) -> None:
    parsers = commands_of(make_parser())
    paths = {path.name: path for path in write(tmp_path)}
    assert set(paths) == {"dimse.1", *(f"dimse-{name}.1" for name in COMMANDS)}
    for name, parser in parsers.items():
        text = shown(groff, paths[f"dimse-{name}.1"])
        assert f"dimse-{name} - {COMMANDS[name].summary.rstrip('.')} SYNOPSIS dimse {name} " in text
        for option, action in options_of(parser).items():
            assert option in text
            assert " ".join(parser._get_formatter()._expand_help(action).split()) in text
    overview = shown(groff, paths["dimse.1"])
    for name, command in COMMANDS.items():
        assert f"dimse {name} {command.summary}" in overview


def test_the_pages_are_the_same_at_each_build() -> None:
    assert pages() == pages()
