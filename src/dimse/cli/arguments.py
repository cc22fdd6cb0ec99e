"""Command line arguments: how they are parsed, how help shows them, and those that several commands share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from dimse.address import Address
from dimse.cli.running import UsageError
from dimse.options import ClientOptions, Duplicates, Strictness, Timeouts
from dimse.uids import is_storage, is_uid

T = TypeVar("T")

WIDEST: Final = 100
"""Columns of help; longer lines are hard to read."""


class Parser(argparse.ArgumentParser):
    """Raises `UsageError` for what it cannot read, and takes options by their whole names only."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=_Help, allow_abbrev=False, add_help=False, **settings)
        self.color = False  # Python 3.14 colours help by itself
        self.add_argument("-h", "--help", action="help", help="Show this message and exit.")

    def error(self, message: str) -> NoReturn:
        """Called by argparse, which would print the whole usage and exit."""
        raise UsageError(message)


class CommandParser(Parser):
    """Of one command: its options may stand anywhere, as in `send ARCHIVE@pacs first/ --json second/`."""

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Called without a namespace by the parser of the whole command line; with one by what is called here."""
        if namespace is None:
            return self.parse_known_intermixed_args(args, argparse.Namespace())
        return super().parse_known_args(args, namespace)


class _Help(argparse.HelpFormatter):
    """Keeps the paragraphs of a text, and says of an argument what its default is or that it is required."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=_width())

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(fill(paragraph, width, indent) for paragraph in text.split("\n\n"))

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.required:
            return f"{action.help} [required]"
        if action.default and action.default != argparse.SUPPRESS and action.nargs != 0:
            return f"{action.help} [default: %(default)s]"
        return action.help


def _width() -> int:
    """The terminal's, as shutil would say it, which is not imported for every command only to be asked this."""
    columns = 0
    with suppress(ValueError, OSError):
        columns = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
    return min(columns if columns > 0 else 80, WIDEST)


# For `type=`


def checked(convert: Callable[[str], T]) -> Callable[[str], T]:
    """`convert` with the message of its ValueError kept; argparse would only say that the value is invalid."""

    def value(text: str) -> T:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return value


def one_of(members: Mapping[str, T]) -> Callable[[str], T]:
    """Converts a name to its member, ignoring case."""

    def member(text: str) -> T:
        for name, value in members.items():
            if name.lower() == text.lower():
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(members)}")

    return member


def integer_from(least: int, most: int | None = None) -> Callable[[str], int]:
    """A number within these bounds."""

    def integer(text: str) -> int:  # argparse uses the function's name in its error
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, not {number}")
        if most is not None and number > most:
            raise argparse.ArgumentTypeError(f"must be at most {most}, not {number}")
        return number

    return integer


# Arguments of several commands


def add_archive(parser: argparse.ArgumentParser, text: str = "The peer. Port 11112 if left out.") -> None:
    """The peer's address."""
    parser.add_argument("archive", metavar="ARCHIVE@HOST:PORT", type=checked(Address.parse), help=text)


def add_into(parser: argparse.ArgumentParser) -> None:
    """The folder to write to."""
    text = "The folder to write to; created if it does not exist."
    parser.add_argument("--into", metavar="DIR", type=Path, required=True, help=text)


DUPLICATES: Final = {choice.value: choice for choice in Duplicates}


def add_duplicates(parser: argparse.ArgumentParser) -> None:
    """What to do with instances that are stored already."""
    parser.add_argument(
        "--duplicates",
        metavar="|".join(DUPLICATES),
        type=one_of(DUPLICATES),
        default=Duplicates.KEEP.value,
        help="What to do when DIR has the instance already, with different content: keep that one and warn, replace "
        "it, or refuse the new one.",
    )


def add_calling(parser: argparse.ArgumentParser, strictness: Strictness = Strictness.STRICT) -> None:
    """Our AE title, and what to do with malformed messages."""
    parser.add_argument("--calling", metavar="TITLE", default="DIMSE", help="Our own AE title.")
    add_malformed(parser, strictness)


def add_malformed(parser: argparse.ArgumentParser, default: Strictness) -> None:
    """What to do with malformed messages."""
    group = parser.add_mutually_exclusive_group()
    for choice, text in (
        (Strictness.STRICT, "When the peer sends something malformed, end the association and say why."),
        (Strictness.LENIENT, "When the peer sends something malformed, warn and go on."),
    ):
        text += " The default." if choice is default else ""
        group.add_argument(
            f"--{choice.value}", dest="strictness", action="store_const", const=choice, default=default, help=text
        )


