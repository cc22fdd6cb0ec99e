"""Prints the matches of a C-FIND: as a table, CSV, JSON, or text in a form of the user."""

from __future__ import annotations

import csv
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from string import Formatter
from typing import Final

from dimse.cli.output import counted, print_error, print_json, print_line, printable
from dimse.cli.progress import CounterBar
from dimse.dataset.encoding import SPECIFIC_CHARACTER_SET, tag_name
from dimse.dataset.json_model import flat_model, json_model
from dimse.dataset.pydicom_names import DataElement, Dataset, tag_for_keyword
from dimse.dataset.texts import TEXT_VRS, Texts, character_sets_of, vr_of

_GAP: Final = 2
"""Columns of the terminal between two columns of the table: a space, and the place of the box's line."""
_NARROW: Final = 10
"""Columns are not made narrower than this while another is wider."""
_UNLIMITED: Final = 10_000
"""The width of a table that is not printed on a terminal."""


class Column:
    """A key, and its value in a match. `name` is the heading of the column, if that is not the key."""

    def __init__(self, key: str, name: str | None = None) -> None:
        self.key = key
        self.name = name or key
        self._path = [_tag(part.removesuffix("[0]")) for part in key.split(".")]

    @property
    def tag(self) -> int:
        """The tag of the key, or of the sequence that contains it."""
        return self._path[0]

    @property
    def words(self) -> str:
        """The name as separate words, which can be wrapped."""
        return re.sub("(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", self.name)

    @property
    def is_uid(self) -> bool:
        """Whether it holds UIDs, which must stay whole to be copied."""
        return self.key.endswith("UID")

    def text(self, match: Dataset, texts: Texts, most: int | None = None) -> str:
        """The value on one line, of at most so many characters; several are separated by a backslash, as in DICOM."""
        return printable("\\".join(_texts(match, self._path, texts, ()))[:most])


def _tag(name: str) -> int:
    """The tag for a keyword or a tag that was used in a query."""
    return tag_for_keyword(name) or int(re.sub("[(),]", "", name), 16)


def _texts(dataset: Dataset, path: Sequence[int], texts: Texts, outer: Sequence[str]) -> Iterator[str]:
    """The values at `path`, in the character sets of the data set or of the `outer` one."""
    tag, below = path[0], path[1:]
    if tag not in dataset:
        return
    character_sets = character_sets_of(dataset, outer)
    try:
        if vr_of(dataset, tag) in TEXT_VRS:
            yield from () if below else texts.of(dataset, tag, character_sets)
            return
        element = dataset[tag]
    except Exception:  # noqa: BLE001 - pydicom may raise anything for a value that breaks its VR
        yield bytes(dataset.get_item(tag).value).decode("ascii", "backslashreplace").strip()
        return
    if not below:
        yield from _in_words(element)
    elif element.VR == "SQ":
        for item in element.value:
            yield from _texts(item, below, texts, character_sets)


def _in_words(element: DataElement) -> Iterator[str]:
    """The values of an element that is not text; of a sequence or bytes only their number."""
    if element.VR == "SQ":
        yield counted(len(element.value), "item")
    elif isinstance(element.value, bytes):
        yield counted(len(element.value), "byte")
    elif element.value is not None:
        yield from map(str, element.value if element.VM > 1 else [element.value])


class Matches(ABC):
    """Prints matches inside `shown`, and counts them."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        self.chosen: frozenset[int] | None = None
        """The tags that JSON has of a match; None is all that the archive returned."""
        self.count = 0
        self._texts = Texts()

    def add(self, match: Dataset) -> None:
        """Print a match, at once or at the end."""
        self.count += 1
        known = set(self._texts.garbled)
        self._add(match)
        for tag in sorted(self._texts.garbled - known):
            print_error(f"dimse: {tag_name(tag)} is not in the Specific Character Set of the match; shown with \ufffd")

    @abstractmethod
    def _add(self, match: Dataset) -> None: ...

    def _chosen(self, match: Dataset) -> Dataset:
        """What JSON has of a match."""
        if self.chosen is None:
            return match
        tags = self.chosen | {SPECIFIC_CHARACTER_SET}
        return Dataset({tag: match.get_item(tag) for tag in match.keys() if tag in tags})  # noqa: SIM118 - it decodes

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The block in which matches are added. If it ends early, those added so far are printed."""
        yield


class JsonMatches(Matches):
    """The DICOM JSON Model (PS3.18 F), one object per line."""

    def _add(self, match: Dataset) -> None:
        print_json(**json_model(self._chosen(match), self._texts))


