"""A PostgreSQL server for tests, in a temporary folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import psycopg
import pytest
from sqlalchemy import create_mock_engine, make_url
from sqlalchemy.schema import ExecutableDDLElement

from dimse.node.schema import VERSION, metadata

_SETTINGS: Final = (
    "fsync=off",
    "full_page_writes=off",
    "listen_addresses=",
    "max_connections=60",
    "shared_buffers=16MB",
    "autovacuum=off",
    "timezone=UTC",
)

# It ends with the process that tests, however that ends: then `cat` has read everything. The folder is not one of
# pytest's, whose names are too long for a socket.
_SERVE: Final = """
set -e
folder=$(mktemp -d /tmp/dimse-pg-XXXXXX)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$1/initdb" --no-sync --auth=trust --username=postgres --encoding=UTF8 --locale=C -D data > log 2>&1
"$1/pg_ctl" -D data -l log -w -o "-k $folder $2" start > log.start
echo "$folder"
cat > input
"$1/pg_ctl" -D data -m immediate -w stop > log.stop
"""


def _programs() -> Path | None:
    """The folder with the programs of the newest PostgreSQL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return found[-1] if found else None


def _user() -> str | None:
    """The user that a server runs as: it refuses to run as root."""
    return "postgres" if os.geteuid() == 0 else None


def stop(url: str) -> None:
    """End a server, of which `url` is a database, as if it had crashed."""
    _control(url, "-m", "immediate", "stop")


def start(url: str) -> None:
    """Start a server again that was stopped."""
    settings = " ".join(f"-c {setting}" for setting in _SETTINGS)
    folder = _folder(url)
    _control(url, "-l", f"{folder}/log", "-o", f"-k {folder} {settings}", "start")


def _folder(url: str) -> str:
    host = make_url(url).query["host"]
    assert isinstance(host, str)
    return host


def _control(url: str, *arguments: str) -> None:
    programs = _programs()
    assert programs is not None
    folder = _folder(url)
    command = [str(programs / "pg_ctl"), "-D", f"{folder}/data", "-w", *arguments]
    subprocess.run(command, user=_user(), cwd=folder, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - our own


def make_tables(connection: psycopg.Connection) -> None:
    """Make the tables of an index, in the present schema, at once: one by one takes five times as long."""
    connection.execute(_tables())
    connection.execute("INSERT INTO alembic_version VALUES (%s)", [VERSION])


@cache
def _tables() -> bytes:
    statements = []

    def note(statement: ExecutableDDLElement, *_: object, **__: object) -> None:
        statements.append(str(statement.compile(dialect=engine.dialect)))

    engine = create_mock_engine("postgresql+psycopg://", note)
    metadata.create_all(engine, checkfirst=False)
    statements.append("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    return ";".join(statements).encode()


@contextmanager
def serve() -> Iterator[str]:
    """A server of its own. Gives the URL of its database."""
    programs = _programs()
    if programs is None:
        reason = "PostgreSQL is not installed (Debian: postgresql)"
        if os.environ.get("CI") == "true" and sys.platform == "linux":  # where each of our runners has it
            pytest.fail(reason)
        pytest.skip(reason)
    settings = " ".join(f"-c {setting}" for setting in _SETTINGS)
    command = ["sh", "-c", _SERVE, "sh", str(programs), settings]
    with subprocess.Popen(command, user=_user(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - no input of others
        assert process.stdin is not None
        assert process.stdout is not None
        folder = process.stdout.readline().strip()
        assert folder, "PostgreSQL does not start"
        yield f"postgresql://postgres@/postgres?host={folder}"
        process.stdin.close()
        process.wait(30)