def add_timeout(parser: argparse.ArgumentParser, text: str, default: float | None = None) -> None:
    """The timeout."""
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=default, help=text)


SYNTAXES: Final = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big-endian": "1.2.840.10008.1.2.2",
    "jpeg-baseline": "1.2.840.10008.1.2.4.50",
    "jpeg-extended": "1.2.840.10008.1.2.4.51",
    "jpeg-lossless": "1.2.840.10008.1.2.4.70",
    "jpeg-ls-lossless": "1.2.840.10008.1.2.4.80",
    "jpeg-ls": "1.2.840.10008.1.2.4.81",
    "jpeg2000-lossless": "1.2.840.10008.1.2.4.90",
    "jpeg2000": "1.2.840.10008.1.2.4.91",
    "mpeg2": "1.2.840.10008.1.2.4.100",
    "mpeg4": "1.2.840.10008.1.2.4.102",
    "hevc": "1.2.840.10008.1.2.4.107",
    "jpeg-xl-lossless": "1.2.840.10008.1.2.4.110",
    "jpeg-xl": "1.2.840.10008.1.2.4.112",
    "htj2k-lossless": "1.2.840.10008.1.2.4.201",
    "htj2k": "1.2.840.10008.1.2.4.203",
    "rle": "1.2.840.10008.1.2.5",
}
"""Transfer syntaxes (PS3.6 A.1) by their names on the command line; others are given by their UIDs."""


def _syntaxes(text: str) -> list[str]:
    found = [SYNTAXES.get(name.lower(), name) for name in text.split(",")]
    for name in found:
        if not is_uid(name) or "." not in name:
            raise ValueError(f"{name!r} is neither a transfer syntax UID nor one of {', '.join(SYNTAXES)}")
    return found


def add_syntaxes(parser: argparse.ArgumentParser, text: str) -> None:
    """Transfer syntaxes to propose."""
    _add_names(parser, "--syntax", "syntaxes", _syntaxes, f"{text} Names: {', '.join(SYNTAXES)}; or UIDs.")


def _add_names(
    parser: argparse.ArgumentParser, option: str, dest: str, convert: Callable[[str], list[str]], text: str
) -> None:
    parser.add_argument(
        option,
        metavar="NAME",
        dest=dest,
        action="extend",
        type=checked(convert),
        default=[],
        help=f"{text} Separate several by commas, or repeat the option.",
    )


def _classes(text: str) -> list[str]:
    from pydicom._uid_dict import UID_dictionary  # slow to import, and only --class needs it

    named: dict[str, str] = {}
    for uid, (_, kind, _, _, keyword) in UID_dictionary.items():
        if kind == "SOP Class" and is_storage(uid):
            whole = keyword.lower()
            named |= dict.fromkeys((whole, whole.removesuffix("storage"), whole.removesuffix("imagestorage")), uid)
    found = [named.get(name.replace(" ", "").replace("-", "").lower(), name.strip()) for name in text.split(",")]
    for name in found:
        if not is_uid(name) or "." not in name:
            raise ValueError(
                f"{name!r} is neither a SOP class UID nor a storage SOP class of PS3.6 such as CTImageStorage"
            )
    return found


def add_classes(parser: argparse.ArgumentParser, text: str) -> None:
    """Storage SOP classes to propose."""
    _add_names(
        parser, "--class", "classes", _classes, f"{text} Names: CTImageStorage, CT, EncapsulatedPDF and so on; or UIDs."
    )


def client_options(calling: str, strictness: Strictness, timeout: float | None, **more: Any) -> ClientOptions:
    """The options of a requestor; `timeout`, if given, replaces its timeouts. Raises `ValueError`."""
    timers = ("connect", "association", "store", "find", "get", "move")
    timeouts = Timeouts() if timeout is None else Timeouts(**dict.fromkeys(timers, timeout))
    return ClientOptions(calling_ae_title=calling, strictness=strictness, timeouts=timeouts, **more)


def add_json(
    parser: argparse.ArgumentParser, text: str = "Print one JSON object per line, and no progress bar."
) -> None:
    """JSON output."""
    parser.add_argument("--json", action="store_true", help=text)
