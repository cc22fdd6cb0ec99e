"""The `dimse` command: runs a command, and turns any error into one line and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from io import TextIOWrapper
from itertools import dropwhile, islice
from typing import Any, Final, NamedTuple, NoReturn

from dimse.cli import exit_codes, log_options
from dimse.cli.output import drop_output, print_error, print_failure, print_line, reason
from dimse.cli.parser import CommandParser, ConfigurationError, Parser, UsageError
from dimse.errors import DimseError
from dimse.version import __version__


class Command(NamedTuple):
    """A command: the module that has `EXIT_CODES`, `add_arguments`, and a function of the command's name.

    A command of two words, such as `node import`, is below the first; its function has both, as `node_import`.
    """

    module: str
    summary: str
    """The first line of the function's docstring, for which the module is not imported."""


COMMANDS: Final = {
    "echo": Command("dimse.cli.echo", "Test the connection to an application entity (C-ECHO)."),
    "explain": Command("dimse.cli.explain", "Find out why an archive cannot be used."),
    "send": Command("dimse.cli.send", "Send DICOM files to a storage SCP (C-STORE)."),
    "commit": Command(
        "dimse.cli.commit",
        "Ask a peer whether it keeps files, so that they may be deleted here (Storage Commitment).",
    ),
    "receive": Command(
        "dimse.cli.receive", "Receive DICOM objects in any transfer syntax, and write them to a folder (storage SCP)."
    ),
    "route": Command("dimse.cli.route", "Receive DICOM objects and send them on, by rules (storage SCP and SCU)."),
    "find": Command("dimse.cli.find", "Search an archive (C-FIND)."),
    "worklist": Command("dimse.cli.worklist", "Query a Modality Worklist: what is scheduled (C-FIND)."),
    "worklist-server": Command(
        "dimse.cli.worklist_server", "Answer queries of a Modality Worklist from a folder of files (C-FIND SCP)."
    ),
    "get": Command("dimse.cli.get", "Retrieve instances from an archive into a folder (C-GET)."),
    "move": Command("dimse.cli.move", "Have an archive send instances to another application entity (C-MOVE)."),
    "retrieve": Command("dimse.cli.retrieve", "Search an archive, and retrieve all matches into a folder."),
    "ups": Command("dimse.cli.ups", "List, create, perform, cancel or watch Unified Procedure Steps."),
    "print": Command("dimse.cli.print", "Print images on films (Print Management)."),
    "print-server": Command(
        "dimse.cli.print_server", "Accept print jobs, and write each film to a folder (Print Management SCP)."
    ),
    "step": Command("dimse.cli.step", "Report a performed procedure step (MPPS), message by message."),
    "node": Command(
        "dimse.cli.node", "Serve an archive: store, find, get and move instances, and answer Storage Commitment."
    ),
    "node import": Command("dimse.cli.node_import", "Put files, or all of another archive, into an archive."),
    "node verify": Command("dimse.cli.node_verify", "Compare the index of an archive with its files."),
    "node reindex": Command("dimse.cli.node_reindex", "Rebuild the index of an archive from its files."),
    "node backup": Command("dimse.cli.node_backup", "Copy an archive into a folder, also while a node serves it."),
    "node delete": Command("dimse.cli.node_delete", "Delete studies from an archive, with their files."),
    "node stats": Command("dimse.cli.node_stats", "Print how much an archive has, and how much work waits."),
    "node events": Command(
        "dimse.cli.node_events", "Print the events of an archive: what has happened, or with --follow, what happens."
    ),
    "peers": Command("dimse.cli.peers", "List the peers of the configuration, with their last state."),
    "completion": Command("dimse.cli.completion", "Print a script that completes dimse in a shell."),
    "certificates": Command(
        "dimse.cli.certificates", "Make a CA and certificates for a server and a client, to test TLS with."
    ),
    "demo": Command(
        "dimse.demo.command", "Show the main jobs on real images: receive, echo, send, find, get and move."
    ),
}
"""The commands by name.

Modules are imported by name, and only when they are needed: the demo stands above the command line, which it uses.
"""


