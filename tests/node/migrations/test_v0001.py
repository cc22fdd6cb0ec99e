"""An index of the first version can be used."""

from __future__ import annotations

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from tests.node.arrivals import ONE, arrival, put, rows

from dimse.node.arrival import Outcome
from dimse.node.index import Index, make_engine
from dimse.node.migrating import FOLDER
from dimse.node.schema import instance


def make(url: str) -> None:
    """Make the tables of the first version."""
    scripts = ScriptDirectory(str(FOLDER), version_locations=[str(FOLDER)])
    engine = make_engine(url)
    with engine.connect() as connection, connection.begin(), EnvironmentContext(Config(), scripts) as environment:
        environment.configure(connection=connection, fn=lambda current, _: scripts._upgrade_revs("0001", current))
        environment.run_migrations()
    engine.dispose()


def test_it_stores_instances(index_url: str) -> None:
    make(index_url)
    index = Index(index_url)
    assert put(index, arrival(ONE))[0].outcome is Outcome.NEW
    assert [row.uid for row in rows(index, instance)] == [ONE.uid]
    index.close()
