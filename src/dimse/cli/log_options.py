"""The options of the log, apart from the log, which help does without."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Final

VERBOSE: Final = "Log on standard error: -v associations and operations, -vv commands too, -vvv PDUs too."


def add_arguments(parser: ArgumentParser) -> None:
    """The options of the log, which each command has. `-v` may come before the command too."""
    group = parser.add_argument_group("log")
    group.add_argument("-v", "--verbose", dest="more_verbose", action="count", default=0, help=VERBOSE)
    text = "Append the log to this file, with the detail of -vv or more."
    group.add_argument("--log-file", metavar="FILE", help=text)
    text = "Write the log as JSON objects, one per line: to the file of --log-file, else to standard error."
    group.add_argument("--log-json", action="store_true", help=text)
