"""Makes the tables of an index, or brings those of an older version up to date.

1. The version of the tables is in them. An index that has the present one costs a look at that: Alembic is imported
   only for others, as it takes longer than all the rest.
2. An empty database gets the present tables at once. One that is older gets what was added since, by Alembic.
3. It is one transaction, with a lock: several processes may open an index at the same time.
4. A version that is not known is of a newer program, and is refused: to write what it does not expect would harm it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, select, text

from dimse.errors import DimseError
from dimse.node.schema import VERSION, metadata

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

FOLDER: Final = Path(__file__).with_name("migrations")

_LOCK: Final = 0x64696D7365  # "dimse"
"""The advisory lock of PostgreSQL that a migration takes."""

_version: Final = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))


class UnknownVersion(DimseError):
    """The database has tables that this version of dimse does not know."""


class NewerVersion(UnknownVersion):
    """The tables are those of a newer dimse."""


def is_current(connection: Connection) -> bool:
    """Whether the tables are those of this version of dimse."""
    return _found(connection) == VERSION


def migrate(connection: Connection) -> None:
    """Make the tables, or bring them up to date, in a transaction that writes.

    Raises `NewerVersion` if they are of a newer version, and `UnknownVersion` if they are not of an index.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    found = _found(connection)
    if found is None:
        _create(connection)
    elif found != VERSION:
        _upgrade(connection, found)


def _found(connection: Connection) -> str | None:
    """The version of the tables; None if there are none."""
    if not inspect(connection).has_table(_version.name):
        return None
    return connection.execute(select(_version.c.version_num)).scalar()


def check_version(connection: Connection) -> None:
    """Raise `UnknownVersion` as `migrate` does; nothing is changed."""
    found = _found(connection)
    if found is None:
        _check_foreign(connection)
    elif found != VERSION:
        _check_known(found)


def _check_foreign(connection: Connection) -> None:
    present = set(inspect(connection).get_table_names()) & metadata.tables.keys()
    if present:
        raise UnknownVersion(
            f"the database has a table {min(present)!r}, but not one of dimse: choose another database"
        )


def _create(connection: Connection) -> None:
    _check_foreign(connection)
    metadata.create_all(connection, checkfirst=False)
    _version.create(connection)
    connection.execute(insert(_version).values(version_num=VERSION))


def _check_known(found: str) -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(FOLDER), version_locations=[str(FOLDER)])
    if found not in {script.revision for script in scripts.walk_revisions()}:
        raise NewerVersion(
            f"the index has version {found}, and this dimse knows those up to {VERSION}: a newer dimse has used it, so"
            f" install that one, or restore a backup"
        )
    return scripts


def _upgrade(connection: Connection, found: str) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext

    scripts = _check_known(found)
    with EnvironmentContext(Config(), scripts) as environment:
        environment.configure(connection=connection, fn=lambda current, _: scripts._upgrade_revs(VERSION, current))
        environment.run_migrations()
