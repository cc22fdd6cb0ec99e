"""Man pages, made from the parsers of the commands: `python tools/man_pages.py FOLDER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from dimse.cli.app import COMMANDS, make_parser
from dimse.cli.usage_errors import commands_of
from dimse.version import __version__

FILES: Final = """\
.SH FILES
.TP
.I ~/.config/dimse/config.toml
Peers by name, and the defaults for all peers.
.SH ENVIRONMENT
.TP
.B DIMSE_CONFIG
Another configuration file.
.TP
.B DIMSE_CALLING
Our AE title.
"""


def pages() -> dict[str, str]:
    """The text of each page by its file name: of `dimse`, and of each command."""
    parser = make_parser()
    commands = commands_of(parser)
    summary = "DICOM networking"
    found = {"dimse.1": "".join(_page("dimse", summary, parser, _list_of_commands()))}
    for name, command in commands.items():
        found[f"dimse-{name.replace(' ', '-')}.1"] = "".join(
            _page(f"dimse {name}", COMMANDS[name].summary, command, "")
        )
    return found


def _page(name: str, summary: str, parser: Any, more: str) -> Iterator[str]:
    title = name.replace(" ", "-")
    yield f'.TH {_escaped(title.upper())} 1 "" "dimse {__version__}" "dimse"\n.nh\n.ad l\n'
    yield f".SH NAME\n{_escaped(title)} \\- {_escaped(summary.rstrip('.'))}\n"
    usage = " ".join(parser.format_usage().split()).removeprefix(f"usage: {name}").strip()
    yield f".SH SYNOPSIS\n.B {_escaped(name)}\n{_escaped(usage)}\n"
    yield ".SH DESCRIPTION\n" + _paragraphs(parser.description)
    yield more
    for group in parser._action_groups:
        actions = [each for each in group._group_actions if not isinstance(each, argparse._SubParsersAction)]
        if actions:
            yield f".SH {_escaped(str(group.title).upper())}\n" + _paragraphs(group.description or "")
            yield from (_argument(parser, action) for action in actions)
    yield ".SH EXIT STATUS\n" + _paragraphs(parser.epilog.removeprefix("Exit codes: "))
    yield FILES
    others = [_escaped(f"dimse-{each}".replace(" ", "-")) for each in COMMANDS] if more else ["dimse"]
    yield ".SH SEE ALSO\n" + ",\n".join(f".BR {each} (1)" for each in others) + "\n"


def _list_of_commands() -> str:
    entries = [f".TP\n.B dimse {name}\n{_escaped(command.summary)}\n" for name, command in COMMANDS.items()]
    return ".SH COMMANDS\n" + "".join(entries)


def _argument(parser: Any, action: argparse.Action) -> str:
    formatter = parser._get_formatter()
    names = ", ".join(rf"\fB{_escaped(name)}\fR" for name in action.option_strings)
    value = "" if action.nargs == 0 else formatter._format_args(action, action.metavar or action.dest)
    head = f"{names} \\fI{_escaped(value)}\\fR" if value else names
    return f".TP\n{head.strip()}\n{_escaped(formatter._expand_help(action))}\n"


def _paragraphs(text: str) -> str:
    paragraphs = (_escaped(" ".join(paragraph.split())) for paragraph in text.split("\n\n") if paragraph.strip())
    return "".join(f".PP\n{paragraph}\n" for paragraph in paragraphs).removeprefix(".PP\n")


def _escaped(text: str) -> str:
    """Text for roff: no backslash, hyphen or first character of a line has its meaning there."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


def write(folder: Path) -> list[Path]:
    """Write all pages into a folder, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
        written.append(folder / name)
    return written


if __name__ == "__main__":
    write(Path(sys.argv[1]))
