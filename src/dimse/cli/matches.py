"""The matches of a C-FIND, as they are shown: a table, CSV, or DICOM JSON."""

from __future__ import annotations

import csv
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from dimse.cli.output import complain, counted, emit, printable, tell
from dimse.cli.progress import Counters
from dimse.dataset import Dataset, tag_for_keyword
from dimse.dataset.json_model import json_model
from dimse.dataset.scanner import tag_name
from dimse.dataset.texts import TEXT_VRS, Texts, character_sets_of, vr_of

_GAP: Final = 2
"""Between columns: a padding, and where the box has its line."""
_NARROW: Final = 10
"""A column as narrow as this is not made narrower while others are wider."""
_NO_TERMINAL: Final = 10_000


class Column:
    """One key, and what a match has there."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._path = [_tag(name.removesuffix("[0]")) for name in key.split(".")]

    @property
    def words(self) -> str:
        """The keyword in words, which can be folded."""
        return re.sub("(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", self.key)

    @property
    def is_uid(self) -> bool:
        """UIDs are there to be copied."""
        return self.key.endswith("UID")

    def text(self, match: Dataset, texts: Texts) -> str:
        """The value in a line; several are separated as in DICOM."""
        return printable("\\".join(_texts(match, self._path, texts, ())))


def _tag(name: str) -> int:
    """Of a keyword or a tag that a query has been made of."""
    return tag_for_keyword(name) or int(re.sub("[(),]", "", name), 16)


def _texts(dataset: Dataset, path: Sequence[int], texts: Texts, outer: Sequence[str]) -> Iterator[str]:
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
    if element.VR == "SQ" and below:
        for item in element.value:
            yield from _texts(item, below, texts, character_sets)
    elif element.VR == "SQ":
        yield counted(len(element.value), "item")
    elif isinstance(element.value, bytes):
        yield counted(len(element.value), "byte")
    elif not below and element.value is not None:
        yield from map(str, element.value if element.VM > 1 else [element.value])


class Matches(ABC):
    """Shows matches inside `shown`, and counts them."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.columns = [Column(key) for key in keys]
        self.count = 0
        self._texts = Texts()

    def take(self, match: Dataset) -> None:
        """One has come."""
        self.count += 1
        known = set(self._texts.garbled)
        self._take(match)
        for tag in sorted(self._texts.garbled - known):
            complain(f"dimse: {tag_name(tag)} is not in the character set that the match names; shown with \ufffd")

    @abstractmethod
    def _take(self, match: Dataset) -> None: ...

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Around all of them; what had come is shown too when they end early."""
        yield


class JsonMatches(Matches):
    """The DICOM JSON Model (PS3.18 F), an object a line."""

    def _take(self, match: Dataset) -> None:
        emit(**json_model(match, self._texts))


class CsvMatches(Matches):
    """A header, and a row each."""

    @contextmanager
    def shown(self) -> Iterator[None]:
        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        self._write([column.key for column in self.columns])
        yield

    def _take(self, match: Dataset) -> None:
        self._write([column.text(match, self._texts) for column in self.columns])

    def _write(self, row: list[str]) -> None:
        self._writer.writerow(row)
        sys.stdout.flush()


class TableMatches(Matches):
    """A table that is as wide as the terminal at most, when all is there."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(keys)
        self._rows: list[list[str]] = []
        self._counters = Counters("Finding")

    @contextmanager
    def shown(self) -> Iterator[None]:
        try:
            with self._counters.shown():
                yield
        except BaseException:
            if self._rows:
                self._end()
            raise
        self._end()

    def _take(self, match: Dataset) -> None:
        self._rows.append([column.text(match, self._texts) for column in self.columns])
        self._counters.update(0, None, counted(self.count, "match", "matches"))

    def _end(self) -> None:
        is_cut = bool(self._rows) and self._print()
        hint = "; cut to the width of the terminal, --csv and --json have all of it" if is_cut else ""
        tell(counted(self.count, "match", "matches") + hint)

    def _print(self) -> bool:
        """Whether something had to be cut."""
        from rich.box import SIMPLE_HEAD
        from rich.cells import cell_len
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        fits = sys.stdout.isatty() or "COLUMNS" in os.environ
        console = Console(highlight=False, width=None if fits else _NO_TERMINAL)
        wanted = [
            min(max(*map(cell_len, cells), *map(cell_len, column.words.split())), console.width)
            for column, cells in zip(self.columns, zip(*self._rows, strict=True), strict=True)
        ]
        widths = _fitted(wanted, [column.is_uid for column in self.columns], console.width - _GAP * len(wanted))
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        for column, width in zip(self.columns, widths, strict=True):
            table.add_column(Text(column.words), width=width, vertical="bottom", overflow="ellipsis")
        for row in self._rows:
            table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
        console.print(table)
        return widths != wanted


def _fitted(wanted: Sequence[int], is_uid: Sequence[bool], room: int) -> list[int]:
    """The widths that fit into `room`: text gives way first, then UIDs, then all; the widest first."""
    widths = list(wanted)
    for least, may_shrink in ((_NARROW, [not uid for uid in is_uid]), (_NARROW, is_uid), (1, [True] * len(widths))):
        while sum(widths) > room:
            widest = max((w for w, may in zip(widths, may_shrink, strict=True) if may), default=0)
            if widest <= least:
                break
            widths[next(i for i, w in enumerate(widths) if may_shrink[i] and w == widest)] -= 1
    return widths
