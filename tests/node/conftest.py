"""An index in each of the databases: SQLite, and a PostgreSQL that is started for the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.node.postgresql import Schemas, serve

from dimse.node.index import Index

DATABASES: Final = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a PostgreSQL that all tests of this process share."""
    with serve() as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_schemas(postgresql_server: str) -> Schemas:
    """The schemas of that PostgreSQL."""
    return Schemas(postgresql_server)


@pytest.fixture
def postgresql_url(postgresql_schemas: Schemas) -> str:
    """The URL of an empty schema in PostgreSQL."""
    return postgresql_schemas.empty()


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    """Which database a test runs on: it runs on each."""
    name: str = request.param
    return name


@pytest.fixture
def index_url(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> str:
    """The URL of an empty database: a SQLite file, or a schema in PostgreSQL."""
    if database == "sqlite":
        return f"sqlite:///{tmp_path / 'index.sqlite'}"
    schemas: Schemas = request.getfixturevalue("postgresql_schemas")
    return schemas.empty()


@pytest.fixture
def index(request: pytest.FixtureRequest, database: str) -> Iterator[Index]:
    """An index without rows, in SQLite and in PostgreSQL, where all tests have the same tables.

    For a test that takes `index_url` too, it is that one.
    """
    if database == "sqlite" or "index_url" in request.fixturenames:
        url = request.getfixturevalue("index_url")
    else:
        schemas: Schemas = request.getfixturevalue("postgresql_schemas")
        url = schemas.with_tables()
    opened = Index(url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_index(tmp_path: Path) -> Iterator[Index]:
    """An empty index in `index.sqlite`, for tests that need a file."""
    opened = Index.at(tmp_path / "index.sqlite")
    yield opened
    opened.close()
