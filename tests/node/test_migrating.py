"""The versions of the tables.

As long as no version was released, `PYTHONPATH=. python tests/node/test_migrating.py` writes the first one anew.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.config import Config
from alembic.operations.ops import CreateTableOp, ModifyTableOps, UpgradeOps
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from tests.node.arrivals import ONE, arrival, put

from dimse.node import migrating
from dimse.node.index import Index, make_engine
from dimse.node.migrating import FOLDER, UnknownVersion, is_current, migrate
from dimse.node.schema import VERSION, metadata

SCRIPTS = ScriptDirectory(str(FOLDER), version_locations=[str(FOLDER)])


def first_version() -> str:
    """The source of a migration that makes the tables of now."""
    with create_engine("sqlite://").connect() as connection:
        operations = produce_migrations(MigrationContext.configure(connection), metadata).upgrade_ops
    assert operations is not None

    functions = {}
    for operation in operations.ops:
        assert isinstance(operation, CreateTableOp | ModifyTableOps)
        name = operation.table_name + ("" if isinstance(operation, CreateTableOp) else "_indexes")
        functions[name] = render_python_code(UpgradeOps([operation]))
    head = (
        '"""The tables of the first version."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\n'
        'revision = "0001"\ndown_revision = None\n\n\ndef upgrade() -> None:\n'
    )
    parts = [
        head,
        *(f"    _{name}()\n" for name in functions),
        *(f"\n\ndef _{name}() -> None:\n    {code}\n" for name, code in functions.items()),
    ]
    lines = "".join(parts).splitlines()
    return "\n".join(line for line in lines if not line.strip().startswith("# ###")) + "\n"


def migrate_from_the_first(connection: Connection, to: str = VERSION) -> None:
    """Make the tables by all migrations, one after another."""
    with EnvironmentContext(Config(), SCRIPTS) as environment:
        environment.configure(connection=connection, fn=lambda current, _: SCRIPTS._upgrade_revs(to, current))
        environment.run_migrations()


@pytest.fixture
def engine(index_url: str) -> Iterator[Engine]:
    """A database without tables."""
    made = make_engine(index_url)
    yield made
    made.dispose()


def made_tables(connection: Connection) -> dict[str, Any]:
    """What a database says of its tables."""
    if connection.dialect.name == "sqlite":
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'alembic%'"))
        return {
            name: sorted(" ".join(part.split()) for part in re.sub("[()]", " ", sql or "").split(","))
            for name, sql in rows
            if not name.startswith("sqlite_")
        }
    found = inspect(connection)
    ask = (found.get_columns, found.get_indexes, found.get_unique_constraints, found.get_foreign_keys)
    return {table: repr([one(table) for one in ask]) for table in found.get_table_names() if table in metadata.tables}


def test_the_migrations_lead_to_the_tables_of_now(index_url: str, engine: Engine) -> None:
    with engine.connect() as connection, connection.begin():
        migrate_from_the_first(connection)
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == [], "schema.py has changed, and the migrations have not"
        migrated = made_tables(connection)
        for table in reversed(metadata.sorted_tables):
            table.drop(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        migrate(connection)
        assert migrated == made_tables(connection)
        assert is_current(connection)


def test_an_index_of_an_older_version_is_brought_up_to_date(
    index_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = Index(index_url)
    put(old, arrival(ONE))
    old.close()
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    (tmp_path / "next.py").write_text(
        f"from alembic import op\nimport sqlalchemy as sa\nrevision, down_revision = 'next', {VERSION!r}\n"
        "def upgrade():\n    op.add_column('study', sa.Column('weight', sa.Integer))\n"
    )
    monkeypatch.setattr(migrating, "FOLDER", tmp_path)
    monkeypatch.setattr(migrating, "VERSION", "next")
    for _ in range(2):
        index = Index(index_url)
        with index.reading() as connection:
            assert connection.execute(text("SELECT uid, weight FROM study")).all() == [("1.1", None)]
        index.close()
    # and it is refused by the program that it was made with
    monkeypatch.undo()
    with pytest.raises(UnknownVersion, match=f"has version next, and this dimse knows those up to {VERSION}"):
        Index(index_url)


def test_a_migration_that_fails_changes_nothing(
    index_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Index(index_url).close()
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    (tmp_path / "next.py").write_text(
        f"from alembic import op\nimport sqlalchemy as sa\nrevision, down_revision = 'next', {VERSION!r}\n"
        "def upgrade():\n    op.add_column('study', sa.Column('weight', sa.Integer))\n    op.drop_table('nothing')\n"
    )
    with monkeypatch.context() as patch:
        patch.setattr(migrating, "FOLDER", tmp_path)
        patch.setattr(migrating, "VERSION", "next")
        with pytest.raises(SQLAlchemyError):
            Index(index_url)
    index = Index(index_url)
    with index.reading() as connection:
        assert "weight" not in {column["name"] for column in inspect(connection).get_columns("study")}
    index.close()


def test_a_database_of_something_else_is_refused(index_url: str, engine: Engine) -> None:
    with engine.connect() as connection, connection.begin():
        connection.execute(text("CREATE TABLE series (season INTEGER)"))
    with pytest.raises(UnknownVersion, match="has a table 'series', but not one of dimse"):
        Index(index_url)


def test_several_processes_open_a_new_index_at_once(index_url: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        for index in threads.map(Index, [index_url] * 8):
            put(index, arrival(ONE))
            index.close()


def test_alembic_is_imported_for_another_version_only(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dimse.node.index import Index\n"
        "for _ in range(2): Index.at(Path(sys.argv[1])).close()\n"
        "sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "index.sqlite"], check=True)  # noqa: S603


if __name__ == "__main__":
    written = FOLDER / "v0001.py"
    written.write_text(first_version())
    subprocess.run([sys.executable, "-m", "ruff", "format", written], check=True)  # noqa: S603