class FlatJsonMatches(Matches):
    """Keywords and plain values, one object per line."""

    def _add(self, match: Dataset) -> None:
        print_json(**flat_model(self._chosen(match), self._texts))


class CsvMatches(Matches):
    """A header line, and one line per match."""

    @contextmanager
    def shown(self) -> Iterator[None]:
        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        yield
        if self.count == 0:
            self._write_header()

    def _add(self, match: Dataset) -> None:
        if self.count == 1:
            self._write_header()
        self._write([column.text(match, self._texts) for column in self.columns])

    def _write_header(self) -> None:
        """Not before there is an answer: a failure has no header."""
        self._write([column.name for column in self.columns])

    def _write(self, row: list[str]) -> None:
        self._writer.writerow(row)
        sys.stdout.flush()


class FormattedMatches(Matches):
    """One line per match in the user's form: `{PatientID} {StudyDate:>10}`. Raises `ValueError` for an invalid one."""

    def __init__(self, form: str, column: Callable[[str], Column] = Column) -> None:
        self._form = form.replace("\\t", "\t")
        fields = [(name, conversion) for _, name, _, conversion in Formatter().parse(self._form) if name is not None]
        if not all(name for name, _ in fields) or any(conversion for _, conversion in fields):
            raise ValueError("--format: a place must name a key, as in {PatientID}")
        super().__init__([column(name) for name in dict.fromkeys(name for name, _ in fields)])
        self._line({each.name: "" for each in self.columns})

    def _add(self, match: Dataset) -> None:
        line = self._line({each.name: each.text(match, self._texts) for each in self.columns})
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def _line(self, values: Mapping[str, str]) -> str:
        parts = []
        for text, name, width, _ in Formatter().parse(self._form):
            parts.append(text)
            if name is not None:
                parts.append(format(values[name], width or ""))
        return "".join(parts)


class TableMatches(Matches):
    """A table, printed at the end, because its columns are as wide as their longest value and fit the terminal."""

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__(columns)
        self._rows: list[list[str]] = []
        self._bar = CounterBar("Finding", stays=False)

    @contextmanager
    def shown(self) -> Iterator[None]:
        try:
            with self._bar.shown():
                yield
        except BaseException:
            if self._rows:
                self._end()
            raise
        self._end()

    def _add(self, match: Dataset) -> None:
        self._rows.append([column.text(match, self._texts, _UNLIMITED + 1) for column in self.columns])
        self._bar.update(0, None, counted(self.count, "match", "matches"))

    def _end(self) -> None:
        is_cut = bool(self._rows) and self._print()
        hint = "; cut to the width of the terminal (--csv and --json show everything)" if is_cut else ""
        print_line(counted(self.count, "match", "matches") + hint)

    def _print(self) -> bool:
        """Print the table. Returns whether something was cut."""
        from rich.box import SIMPLE_HEAD
        from rich.cells import cell_len
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        fits = sys.stdout.isatty() or "COLUMNS" in os.environ
        console = Console(highlight=False, width=None if fits else _UNLIMITED)
        wanted = [
            min(max(*map(cell_len, cells), *map(cell_len, column.words.split())), console.width)
            for column, cells in zip(self.columns, zip(*self._rows, strict=True), strict=True)
        ]
        room = console.width - _GAP * len(wanted)
        widths = _fitted(wanted, [column.is_uid for column in self.columns], room)
        is_cut = widths != wanted
        on_one_line = [max(width, cell_len(column.words)) for width, column in zip(wanted, self.columns, strict=True)]
        if sum(on_one_line) <= room:
            widths = on_one_line
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        for column, width in zip(self.columns, widths, strict=True):
            table.add_column(Text(column.words), width=width, vertical="bottom", overflow="ellipsis")
        for row in self._rows:
            table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
        console.print(table)
        return is_cut


def _fitted(wanted: Sequence[int], is_uid: Sequence[bool], available: int) -> list[int]:
    """Column widths that add up to `available` at most. Text is cut first, then UIDs, then all; the widest first."""
    widths = list(wanted)
    for least, may_shrink in ((_NARROW, [not uid for uid in is_uid]), (_NARROW, is_uid), (1, [True] * len(widths))):
        while sum(widths) > available:
            widest = max((w for w, may in zip(widths, may_shrink, strict=True) if may), default=0)
            if widest <= least:
                break
            widths[next(i for i, w in enumerate(widths) if may_shrink[i] and w == widest)] -= 1
    return widths
