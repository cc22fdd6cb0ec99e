"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from dimse.address import DEFAULT_PORT
from dimse.cli.parser import ConfigurationError, UsageError
from dimse.configuration import Configuration, KnownPeer
from dimse.dataset.folders import prepare
from dimse.options import Duplicates, Strictness
from dimse.rate_limit import RateLimit
from dimse.uids import TRANSFER_SYNTAX_GROUPS, TRANSFER_SYNTAXES, is_storage, is_uid, transfer_syntaxes

if TYPE_CHECKING:
    from dimse.audit import AuditLog
    from dimse.dataset.edits import Edits

T = TypeVar("T")


@contextmanager
def usage() -> Iterator[None]:
    """Turn a ValueError inside the block, which is about an argument, into a `UsageError`."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from None


# Converters of argument values, for `type=`


def checked(convert: Callable[[str], T]) -> Callable[[str], T]:
    """`convert`, whose ValueError text is shown as it is. argparse alone shows only that the value is invalid."""

    def value(text: str) -> T:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return value


def one_of(members: Mapping[str, T]) -> Callable[[str], T]:
    """Convert a name to its member, ignoring case."""

    def member(text: str) -> T:
        for name, value in members.items():
            if name.lower() == text.lower():
                return value
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(members)}, not {text!r}")

    return member


def integer_from(least: int, most: int | None = None) -> Callable[[str], int]:
    """Convert an integer, and check its bounds."""

    def integer(text: str) -> int:  # argparse uses the function's name in its error
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, not {number}")
        if most is not None and number > most:
            raise argparse.ArgumentTypeError(f"must be at most {most}, not {number}")
        return number

    return integer


def pdu_length(text: str) -> int:
    """Convert a maximum PDU length in bytes; 0 means no limit."""
    length = int(text)
    if length < 8 and length != 0:
        raise argparse.ArgumentTypeError(f"must be 0 or at least 8, not {length}")
    return length


def seconds(text: str) -> float:
    """Convert a positive number of seconds."""
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"must be a positive number of seconds, not {text}")
    return number


_RATE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([KMG]?)B?", re.IGNORECASE)


def rate_limit(text: str) -> RateLimit:
    """Convert bytes per second, such as `10MB`, in the units of the output. Raises `ValueError`."""
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"must be bytes per second, such as 500KB, 10MB or 1GB, not {text!r}")
    return RateLimit(round(float(match[1]) * 1000 ** " KMG".index(match[2].upper() or " ")))


def seconds_from_zero(text: str) -> float:
    """Convert a number of seconds, which may be 0."""
    return 0.0 if text == "0" else seconds(text)


def take(given: dict[str, Any], options: type[T]) -> T:
    """Take the fields of a dataclass from the arguments of a command."""
    return options(**{each.name: given.pop(each.name) for each in fields(cast("Any", options))})


# Arguments of several commands


def add_address(parser: argparse.ArgumentParser, peer: str, *, required: bool = True) -> None:
    """The address of the peer, or its name in the configuration; with the configuration for it as `peer`."""
    text = f"{peer}, or its name in the configuration. TITLE defaults to ANY-SCP, PORT to {DEFAULT_PORT}."
    count = None if required else "?"
    parser.add_argument(
        "address", metavar="TITLE@HOST:PORT", type=checked(known_peer), action=_StorePeer, nargs=count, help=text
    )


class _StorePeer(argparse.Action):
    """Stores the address of a peer, and its configuration."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, *_: object) -> None:  # noqa: ARG002
        namespace.address, namespace.peer = value and value.address, value


def known_peer(text: str) -> KnownPeer:
    """The peer with a name of the configuration, or at an address."""
    return configuration().peer(text)


def configuration() -> Configuration:
    """The configuration. Raises `ConfigurationError`."""
    try:
        return Configuration.load()
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def add_into(parser: argparse.ArgumentParser) -> None:
    """The output folder."""
    text = "Output folder; created if missing."
    parser.add_argument("-o", "--into", metavar="DIR", type=Path, required=True, help=text)


def make_folder(into: Path) -> None:
    """Create the output folder, and remove unfinished files from it. Raises `UsageError` or `OSError`."""
    if into.exists() and not into.is_dir():
        raise UsageError(f"--into {into}: not a folder")
    prepare(str(into))
    if not os.access(into, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "cannot write to this folder", str(into))


DUPLICATES: Final = {choice.value: choice for choice in Duplicates}


def add_duplicates(parser: argparse.ArgumentParser) -> None:
    """What to do with instances that are stored already."""
    parser.add_argument(
        "--duplicates",
        metavar="|".join(DUPLICATES),
        type=one_of(DUPLICATES),
        default=Duplicates.KEEP.value,
        help="If DIR already has the instance with different content: keep that file and warn, replace it, or refuse "
        "the new one.",
    )


def add_strictness(parser: argparse.ArgumentParser, default: Strictness) -> None:
    """What to do with malformed messages."""
    group = parser.add_mutually_exclusive_group()
    for choice, text in (
        (Strictness.STRICT, "Abort the association if the peer sends something malformed."),
        (Strictness.LENIENT, "Tolerate malformed input from the peer where its meaning is clear, with a warning."),
    ):
        text += " [default]" if choice is default else ""
        group.add_argument(
            f"--{choice.value}", dest="strictness", action="store_const", const=choice, default=default, help=text
        )


