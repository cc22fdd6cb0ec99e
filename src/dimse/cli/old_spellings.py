"""What DCMTK, dcm4che and pynetdicom call an option, and the same line as it is written here."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Final

from dimse.address import DEFAULT_PORT

COMMANDS: Final = {
    "echoscu": "echo",
    "storescu": "send",
    "storescp": "receive",
    "findscu": "find",
    "getscu": "get",
    "movescu": "move",
    "dcmsend": "send",
    "dcmrecv": "receive",
    "wlmscpfs": "worklist-server",
    "dcmprscu": "print",
    "dcmprscp": "print-server",
    "mppsscu": "step",
    "stgcmtscu": "commit",
    "upsscu": "ups",
    "store": "send",
}
"""Their commands, and ours."""


def _as_it_is(value: str) -> list[str]:
    return [value]


@dataclass(frozen=True, slots=True)
class Spelling:
    """An option of others."""

    whose: str
    ours: tuple[str, ...] = ()
    """In place of it, the first whose option the command has; each `{}` is a value."""
    values: str = ""
    """The names of its values."""
    note: str = "has no counterpart"
    """What to say if the command has none of `ours`."""
    convert: Callable[[str], list[str]] = _as_it_is
    """Our values of theirs."""


def _each(names: str, spelling: Spelling) -> dict[str, Spelling]:
    return dict.fromkeys(names.split(), spelling)


_D: Final = "DCMTK"
_J: Final = "dcm4che"
ADDRESS: Final = "TITLE@HOST:PORT"
_SYNTAXES: Final = {
    "-xe": "explicit",
    "-xb": "big-endian",
    "-xi": "implicit",
    "-xs": "jpeg-lossless",
    "-xy": "jpeg-baseline",
    "-xx": "jpeg-extended",
    "-xv": "jpeg2000-lossless",
    "-xw": "jpeg2000",
    "-xt": "jpeg-ls-lossless",
    "-xu": "jpeg-ls",
    "-xr": "rle",
    "-xd": "deflated",
}


_MODELS: Final = {"MWL": "modality-worklist", "UPSPull": "ups-pull", "UPSWatch": "ups-watch"}


def _model(name: str) -> list[str]:
    """HangingProtocol is hanging-protocol, StudyRoot is study."""
    return [_MODELS.get(name) or re.sub("(?<=[a-z])(?=[A-Z])", "-", name).lower().removesuffix("-root")]


def _title_and_port(bound: str) -> list[str]:
    """Of `TITLE@ADDRESS:PORT`, where all but the title may be missing."""
    title, _, rest = bound.partition("@")
    title, _, port = bound.partition(":") if not rest else (title, "", rest.rpartition(":")[2])
    return [title, port if port.isdigit() else str(DEFAULT_PORT)]


def _user(both: str) -> list[str]:
    return [both.partition(":")[0]]


SPELLINGS: Final[Mapping[str, Spelling]] = {
    **_each("-aet --aetitle --calling-aet", Spelling(_D, ("-c {}", "--title {}"), "TITLE")),
    **_each("-aec --call --called-aet", Spelling(_D, (ADDRESS,), "TITLE")),
    **_each("-aem --move", Spelling(_D, ("--destination {}",), "TITLE")),
    **_each("-S --study", Spelling(_D, ("--model study",))),
    **_each("-P --patient", Spelling(_D, ("--model patient",))),
    **_each("-O --psonly", Spelling(_D, ("--model patient-study-only",))),
    **_each("-od --output-directory", Spelling(_D, ("-o {}",), "DIR")),
    **_each(
        "-to -ta -td -tn --acse-timeout --dimse-timeout --network-timeout", Spelling(_D, ("--timeout {}",), "SECONDS")
    ),
    **_each("+sd +r --scan-directories --recurse", Spelling(_D, note="is not needed")),
    **_each("-R --required", Spelling(_D, note="is not needed")),
    **_each("--fork", Spelling(_D, note="is not needed")),
    **_each("-d --debug", Spelling(_D, ("-vv",))),
    **_each("-ll --log-level", Spelling(_D, ("-v",), "LEVEL")),
    **_each("-q", Spelling(_D, ("--quiet",), note="is not needed")),
    **_each("-pdu --max-pdu --max-send-pdu", Spelling(_D, ("--max-pdu {}",), "BYTES")),
    **{old: Spelling(_D, (f"--syntax {name}",)) for old, name in _SYNTAXES.items()},
    **_each("+x= +xe +xb +xi +xs +xy +xx +xv +xw +xt +xu +xr +xd", Spelling(_D, note="is not needed")),
    **_each("+tls --enable-tls", Spelling(_D, ("--tls --tls-key {} --tls-cert {}",), "KEY CERT")),
    **_each("+tla --anonymous-tls", Spelling(_D, ("--tls",))),
    **_each("+cf --add-cert-file", Spelling(_D, ("--tls-ca {}",), "FILE")),
    **_each("-ic --ignore-peer-cert", Spelling(_D, note="must be --tls-ca FILE, with the CA of the peer,")),
    **_each("+P --port", Spelling(_D, note="has no counterpart except in dimse retrieve", values="PORT")),
    **_each("-usr", Spelling(_D, ("--user {}",), "NAME")),
    **_each("-pwd --password", Spelling(_D, ("--password-file -",), "PASSWORD")),
    **_each("-xcr --exec-on-reception", Spelling(_D, ("--exec {}",), "COMMAND")),
    **_each("-xcs --exec-on-eostudy", Spelling(_D, ("--exec-study {}",), "COMMAND")),
    **_each("--cancel", Spelling(_D, ("--limit {}",), "N")),
    **_each("--relational-query", Spelling("pynetdicom", ("--relational",))),
    **_each("--relational-retrieval", Spelling("pynetdicom", note="is not needed")),
    **_each("--fuzzy-names", Spelling("pynetdicom", ("--negotiate fuzzy-names",))),
    **_each("--dt-matching", Spelling("pynetdicom", ("--negotiate combined-date-time",))),
    **_each("--timezone-adj", Spelling("pynetdicom", ("--negotiate timezone",))),
    **_each("--enhanced-conversion", Spelling("pynetdicom", ("--negotiate enhanced-multiframe",))),
    **_each("--fuzzy", Spelling(_J, ("--negotiate fuzzy-names",))),
    **_each("--datetime", Spelling(_J, ("--negotiate combined-date-time",))),
    **_each("--timezone", Spelling(_J, ("--negotiate timezone",))),
    **_each("-c --connect", Spelling(_J, (ADDRESS,), "TITLE@HOST:PORT")),
    **_each("-b --bind", Spelling(_J, ("-c {}", "--title {} --port {}"), "TITLE", convert=_title_and_port)),
    **_each("-m", Spelling(_J, ("-k {}",), "KEY=VALUE")),
    **_each("-r", Spelling(_J, ("-k {}",), "KEY")),
    **_each("-L", Spelling(_J, ("-l {}",), "LEVEL")),
    **_each("-M", Spelling(_J, ("--model {}",), "MODEL", convert=_model)),
    **_each("-s", Spelling(_J, ("--set {}",), "KEY=VALUE")),
    **_each("--dest", Spelling(_J, ("--destination {}",), "TITLE")),
    **_each("--directory", Spelling(_J, ("-o {}",), "DIR")),
    **_each("--max-ops-invoked", Spelling(_J, ("--window {}",), "N")),
    **_each("--not-async", Spelling(_J, ("--window 1",))),
    **_each("--explicit-vr", Spelling(_J, ("--syntax explicit",))),
    **_each("--implicit-vr", Spelling(_J, ("--syntax implicit",))),
    **_each("--user-pass", Spelling(_J, ("--user {} --password-file -",), "NAME:PASSWORD", convert=_user)),
}

Options = Mapping[str, argparse.Action]
"""The options of a command, by their names."""

_WORKLIST: Final = ("-W", "--worklist")
"""They make a query of DCMTK or pynetdicom one of a worklist, which is a command of its own here."""

_REPEATED: Final = ("-k", "--syntax", "--negotiate")


@dataclass(slots=True)
class _Line:
    """A line of theirs, and what it becomes here."""

    command: str
    known: Options
    said: list[str] = field(default_factory=list)
    """What is written in another way here."""
    before: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    positionals: list[str] = field(default_factory=list)
    title: str = ""

    def say(self, theirs: str, text: str, whose: str = "") -> None:
        """Note it once, and each software once."""
        prefix = f"{whose}'s " if whose and not any(words.startswith(whose) for words in self.said) else ""
        if not any(words.endswith(f"{theirs} {text}") for words in self.said):
            self.said.append(f"{prefix}{theirs} {text}")

    def add(self, name: str, spelling: Spelling, values: list[str]) -> None:
        """Add an option of theirs."""
        theirs = f"{name} {spelling.values}".strip()
        ours = next((each for each in spelling.ours if self._has(each.split()[0])), None)
        if ours is None:
            self.say(theirs, spelling.note, spelling.whose)
            return
        shown = " ".join(_filled(ours, [*spelling.values.split(), "PORT"]))
        if shown != theirs:
            self.say(theirs, f"is {shown}", spelling.whose)
        converted = [each for value in values for each in spelling.convert(value)]
        if ours == ADDRESS:
            self._add_address(converted, is_title=spelling.values == "TITLE")
        else:
            self._add_option(_filled(ours, converted))

    def _add_address(self, values: list[str], *, is_title: bool) -> None:
        if is_title:
            self.title = "".join(values)
        else:
            self.positionals[:0] = values

    def _add_option(self, words: list[str]) -> None:
        if words[0].startswith("-v"):
            self.before = words
        elif words[0] not in self.options or words[0] in _REPEATED:
            self.options += words

    def _has(self, option: str) -> bool:
        return option in self.known or option.startswith("-v") or (option == ADDRESS and self.command != "receive")

    def join(self) -> None:
        """Make `HOST PORT` an address with its title, and the port that a receiver is given an option."""
        first, second = [*self.positionals, "", ""][:2]
        if self.command == "node":  # it has no peer
            return
        if self.command == "receive":
            if first.isdigit() and "--port" not in self.options:
                self.say("PORT", "is --port PORT")
                self.positionals[:1] = []
                self.options += ["--port", first]
            return
        if second.isdigit() and not Path(second).exists() and ":" not in first:
            self.say("HOST PORT", "is HOST:PORT")
            self.positionals[:2] = [f"{first}:{second}"]
        if self.title:
            first = next(iter(self.positionals), "HOST:PORT")
            self.positionals[:1] = [f"{self.title}@{first.rpartition('@')[2]}"]


def _filled(template: str, values: Iterable[str]) -> list[str]:
    """The words of a template, with the values in it."""
    left = iter(values)
    return [next(left, "") if word == "{}" else word for word in template.split()]


def answer(arguments: Sequence[str], options_of: Callable[[str], Options]) -> str | None:
    """What is written in another way here, and the whole line as it is written here; None if nothing is.

    `options_of` are those of a command of ours.
    """
    words = list(arguments)
    before = [*takewhile(lambda word: word.startswith("-"), words)]
    theirs = words[len(before)] if len(words) > len(before) else ""
    command, rest = COMMANDS.get(theirs, theirs), words[len(before) + 1 :]
    worklist = [word for word in rest if word in _WORKLIST] if command == "find" else []
    if worklist:
        command, rest = "worklist", [word for word in rest if word not in _WORKLIST]
    line = _Line(command, options_of(command), before=before)
    if worklist:
        line.say(f"{theirs} {worklist[0]}", f"is dimse {command}")
    elif theirs in COMMANDS:
        line.say(theirs, f"is dimse {command}")
    while rest:
        _take(rest, line)
    line.join()
    if not line.said:
        return None
    return (
        f"{', '.join(line.said)} here: {shlex.join(['dimse', *line.before, command, *line.positionals, *line.options])}"
    )


def _take(rest: list[str], line: _Line) -> None:
    """Take an option with its values from the line, or a word."""
    word = rest.pop(0)
    name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
    spelling = SPELLINGS.get(name)
    if spelling is not None and (name not in line.known or _is_connect(name, rest)):
        line.add(name, spelling, [value] if equals else _taken(rest, len(spelling.values.split())))
    elif re.fullmatch("-v+|--verbose", name):
        line.before.append(name)
    elif name.startswith("-") and name != "-":
        action = line.known.get(name)
        has_value = action is not None and action.nargs != 0 and not equals
        line.options += [word, *_taken(rest, int(has_value))]
    else:
        line.positionals.append(word)


def _taken(rest: list[str], count: int) -> list[str]:
    taken, rest[:count] = rest[:count], []
    return taken


def _is_connect(name: str, rest: Sequence[str]) -> bool:
    """Whether -c is dcm4che's: it has an address, which no AE title of ours is."""
    return name == "-c" and bool(rest) and re.fullmatch(r"[^@]+@.+:\d+", rest[0]) is not None
