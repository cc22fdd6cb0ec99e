"""The `dimse` command: its sub-commands, and one line and an exit code for whatever goes wrong."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from inspect import getdoc
from io import TextIOWrapper
from itertools import islice
from typing import Final, NoReturn

from dimse.cli import running
from dimse.cli.arguments import CommandParser, Parser
from dimse.cli.output import complain, reason, tell
from dimse.errors import AssociationError, DimseError, RemoteProtocolError

COMMANDS: Final = {
    "echo": "dimse.cli.echo",
    "send": "dimse.cli.send",
    "receive": "dimse.cli.receive",
    "find": "dimse.cli.find",
    "get": "dimse.cli.get",
    "move": "dimse.cli.move",
    "retrieve": "dimse.cli.retrieve",
    "demo": "dimse.demo.command",
}
"""The module of each command. It has `EXIT_CODES`, `add_arguments`, and a function of the command's name.

Modules are imported by name, and only when they are needed: the demo stands above the command line, which it uses.
"""


class _ShowVersion(argparse.Action):
    """Looks the version up only when it is asked for, as that takes longer than parsing all arguments."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        from dimse.upper_layer import states

        compiled = "" if str(states.__file__).endswith(".py") else ", compiled"
        tell(f"dimse {version('dimse')}{compiled}")
        parser.exit()


def make_parser(commands: Iterable[str] = COMMANDS) -> Parser:
    """Reads the command line with these of its commands; `command` is the function of the one that is asked for."""
    parser = Parser(
        prog="dimse",
        description="DICOM networking: echo, send, receive, find, get, move and retrieve.",
        epilog="Exit codes: " + running.EXIT_CODES,
    )
    parser.add_argument(
        "-v", "--verbose", action="count", default=0, help="Log more, to standard error; -vv is a line per PDU."
    )
    parser.add_argument(
        "--version", action=_ShowVersion, nargs=0, default=argparse.SUPPRESS, help="Show the version and exit."
    )
    group = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, prog="dimse", parser_class=CommandParser
    )
    for name in commands:
        module = import_module(COMMANDS[name])
        command = getattr(module, name)
        text = getdoc(command) or ""
        subparser = group.add_parser(
            name,
            help=text.partition("\n")[0],
            description=text,
            epilog="Exit codes: " + module.EXIT_CODES,
        )
        subparser.set_defaults(command=command)
        module.add_arguments(subparser)
    return parser


def run(arguments: Sequence[str]) -> int:
    """Run one command. Returns its exit code; what goes wrong is one line on standard error."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may have what a terminal can't show
    named = _named(arguments)
    try:
        code = _run(make_parser(named or COMMANDS), arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _interrupted()
    except BrokenPipeError:
        # The reader of our output has gone: the interpreter must not fail again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except running.UsageError as error:
        complain(f"dimse: {error} ({' '.join(['dimse', *named])} --help tells more)")
        return running.USAGE
    except Exception as error:  # noqa: BLE001 - nothing above the command line would handle it
        return _failed(error)
    return code


def _named(arguments: Sequence[str]) -> list[str]:
    """The one command that has to be imported: an echo needs no pydicom, which takes longer than the echo.

    It is the first word, since no option before it takes a value. All of them are needed for help and for a typo.
    """
    words = (argument for argument in arguments if argument in ("-h", "--help") or not argument.startswith("-"))
    return [word for word in islice(words, 1) if word in COMMANDS]


def _run(parser: Parser, arguments: Sequence[str]) -> int:
    if not arguments:
        parser.print_help(sys.stderr)
        return running.USAGE
    try:
        parameters = vars(parser.parse_args(arguments))
    except SystemExit:
        return running.OK  # after the help or the version; what is wrong is a UsageError
    running.log_to_stderr(parameters.pop("verbose"))
    command: Callable[..., int] = parameters.pop("command")
    return command(**parameters)


def _failed(error: Exception) -> int:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, BrokenPipeError):
        return running.FAILED
    if running.verbosity > 1 and not isinstance(error, DimseError | OSError):
        for line in "".join(traceback.format_exception(error)).splitlines():
            complain(line)
    complain(f"dimse: {reason(error)}")
    return running.NO_ASSOCIATION if isinstance(error, AssociationError | RemoteProtocolError) else running.FAILED


def _interrupted() -> None:
    """Leave at once: a thread that still waits for standard input would hold up the interpreter's own end."""
    complain("dimse: interrupted")
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            continue
    os._exit(running.INTERRUPTED)
