"""The `dimse` command: runs a command, and turns any error into one line and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from inspect import getdoc
from io import TextIOWrapper
from itertools import islice
from typing import Final, NoReturn

from dimse.cli import exit_codes, logs
from dimse.cli.arguments import CommandParser, ConfigurationError, Parser, UsageError
from dimse.cli.output import drop_output, print_error, print_failure, print_line, reason
from dimse.configuration import KnownPeer
from dimse.errors import AssociationError, DimseError, RemoteProtocolError
from dimse.version import __version__

COMMANDS: Final = {
    "echo": "dimse.cli.echo",
    "explain": "dimse.cli.explain",
    "send": "dimse.cli.send",
    "receive": "dimse.cli.receive",
    "find": "dimse.cli.find",
    "get": "dimse.cli.get",
    "move": "dimse.cli.move",
    "retrieve": "dimse.cli.retrieve",
    "peers": "dimse.cli.peers",
    "certificates": "dimse.cli.certificates",
    "demo": "dimse.demo.command",
}
"""The module of each command. It has `EXIT_CODES`, `add_arguments`, and a function of the command's name.

Modules are imported by name, and only when they are needed: the demo stands above the command line, which it uses.
"""


class _ShowVersion(argparse.Action):
    """Prints the version, and whether the hot path is compiled."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from dimse.upper_layer import states

        compiled = "" if str(states.__file__).endswith(".py") else ", compiled"
        print_line(f"dimse {__version__}{compiled}")
        parser.exit()


def make_parser(commands: Iterable[str] = COMMANDS) -> Parser:
    """A parser that knows these commands. The result's `command` is the function of the one that was chosen."""
    parser = Parser(
        prog="dimse",
        description="DICOM networking: echo, explain, send, receive, find, get, move and retrieve.",
        epilog="Exit codes: " + exit_codes.EXIT_CODES,
    )
    parser.add_argument(
        "-v", "--verbose", action="count", default=0, help="Increase log output on standard error; -vv logs each PDU."
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
    """Run a command. Returns its exit code; an error is one line on standard error."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may have characters that the terminal has not
    named = _named_command(arguments)
    json = any(each.startswith("--json") for each in arguments)
    try:
        code = _run(make_parser(named or COMMANDS), arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _exit_interrupted(json=json)
    except Exception as error:  # noqa: BLE001 - nothing above the command line would handle it
        try:
            return _failed(error, arguments, named, json=json)
        except BrokenPipeError:
            drop_output(sys.stdout)
            return exit_codes.FAILED
    return code


def _next_step(error: UsageError, arguments: Sequence[str], named: Sequence[str]) -> str:
    """The error, and what to type instead."""
    if isinstance(error, ConfigurationError):
        return str(error)
    from dimse.cli import usage_errors

    return usage_errors.in_words(str(error), arguments, next(iter(named), None), make_parser(named or COMMANDS))


def _named_command(arguments: Sequence[str]) -> list[str]:
    """The one command that must be imported: an echo needs no pydicom, whose import takes longer than the echo.

    It is the first word, as no option before it has a value. Help and a misspelled command need all commands.
    """
    words = (argument for argument in arguments if argument in ("-h", "--help") or not argument.startswith("-"))
    return [word for word in islice(words, 1) if word in COMMANDS]


def _run(parser: Parser, arguments: Sequence[str]) -> int:
    if not arguments:
        parser.print_help(sys.stderr)
        return exit_codes.USAGE
    try:
        parameters = vars(parser.parse_args(arguments))
    except SystemExit:
        return exit_codes.OK  # after the help or the version; wrong arguments raise UsageError
    logs.log_to_stderr(parameters.pop("verbose"))
    command: Callable[..., int] = parameters.pop("command")
    peer = parameters.get("peer")
    if not isinstance(peer, KnownPeer) or peer.name is None:
        return command(**parameters)
    from dimse.cli import peer_state

    try:
        code = command(**parameters)
    except (DimseError, ExceptionGroup) as error:
        peer_state.remember(peer, command.__name__, _code_of(_first(error)), reason(_first(error)))
        raise
    peer_state.remember(peer, command.__name__, code)
    return code


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _code_of(error: Exception) -> int:
    is_association = isinstance(error, AssociationError | RemoteProtocolError)
    return exit_codes.NO_ASSOCIATION if is_association else exit_codes.FAILED


def _failed(error: Exception, arguments: Sequence[str], named: Sequence[str], *, json: bool) -> int:
    """Print why the command has failed. Returns the exit code."""
    error = _first(error)
    if isinstance(error, BrokenPipeError):  # of our output: those of associations are `ConnectionLost`
        raise error
    if isinstance(error, UsageError):
        print_failure(_next_step(error, arguments, named), exit_codes.USAGE, json=json)
        return exit_codes.USAGE
    if logs.shows_tracebacks() and not isinstance(error, DimseError | OSError):
        for line in "".join(traceback.format_exception(error)).splitlines():
            print_error(line)
    code = _code_of(error)
    print_failure(reason(error), code, error, json=json)
    return code


def _exit_interrupted(*, json: bool) -> NoReturn:
    """Exit at once: a thread that waits for standard input would delay a normal exit."""
    with suppress(BrokenPipeError):
        print_failure("interrupted", exit_codes.INTERRUPTED, json=json)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            continue
    os._exit(exit_codes.INTERRUPTED)
