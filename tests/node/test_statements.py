"""Statements that are compiled once."""

from __future__ import annotations

import pytest
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from dimse.node.index import Index
from dimse.node.schema import source
from dimse.node.statements import Statement

INSERT = Statement(insert(source), ["name"])
FIND = Statement(select(source.c.id, source.c.name).where(source.c.name == bindparam("wanted")))
RENAME = Statement(update(source).where(source.c.name == bindparam("old")).values(name=bindparam("new")))


def test_rows_of_one_and_of_many(index: Index) -> None:
    with index.writing() as connection:
        INSERT.run(connection, [{"name": "a"}])
        INSERT.run(connection, [{"name": "b"}, {"name": "c"}])
        RENAME.run(connection, [{"new": "x", "old": "a"}, {"new": "y", "old": "b"}])
        assert FIND.rows(connection, wanted="y") == [(2, "y")]
        assert FIND.rows(connection, wanted="a") == []


def test_errors_are_those_of_sqlalchemy_and_name_no_values(index: Index) -> None:
    with index.writing() as connection:
        INSERT.run(connection, [{"name": "a"}])
    with pytest.raises(IntegrityError) as raised, index.writing() as connection:
        INSERT.run(connection, [{"name": "Doe^Jane"}, {"name": "a"}])
    assert "Doe" not in str(raised.value)
    with pytest.raises(SQLAlchemyError) as other, index.writing() as connection:
        connection.execute(insert(source), [{"name": "Doe^Jane"}, {"name": "a"}])
    assert "Doe" not in str(other.value)
