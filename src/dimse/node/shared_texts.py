"""The small tables of texts that many rows share: `uid`, `source` and `storage`.

1. Rows are added and never removed, so a number once committed means the same text forever.
2. A transaction that has added a text may fail, and another process may then take its number. So a number is kept for
   later transactions when it is found, not when it is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import Connection, RootTransaction, Table, bindparam, select

from dimse.node.index import insert_missing
from dimse.node.schema import source, storage, uid

MAXIMUM_TEXTS: Final = 10_000
"""Texts of a table whose numbers are kept in memory."""

_COLUMNS: Final = {uid: uid.c.uid, source: source.c.name, storage: storage.c.url}
_SELECTS: Final = {
    table: select(text, table.c.id).where(text.in_(bindparam("texts", expanding=True)))
    for table, text in _COLUMNS.items()
}


class SharedTexts:
    """The numbers of shared texts, for transactions one after another."""

    def __init__(self) -> None:
        self._kept: Final[dict[Table, dict[str, int]]] = {table: {} for table in _COLUMNS}
        self._added: Final[set[tuple[Table, str]]] = set()
        self._transaction: RootTransaction | None = None

    def numbers(self, connection: Connection, table: Table, texts: Iterable[str]) -> Mapping[str, int]:
        """The numbers of `texts`, and of others. Texts that `table` does not have are added to it."""
        kept = self._kept[table]
        if len(kept) > MAXIMUM_TEXTS:
            kept.clear()
        missing = {text for text in texts if text not in kept}
        if not missing:
            return kept
        found = self._find(connection, table, missing)
        absent = sorted(missing - found.keys())
        if absent:
            self._added.update((table, text) for text in absent)
            connection.execute(insert_missing(connection, table), [{_COLUMNS[table].name: text} for text in absent])
            found |= self._find(connection, table, absent)
        return kept | found

    def _find(self, connection: Connection, table: Table, texts: Iterable[str]) -> dict[str, int]:
        if connection.get_transaction() is not self._transaction:
            self._transaction = connection.get_transaction()
            self._added.clear()
        found = {row[0]: row[1] for row in connection.execute(_SELECTS[table], {"texts": list(texts)})}
        self._kept[table].update((text, number) for text, number in found.items() if (table, text) not in self._added)
        return found
