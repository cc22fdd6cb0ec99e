"""Statements that run for each batch of instances.

SQLAlchemy takes some 30 us for each execution of a statement that it has compiled before, ten times as long as SQLite
takes to run it. These are compiled once for each database and run by its driver. So values are not converted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Dialect, Insert, Select, Update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler


class Statement:
    """A statement; of an INSERT, `columns` are those that are given a value. Its values are of `bindparam` only."""

    def __init__(self, statement: Select[Any] | Insert | Update, columns: Sequence[str] | None = None) -> None:
        self._statement = statement.inline() if isinstance(statement, Insert) else statement
        self._columns = columns
        self._compiled: Final[dict[str, tuple[str, Sequence[str] | None]]] = {}

    def rows(self, connection: Connection, **parameters: Any) -> list[tuple[Any, ...]]:
        """Run it, and fetch all rows. Raises `sqlalchemy.exc.DBAPIError`."""
        return self._run(connection, [parameters], fetches=True)

    def run(self, connection: Connection, parameters: Sequence[Mapping[str, Any]]) -> None:
        """Run it for all of `parameters`. Raises `sqlalchemy.exc.DBAPIError`."""
        self._run(connection, parameters, fetches=False)

    def _run(
        self, connection: Connection, parameters: Sequence[Mapping[str, Any]], *, fetches: bool
    ) -> list[tuple[Any, ...]]:
        text, names = self._compiled.get(connection.dialect.name) or self._compile(connection.dialect)
        values: Sequence[Any] = parameters if names is None else [[each[name] for name in names] for each in parameters]
        return _run(connection, text, values, fetches=fetches)

    def _compile(self, dialect: Dialect) -> tuple[str, Sequence[str] | None]:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - it is of a statement
        names = compiled.positiontup if compiled.positional else None
        self._compiled[dialect.name] = compiled.string, names
        return compiled.string, names


def run_text(connection: Connection, text: str) -> None:
    """Run a statement without values. Raises `sqlalchemy.exc.DBAPIError`."""
    _run(connection, text, [()], fetches=False)


def _run(connection: Connection, text: str, values: Sequence[Any], *, fetches: bool) -> list[tuple[Any, ...]]:
    cursor = connection.connection.cursor()
    try:
        if len(values) == 1:
            cursor.execute(text, values[0])
        else:
            cursor.executemany(text, values)
        return list(cursor.fetchall()) if fetches else []
    except connection.dialect.loaded_dbapi.Error as error:
        dialect = connection.dialect
        wrapped = DBAPIError.instance(
            text, None, error, dialect.loaded_dbapi.Error, hide_parameters=True, dialect=dialect
        )
        raise wrapped from error
    finally:
        cursor.close()
