"""Whether a match has the keys of its query, for archives that ignore some of them (PS3.4 C.4.1.3.2).

Compared are codes, texts, dates and UIDs, without regard to case, by the rules of `Matcher`. Person names are not: an
archive may match them by their sound (PS3.4 C.2.2.2.1.1). What an archive leaves out is not known, and so no reason to
drop a match.
"""

from __future__ import annotations

from typing import Final

from dimse.dataset.pydicom_names import DataElement, Dataset
from dimse.dataset.texts import TEXT_VRS, Texts, character_sets_of, vr_of
from dimse.services.matching import Matcher
from dimse.services.query_keys import name_of
from dimse.upper_layer.extended import QueryFeatures

_COMPARED: Final = TEXT_VRS - {"PN"}
_TIMES: Final = frozenset(("DA", "DT", "TM"))
"""Which an archive matches in pairs, or in the time zone of the query, if that was agreed on."""
_EMPTY: Final = '""'
"""It matches an empty value (PS3.4 C.2.2.2.7)."""
_OF_THE_REQUEST: Final = frozenset((0x00080005, 0x00080052, 0x00080053))
MAXIMUM_REMEMBERED: Final = 1000
"""Values that are known to match: those of the matches of a query are often the same."""


class KeyCheck:
    """The keys of an identifier that have a value."""

    def __init__(self, identifier: Dataset, *, except_for: frozenset[int], agreed: QueryFeatures | None = None) -> None:
        self._matchers: dict[int, Matcher] = {}
        self._matching: set[tuple[int, object]] = set()
        moves_times = agreed is not None and (agreed.combined_date_time or agreed.timezone)
        compared = _COMPARED - _TIMES if moves_times else _COMPARED
        for tag in identifier.keys() - _OF_THE_REQUEST - except_for:
            vr = vr_of(identifier, tag)
            if vr in compared and not identifier[tag].is_empty and identifier[tag].value != _EMPTY:
                self._matchers[tag] = Matcher(_folded(identifier, tag, vr))

    def ignored(self, match: Dataset) -> str | None:
        """The keyword of a key that `match` does not have, if any."""
        for tag, matcher in self._matchers.items():
            if tag in match and not self._matches(match, tag, matcher):
                return name_of(tag)
        return None

    def _matches(self, match: Dataset, tag: int, matcher: Matcher) -> bool:
        value: object = match.get_item(tag).value
        remembered = (tag, value) if isinstance(value, str | bytes) and value.isascii() else None
        if remembered in self._matching:
            return True
        if not matcher.matches(_folded(match, tag, vr_of(match, tag))):
            return False
        if remembered is not None and len(self._matching) < MAXIMUM_REMEMBERED:
            self._matching.add(remembered)
        return True

    def unknown(self, match: Dataset) -> set[str]:
        """The keywords of keys of which `match` has no element."""
        return {name_of(tag) for tag in self._matchers if tag not in match}


def _folded(dataset: Dataset, tag: int, vr: str) -> Dataset:
    """A data set with this element, its text in capital letters."""
    folded = Dataset()
    if vr in TEXT_VRS:
        values = [text.upper() for text in Texts().of(dataset, tag, character_sets_of(dataset))]
        folded[tag] = DataElement(tag, vr, values, already_converted=True)
    return folded
