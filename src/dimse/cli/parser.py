"""The parser of the command line, and how it shows its help. It imports little, so that help appears at once."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, NoReturn

WIDEST: Final = 100
"""Columns of help; longer lines are hard to read."""

_BREAK: Final = "\N{ZERO WIDTH SPACE}"
_NO_BREAK: Final = "\N{NO-BREAK SPACE}"


class UsageError(Exception):
    """Wrong usage of the command line; the message is for the user."""


class ConfigurationError(UsageError):
    """A wrong configuration file, which no option explains."""


class Parser(argparse.ArgumentParser):
    """Raises `UsageError` for wrong arguments, and accepts options by their full names only."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=_Help, allow_abbrev=False, add_help=False, **settings)
        self.color = False  # Python 3.14 colors help by itself
        self.add_argument("-h", "--help", action="help", help="Show this message and exit.")

    def error(self, message: str) -> NoReturn:
        """Overrides argparse, which would print the whole usage and exit."""
        raise UsageError(message)


class CommandParser(Parser):
    """The parser of a command. Options may follow positional arguments, as in `send ARCHIVE@pacs a/ --json b/`."""

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Overrides argparse.

        The parser of the whole command line calls it without a namespace, the method called here calls it with one.
        A command that has commands below it takes no positional arguments.
        """
        if namespace is None and self._subparsers is None:
            return self.parse_known_intermixed_args(args, argparse.Namespace())
        return super().parse_known_args(args, namespace)


class _Help(argparse.HelpFormatter):
    """Keeps the paragraphs of a text, and shows the default of an argument or that it is required.

    The usage has what must be given; the options are listed below it, in their groups.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=width())

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[Any],  # noqa: ARG002 - it says which options exclude each other
        prefix: str | None = None,
    ) -> None:
        """Overrides argparse, which shows every option."""
        if usage is None:
            words = [self._prog, "[options]"]
            for action in actions:
                if action.required:
                    values = self._format_args(action, str(action.metavar or action.dest))
                    words.append(" ".join([*action.option_strings[:1], values]))
            together = " ".join(word.replace(" ", _NO_BREAK) for word in words)
            lines = self._split_lines(together, self._width - len("usage: "))
            usage = f"\n{' ' * len('usage: ')}".join(lines).replace(_NO_BREAK, " ")
        super().add_usage(usage, (), (), prefix)

    def add_argument(self, action: argparse.Action) -> None:
        """Overrides argparse, which forgets that commands are indented when it measures them."""
        super().add_argument(action)
        for command in self._iter_indented_subactions(action):
            width = len(self._format_action_invocation(command)) + self._current_indent + self._indent_increment
            self._action_max_length = max(self._action_max_length, width)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """Overrides argparse, which before Python 3.13 repeats the value for each name of an option."""
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(action.option_strings)} {self._format_args(action, str(action.metavar or action.dest))}"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = (self._split_lines(paragraph, width - len(indent)) for paragraph in text.split("\n\n"))
        return "\n\n".join("\n".join(indent + line for line in lines) for lines in paragraphs)

    def _split_lines(self, text: str, width: int) -> list[str]:
        import textwrap  # only help needs it

        # A path longer than a line, such as a template, is broken after a slash.
        words = (word.replace("/", f"/{_BREAK} ") if len(word) > width else word for word in text.split())
        lines = textwrap.wrap(" ".join(words), width, break_on_hyphens=False)
        return [line.replace(f"{_BREAK} ", "").replace(_BREAK, "") for line in lines]

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.required and action.option_strings:
            return f"{action.help} [required]"
        if action.default and action.default != argparse.SUPPRESS and action.nargs != 0:
            return f"{action.help} [default: %(default)s]"
        return action.help


def width() -> int:
    """Columns of the terminal up to `WIDEST`, without `shutil`, whose import takes longer than the rest of the help."""
    columns = 0
    with suppress(ValueError, OSError):
        columns = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
    return min(columns if columns > 0 else 80, WIDEST)
