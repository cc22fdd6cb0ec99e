"""The groups of cases. Tests run all through the machine and some over sockets, `make conversations` all over both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from tests.conversations import commands, damage, datasets, pdvs, suboperations, table, values
from tests.conversations.cases import Case, Then


class Group(NamedTuple):
    """Cases of one kind."""

    cases: Callable[[], Iterable[Case]]
    every: int = 1
    """The tests run each so many-th case over a socket."""
    is_thorough: bool = False
    """Whether the tests send each case byte for byte through the machine too; `make conversations` does so with all."""


GROUPS: Final[dict[str, Group]] = {
    "cut at every byte, then silent": Group(lambda: damage.cut(Then.STALL), 9),
    "cut at every byte, then closed": Group(lambda: damage.cut(Then.CLOSE), 3),
    "cut at every byte, then reset": Group(lambda: damage.cut(Then.RESET), 9),
    "wrong lengths": Group(damage.wrong_lengths, is_thorough=True),
    "reserved bytes": Group(damage.reserved_bytes, 2),
    "values at their edges": Group(values.values, 13),
    "PDU types": Group(table.types, 4),
    "Table 9-10": Group(table.cells),
    "over the maximum length": Group(table.over_the_maximum),
    "silence": Group(table.stalls),
    "ends": Group(table.ends),
    "context IDs": Group(pdvs.context_ids, 9),
    "message control headers": Group(pdvs.control_bytes, 9),
    "empty fragments": Group(pdvs.empty_fragments, 3),
    "interleaved messages": Group(pdvs.interleaved, 2, is_thorough=True),
    "good messages, cut": Group(commands.good, 2),
    "attributes of commands": Group(commands.attributes, 5),
    "forms of commands": Group(commands.forms, 5),
    "values of commands": Group(commands.values, 5),
    "C-CANCEL": Group(commands.cancels),
    "responses": Group(commands.responses),
    "sub-operations of C-GET": Group(suboperations.all_of_them, 2),
    "depth of sequences": Group(datasets.depths, 11),
    "truncated data sets": Group(datasets.truncated, 4),
    "lengths of elements": Group(datasets.wrong_lengths, 5),
    "value representations": Group(datasets.wrong_vrs, 3),
    "character sets": Group(datasets.character_sets, 3),
    "deflated data sets": Group(datasets.deflated, 4),
    "many elements": Group(datasets.many, 5),
}
