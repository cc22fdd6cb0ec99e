"""A PostgreSQL server for tests, in a temporary folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import psycopg
import pytest
from sqlalchemy import make_url

from dimse.node.index import Index
from dimse.node.schema import metadata

_SETTINGS: Final = (
    "fsync=off",
    "full_page_writes=off",
    "listen_addresses=",
    "max_connections=60",
    "shared_buffers=16MB",
    "autovacuum=off",
    "timezone=UTC",
)

_EMPTY: Final = f"SET lock_timeout = '5s'; TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY"

# It ends with the process that tests, however that ends: then `read` has a line, or the end. The folder is not one of
# pytest's, whose names are too long for a socket. Its many files are removed while nobody waits.
_SERVE: Final = """
set -e
folder=$(mktemp -d /tmp/dimse-pg-XXXXXX)
trap 'rm -rf "$folder" &' EXIT
cd "$folder"
"$1/initdb" --no-sync --auth=trust --username=postgres --encoding=UTF8 --locale=C -D data > log 2>&1
"$1/pg_ctl" -D data -l log -w -o "-k $folder $2" start > log.start
echo "$folder"
read -r line || true
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
    with subprocess.Popen(  # noqa: S603 - no input of others
        command,
        user=_user(),
        start_new_session=True,  # Ctrl-C is for the tests alone: a shell that it ends leaves the server behind
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        folder = process.stdout.readline().strip()
        assert folder, "PostgreSQL does not start"
        yield f"postgresql://postgres@/postgres?host={folder}"
        process.stdin.write("stop\n")
        process.stdin.close()
        process.wait(50)


class Schemas:
    """Schemas of the server at `server`, a URL: empty ones, and one with tables that serves test after test."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._numbers = count(1)
        self._shared: str | None = None

    def empty(self) -> str:
        """The URL of a new schema, without tables."""
        name = f"test{next(self._numbers)}"
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"{self._server}&options=-csearch_path%3D{name}"

    def with_tables(self) -> str:
        """The URL of a schema with the tables of an index, and nothing in them; it is the same for each test."""
        if self._shared is None or not _is_emptied(self._shared):
            self._shared = self.empty()
            Index(self._shared).close()
        return self._shared


def _is_emptied(url: str) -> bool:
    """Empty the tables. False if a test has left one locked, or dropped it."""
    try:
        with psycopg.connect(url) as connection:
            connection.execute(_EMPTY.encode())
    except (psycopg.errors.UndefinedTable, psycopg.errors.LockNotAvailable):
        return False
    return True
