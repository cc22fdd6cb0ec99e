"""Whether a match has the keys of its query, for archives that ignore some of them (PS3.4 C.4.1.3.2).

Compared are codes, texts, dates and UIDs, in sequences too, without regard to case, by the rules of `Matcher`. Person
names are not: an archive may match them by their sound (PS3.4 C.2.2.2.1.1). What an archive leaves out is not known,
and so no reason to drop a match.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from dimse.dataset.codec import PYDICOM_ERRORS
from dimse.dataset.pydicom_names import DataElement, Dataset
from dimse.dataset.texts import TEXT_VRS, Texts, character_sets_of, vr_of
from dimse.services.matching import Matcher
from dimse.services.query_keys import Path, name_of
from dimse.upper_layer.extended import QueryFeatures

_COMPARED: Final = TEXT_VRS - {"PN"}
_TIMES: Final = frozenset(("DA", "DT", "TM"))
"""Which an archive matches in the time zone of the query if that was agreed on."""
_EMPTY: Final = '""'
"""It matches an empty value (PS3.4 C.2.2.2.7)."""
_OF_THE_REQUEST: Final = frozenset((0x00080005, 0x00080052, 0x00080053))
MAXIMUM_REMEMBERED: Final = 1000
"""Values that are known to match: those of the matches of a query are often the same."""


class KeyCheck:
    """The keys of an identifier that have a value."""

    def __init__(self, identifier: Dataset, *, except_for: frozenset[int], agreed: QueryFeatures | None = None) -> None:
        self._matching: set[tuple[Path, object]] = set()
        compared = _COMPARED
        if agreed is not None and agreed.timezone:
            compared -= _TIMES
        elif agreed is not None and agreed.combined_date_time:
            compared -= {"TM"}  # any time of day is between two days
        paths = _compared(identifier, compared, _OF_THE_REQUEST | except_for)
        self._matchers = {path: Matcher(_folded(identifier, path)) for path in paths}

    def ignored(self, match: Dataset) -> str | None:
        """The keyword of a key that `match` does not have, if any."""
        for path, matcher in self._matchers.items():
            if path[0] in match and not self._matches(match, path, matcher):
                return name_of(*path)
        return None

    def _matches(self, match: Dataset, path: Path, matcher: Matcher) -> bool:
        value: object = match.get_item(path[0]).value
        remembered = (path, value) if isinstance(value, str | bytes) and value.isascii() else None
        if remembered in self._matching:
            return True
        if not matcher.matches(_folded(match, path)):
            return False
        if remembered is not None and len(self._matching) < MAXIMUM_REMEMBERED:
            self._matching.add(remembered)
        return True

    def unknown(self, match: Dataset) -> set[str]:
        """The keywords of keys of which `match` has no element."""
        return {name_of(*path) for path in self._matchers if path[0] not in match}


def _compared(keys: Dataset, vrs: frozenset[str], except_for: frozenset[int], above: Path = ()) -> Iterator[Path]:
    """The paths of the keys that are compared."""
    for tag in keys.keys() - except_for:
        vr = vr_of(keys, tag)
        if vr == "SQ":
            for item in _items(keys, tag):
                yield from _compared(item, vrs, frozenset(), (*above, tag))
        elif vr in vrs and not keys[tag].is_empty and keys[tag].value != _EMPTY:
            yield (*above, tag)


def _folded(dataset: Dataset, path: Path, outer: Sequence[str] = ()) -> Dataset:
    """A data set with what is at this path, its text in capital letters."""
    tag, below = path[0], path[1:]
    folded = Dataset()
    if tag not in dataset:
        return folded
    character_sets, vr = character_sets_of(dataset, outer), vr_of(dataset, tag)
    if below:
        items = [_folded(item, below, character_sets) for item in _items(dataset, tag)]
        folded[tag] = DataElement(tag, "SQ", items)
    elif vr in TEXT_VRS:
        values = [text.upper() for text in Texts().of(dataset, tag, character_sets)]
        folded[tag] = DataElement(tag, vr, values, already_converted=True)
    return folded


def _items(dataset: Dataset, tag: int) -> Sequence[Dataset]:
    try:
        element = dataset[tag]
    except PYDICOM_ERRORS:
        return ()  # unreadable, and so not known
    return element.value if element.VR == "SQ" and element.value else ()
