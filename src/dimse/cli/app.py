"""The `dimse` command: its sub-commands, and one line and an exit code for whatever goes wrong."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Final

import typer

from dimse.cli import running
from dimse.cli.output import reason
from dimse.errors import AssociationError, DimseError, RemoteProtocolError

COMMANDS: Final = ("echo", "send", "receive", "find", "get", "move", "retrieve", "demo")
"""Each has a module of its name, with a function of its name."""

_USAGE_ERROR: Final[type[Exception]] = typer.BadParameter.__mro__[1]
"""Typer's UsageError, which older ones take from click and newer ones have inside."""


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"dimse {version('dimse')}")
        raise typer.Exit


def options(
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            show_default=False,
            help="Log more, to standard error; -vv is a line per PDU.",
        ),
    ] = 0,
    version: Annotated[  # noqa: ARG001 - its callback has done it all
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """DICOM networking: echo, send, receive, find, get, move and retrieve."""
    running.log_to_stderr(verbose)


def make_app(commands: Sequence[str] = COMMANDS) -> typer.Typer:
    """The command line with these of its commands."""
    app = typer.Typer(
        name="dimse",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback(epilog="Exit codes: " + running.EXIT_CODES)(options)
    for name in commands:
        module = import_module(f"dimse.cli.{name}")
        app.command(epilog="Exit codes: " + module.EXIT_CODES)(getattr(module, name))
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command. Returns its exit code; what goes wrong is one line on standard error."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may have what a terminal can't show
    # Only what is asked for is imported: an echo needs no pydicom, which takes longer than the echo.
    wanted = [argument for argument in arguments if argument in COMMANDS][:1]
    try:
        code = make_app(wanted or COMMANDS)(list(arguments), prog_name="dimse", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        _interrupted()
    except BrokenPipeError:
        # Who read our output has gone: the interpreter must not fail on it again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except _USAGE_ERROR as error:
        return _usage(error)
    except Exception as error:  # noqa: BLE001 - a command line has no one above it to tell
        return _failed(error)
    return int(code or 0)


def _usage(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        print(context.get_help(), file=sys.stderr)
    else:
        command = context.command_path if context is not None else "dimse"
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        print(f"dimse: {message} ({command} --help tells more)", file=sys.stderr)
    return running.USAGE


def _failed(error: Exception) -> int:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, BrokenPipeError):
        return running.FAILED
    if running.verbosity > 1 and not isinstance(error, DimseError | OSError):
        traceback.print_exception(error)
    print(f"dimse: {reason(error)}", file=sys.stderr)
    return running.NO_ASSOCIATION if isinstance(error, AssociationError | RemoteProtocolError) else running.FAILED


def _interrupted() -> None:
    """Leave at once: a thread that still waits for standard input would hold up the interpreter's own end."""
    print("dimse: interrupted", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            continue
    os._exit(running.INTERRUPTED)
