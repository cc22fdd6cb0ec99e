"""`dimse echo --contexts`: which SOP classes a peer accepts, in which transfer syntaxes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from string import ascii_letters
from typing import Final

from dimse import uids
from dimse.cli import exit_codes
from dimse.cli.output import counted, print_json, print_line
from dimse.cli.parser import width as terminal_width
from dimse.network.application_entity import ApplicationEntity
from dimse.upper_layer.negotiation import MAXIMUM_CONTEXTS

_SERVICES: Final = (
    uids.VERIFICATION,
    *uids.QUERY_RETRIEVE,
    "1.2.840.10008.5.1.4.31",  # Modality Worklist Information Model - FIND
    "1.2.840.10008.3.1.2.3.3",  # Modality Performed Procedure Step
    "1.2.840.10008.1.20.1",  # Storage Commitment Push Model
)
"""SOP classes without pixel data, which are asked for in the uncompressed transfer syntaxes alone."""

_COLUMN: Final = 2
"""The width of the column of a transfer syntax."""

_SHORTEST: Final = 20
"""Characters of a name that are shown on the narrowest terminal."""

Accepted = Mapping[str, Sequence[str]]
"""The accepted transfer syntaxes of each SOP class that was asked for."""


async def show_contexts(entity: ApplicationEntity, sop_classes: Sequence[str], *, json: bool) -> int:
    """Ask for these SOP classes, or for all that are common, and print a matrix. Returns the exit code."""
    accepted: dict[str, list[str]] = {uid: [] for uid in sop_classes or (*_SERVICES, *uids.COMMON_STORAGE)}
    pairs, associations = _pairs(accepted), 0
    while proposed := list(islice(pairs, MAXIMUM_CONTEXTS)):
        async with entity.connect([(uid, [syntax]) for uid, syntax in proposed]) as association:
            associations += 1
            for context in association.contexts.values():
                accepted[context.abstract_syntax].append(context.transfer_syntax)
    if json:
        _print_json(entity, accepted, associations)
    else:
        for line in _lines(str(entity.address), accepted):
            print_line(line)
    return exit_codes.OK if any(accepted.values()) else exit_codes.FAILED


def _pairs(sop_classes: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each SOP class in each transfer syntax, in a context of its own: a peer accepts one syntax of a context."""
    return ((uid, syntax) for uid in sop_classes for syntax in _asked(uid))


def _asked(sop_class: str) -> Collection[str]:
    return uids.LITTLE_ENDIAN if sop_class in _SERVICES else uids.TRANSFER_SYNTAXES.values()


def _cell(sop_class: str, syntax: str, accepted: Collection[str]) -> str:
    if syntax in accepted:
        return " x"
    return " ." if syntax in _asked(sop_class) else "  "


def _print_json(entity: ApplicationEntity, accepted: Accepted, associations: int) -> None:
    print_json(
        address=str(entity.address),
        associations=associations,
        sop_classes=[
            {
                "abstract_syntax": uid,
                "abstract_syntax_name": uids.name_of(uid),
                "transfer_syntaxes": syntaxes,
                "transfer_syntax_names": list(map(uids.name_of, syntaxes)),
            }
            for uid, syntaxes in accepted.items()
        ],
    )


def _lines(address: str, accepted: Accepted) -> Iterator[str]:
    """The matrix of what is accepted, and the rest in words."""
    taken = {uid: syntaxes for uid, syntaxes in accepted.items() if syntaxes}
    yield f"{address} accepts {len(taken)} of {counted(len(accepted), 'SOP class', 'SOP classes')}"
    if taken:
        yield from _matrix(taken)
        yield from _wrapped("Not accepted: ", [_short_name(uid) for uid in accepted if uid not in taken])


def _matrix(accepted: Accepted) -> Iterator[str]:
    """A row for each SOP class, a column for each transfer syntax, and the names of the columns."""
    used = {syntax for syntaxes in accepted.values() for syntax in syntaxes}
    columns = [(syntax, name) for name, syntax in uids.TRANSFER_SYNTAXES.items() if syntax in used]
    names = {uid: _short_name(uid) for uid in accepted}
    width = min(max(map(len, names.values())), max(terminal_width() - _COLUMN * len(columns), _SHORTEST))
    yield " " * width + "".join(f" {letter}" for letter in ascii_letters[: len(columns)])
    for uid, syntaxes in accepted.items():
        name = names[uid] if len(names[uid]) <= width else names[uid][: width - 1] + "…"
        yield (name.ljust(width) + "".join(_cell(uid, syntax, syntaxes) for syntax, _ in columns)).rstrip()
    letters = zip(ascii_letters, columns, strict=False)
    yield from _wrapped("Transfer syntaxes: ", [f"{letter} {name}" for letter, (_, name) in letters])


def _short_name(uid: str) -> str:
    """The name without the words that all of them have."""
    name = uids.name_of(uid)
    for words in (" SOP Class", " Storage", " Information Model"):
        name = name.replace(words, "")
    return name


def _wrapped(title: str, items: Sequence[str]) -> Iterator[str]:
    """A list, if it has any items, on as many lines as it needs; an item is not broken."""
    line = title
    for i, item in enumerate(items):
        piece = item + (", " if i + 1 < len(items) else "")
        if len(line) > len(title) and len(line) + len(piece.rstrip()) > terminal_width():
            yield line.rstrip()
            line = " " * len(title)
        line += piece
    if items:
        yield line