class _ShowVersion(argparse.Action):
    """Prints the version, and whether the hot path is compiled."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        states = find_spec("dimse.upper_layer.states")
        compiled = "" if states is None or str(states.origin).endswith(".py") else ", compiled"
        print_line(f"dimse {__version__}{compiled}")
        parser.exit()


def make_parser(commands: Iterable[str] = COMMANDS, listed: Iterable[str] = ()) -> Parser:
    """A parser that knows these commands, and lists others. The result's `command` is the function of the chosen one.

    A command that is listed is in the help, and its module is not imported.
    """
    parser = Parser(
        prog="dimse",
        description="DICOM networking: echo, explain, send, commit, receive, route, find, get, move and retrieve.",
        epilog="Exit codes: " + exit_codes.EXIT_CODES,
    )
    parser.add_argument("-v", "--verbose", action="count", default=0, help=log_options.VERBOSE)
    parser.add_argument(
        "--version", action=_ShowVersion, nargs=0, default=argparse.SUPPRESS, help="Show the version and exit."
    )
    named = tuple(commands)
    groups = {"": _group(parser, "", is_required=True)}
    for name in listed:
        if " " not in name:
            groups[""].add_parser(name, help=COMMANDS[name].summary)
    for name in named:
        above = name.rpartition(" ")[0]
        if above not in groups:
            groups[above] = _group(groups[""].add_parser(above, help=COMMANDS[above].summary), above, is_required=True)
        made = _add_command(groups[above], name)
        if below_it := [each for each in COMMANDS if each.startswith(f"{name} ")]:
            groups[name] = _group(made, name, is_required=False)
            for each in below_it:
                if each not in named:
                    misplaced = groups[name].add_parser(_last_word(each), help=COMMANDS[each].summary)
                    misplaced.set_defaults(command=_refuse_misplaced)
    return parser


def _group(parser: Any, name: str, *, is_required: bool) -> Any:
    """The commands below a parser."""
    return parser.add_subparsers(
        title="commands",
        metavar="COMMAND",
        required=is_required,
        prog=f"dimse {name}".strip(),
        parser_class=CommandParser,
    )


def _add_command(group: Any, name: str) -> Any:
    from inspect import cleandoc  # a list of commands needs it not

    module = import_module(COMMANDS[name].module)
    command = getattr(module, name.replace("-", "_").replace(" ", "_"))
    made = group.add_parser(
        _last_word(name),
        help=COMMANDS[name].summary,
        description=cleandoc(command.__doc__ or ""),
        epilog="Exit codes: " + module.EXIT_CODES,
    )
    made.set_defaults(command=command)
    module.add_arguments(made)
    log_options.add_arguments(made)
    return made


def _last_word(name: str) -> str:
    return name.rpartition(" ")[2]


def _refuse_misplaced(**_: object) -> NoReturn:
    """Takes the place of a command below another, which was not written right behind it."""
    raise UsageError("a command comes before its options")


def run(arguments: Sequence[str]) -> int:
    """Run a command. Returns its exit code; an error is one line on standard error."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may have characters that the terminal has not
    named = _named_command(arguments)
    json = any(each.startswith("--json") for each in arguments)
    try:
        code = _run(make_parser(named, () if named else COMMANDS), arguments)
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

    It is the first word, as no option before it has a value, with the word right behind it if both are a command. For
    help and a misspelled command all are only listed.
    """
    rest = dropwhile(lambda each: each.startswith("-") and each not in ("-h", "--help"), arguments)
    words = [*islice(rest, 2)]
    names = (" ".join(words[:count]) for count in (2, 1))
    return [name for name in names if name in COMMANDS][:1]


def _run(parser: Parser, arguments: Sequence[str]) -> int:
    if not arguments:
        parser.print_help(sys.stderr)
        return exit_codes.USAGE
    try:
        parameters = vars(parser.parse_args(arguments))
    except SystemExit:
        return exit_codes.OK  # after the help or the version; wrong arguments raise UsageError
    from dimse.cli import logs  # help needs it as little as the commands

    logs.begin(parameters)
    command: Callable[..., int] = parameters.pop("command")
    peer: Any = parameters.get("peer")
    if getattr(peer, "name", None) is None:
        return command(**parameters)
    from dimse.cli import peer_state

    try:
        code = command(**parameters)
    except (DimseError, ExceptionGroup) as error:
        peer_state.remember(peer, command.__name__, exit_codes.code_of(_first(error)), reason(_first(error)))
        raise
    peer_state.remember(peer, command.__name__, code)
    return code


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _failed(error: Exception, arguments: Sequence[str], named: Sequence[str], *, json: bool) -> int:
    """Print why the command has failed. Returns the exit code."""
    error = _first(error)
    if isinstance(error, BrokenPipeError):  # of our output: those of associations are `ConnectionLost`
        raise error
    if isinstance(error, UsageError):
        print_failure(_next_step(error, arguments, named), exit_codes.USAGE, json=json)
        return exit_codes.USAGE
    from dimse.cli import logs

    if logs.shows_tracebacks() and not isinstance(error, DimseError | OSError):
        import traceback

        for line in "".join(traceback.format_exception(error)).splitlines():
            print_error(line)
    code = exit_codes.code_of(error)
    print_failure(reason(error), code, error, json=json)
    logs.note_failure(error)
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