def add_timeout(parser: argparse.ArgumentParser, text: str, default: float | None = None) -> None:
    """The timeout; None is not given. `requestor.options` gets the default, which the configuration may replace."""
    text += "" if default is None else f" [default: {default:g}]"
    parser.add_argument("--timeout", metavar="SECONDS", type=seconds, help=text)
    parser.set_defaults(default_timeout=default)


def add_maximum_rate(parser: argparse._ActionsContainer, direction: str) -> None:
    """The limit on bytes per second."""
    parser.add_argument(
        "--max-rate",
        dest="rate_limit",
        metavar="BYTES",
        type=checked(rate_limit),
        help=f"{direction} at most this many bytes per second in all, such as 500KB or 10MB (1 MB is 1000 KB). "
        "[default: no limit]",
    )


def add_audit(parser: argparse.ArgumentParser) -> None:
    """The audit trail."""
    text = "Append the audit trail (PS3.15 A.5) to this file: syslog lines that name studies and patient IDs."
    parser.add_argument("--audit", metavar="FILE", type=_audit_log, help=text)


def _audit_log(path: str) -> AuditLog:
    """An audit trail whose file can be written now: a misspelled folder must not lose all messages."""
    file = Path(path)
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path} cannot be written")
    from dimse.audit import AuditLog  # few commands have one

    return AuditLog(path)


def add_maximum_pdu(parser: argparse.ArgumentParser, text: str) -> None:
    """The maximum PDU length."""
    parser.add_argument("--max-pdu", metavar="BYTES", type=pdu_length, default=1024 * 1024, help=text)


def add_maximum_associations(parser: argparse._ActionsContainer, text: str, default: int) -> None:
    """The maximum number of associations."""
    parser.add_argument("--max-associations", metavar="N", type=integer_from(1), default=default, help=text)


_SOME_SYNTAXES: Final = "Names: uncompressed, j2k, rle and so on; or UIDs."


def add_syntaxes(parser: argparse.ArgumentParser, text: str) -> None:
    """Transfer syntaxes to propose."""
    names = f"Names: {', '.join([*TRANSFER_SYNTAX_GROUPS, *TRANSFER_SYNTAXES])}; or UIDs."
    _add_names(parser, "--syntax", "syntaxes", transfer_syntaxes, f"{text} {names}")


def add_accepted_syntaxes(parser: argparse.ArgumentParser) -> None:
    """Transfer syntaxes to accept; none stands for all."""
    text = f"Accept only these transfer syntaxes, or all. {_SOME_SYNTAXES}"
    _add_names(parser, "--accept", "accept", lambda names: [] if names == "all" else transfer_syntaxes(names), text)


def add_preference(parser: argparse.ArgumentParser, text: str) -> None:
    """Transfer syntaxes that are preferred."""
    _add_names(parser, "--prefer", "prefer", transfer_syntaxes, f"{text} {_SOME_SYNTAXES}")


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
        help=f"{text} Separate several with commas, or repeat the option.",
    )


def classes(text: str) -> list[str]:
    """The UIDs of storage SOP classes, which are separated by commas. Raises `ValueError`."""
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
                f"{name!r} is not a storage SOP class; it must be a UID or a name of PS3.6, such as CTImageStorage"
            )
    return found


def add_classes(parser: argparse.ArgumentParser, text: str) -> None:
    """Storage SOP classes to propose."""
    names = "Names: CTImageStorage, CT, EncapsulatedPDF and so on; or UIDs."
    _add_names(parser, "--class", "classes", classes, f"{text} {names}")


_FEATURES: Final = ("combined-date-time", "fuzzy-names", "timezone", "enhanced-multiframe")


def features(text: str) -> list[str]:
    """Names of `QueryFeatures`, which are separated by commas. Raises `ValueError`."""
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in _FEATURES:
            raise ValueError(f"{name!r} is not a feature; it must be one of {', '.join(_FEATURES)}")
    return [name.replace("-", "_") for name in names]


def add_features(parser: argparse.ArgumentParser) -> None:
    """What to negotiate for queries."""
    parser.add_argument(
        "--relational",
        action="store_true",
        help="Send one query with the keys of all levels, instead of one query for each match of a level. It is "
        "negotiated, and sent all the same if the archive does not agree.",
    )
    text = f"Negotiate features: {', '.join(_FEATURES)}."
    _add_names(parser, "--negotiate", "features", features, text)


def add_edits(parser: argparse.ArgumentParser) -> None:
    """Edits of the objects on the way."""
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        dest="settings",
        action="append",
        default=[],
        help="Set an element of each object on the way, by keyword or tag; KEY= sets an empty value. Repeat the "
        "option for several. The pixel data is not touched. This is not de-identification.",
    )
    parser.add_argument(
        "--remove",
        metavar="KEY",
        dest="removals",
        action="append",
        default=[],
        help="Remove an element, or a whole sequence, of each object on the way. Repeat the option for several.",
    )


def edits(settings: Sequence[str], removals: Sequence[str]) -> Edits | None:
    """The edits that the options of `add_edits` give, if any. Raises `ValueError`."""
    if not settings and not removals:
        return None
    from dimse.dataset.edits import Edits  # imports pydicom

    return Edits.parse(settings, removals)


def add_json(
    parser: argparse._ActionsContainer, text: str = "Print one JSON object per line, without a progress bar."
) -> None:
    """JSON output."""
    parser.add_argument("--json", action="store_true", help=text)
