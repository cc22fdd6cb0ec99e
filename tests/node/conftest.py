"""An index in each of the databases: SQLite, and a PostgreSQL that is started for the tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest
from tests.node.postgresql import make_tables, serve

from dimse.node.index import Index

DATABASES: Final = ("sqlite", "postgresql")

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a PostgreSQL that all tests of this process share."""
    with serve() as url:
        yield url


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """The URL of an empty schema in PostgreSQL."""
    schema = f"test{next(_numbers)}"
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
    return f"{postgresql_server}&options=-csearch_path%3D{schema}"


@pytest.fixture(params=DATABASES)
def index_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database: a SQLite file, or a schema in PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'index.sqlite'}"
    url: str = request.getfixturevalue("postgresql_url")
    return url


@pytest.fixture
def index(index_url: str) -> Iterator[Index]:
    """An empty index, in SQLite and in PostgreSQL."""
    if not index_url.startswith("sqlite"):
        server, _, schema = index_url.partition("&options=-csearch_path%3D")
        with psycopg.connect(server, options=f"-csearch_path={schema}", autocommit=True) as connection:
            make_tables(connection)
    opened = Index(index_url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_index(tmp_path: Path) -> Iterator[Index]:
    """An empty index in `index.sqlite`, for tests that need a file."""
    opened = Index.at(tmp_path / "index.sqlite")
    yield opened
    opened.close()
