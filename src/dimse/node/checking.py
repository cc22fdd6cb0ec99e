"""What a node would not be able to use, before it begins: `dimse node --check`."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from dimse.network.listening import cannot_listen, listening_sockets
from dimse.node.data_folder import check_has_index, index_url, served
from dimse.node.index import make_engine
from dimse.node.migrating import UnknownVersion, check_version
from dimse.node.options import NodeOptions
from dimse.node.recurring import reason

_FOLDERS: Final = ("studies", "incoming", "set-aside")
"""Of the data folder, if they are there. They may be links."""


async def problems(options: NodeOptions) -> list[str]:
    """What of the folder, the index, the ports and other files cannot be used, in words. It changes nothing.

    If a node serves from the folder now, it has the ports, which are not checked.
    """
    found: list[str | None] = [*map(reason, _folder_problems(options.data))]
    found.append(_index_problem(options))
    if options.server.audit is not None:
        found.append(_audit_problem(options.server.audit.path))
    if not _is_served(options.data):
        found += await _port_problems(options)
    return [each for each in found if each is not None]


def check_folders(data: Path) -> None:
    """Raise `OSError` if something cannot be stored in the data folder. It changes nothing."""
    for problem in _folder_problems(data):
        raise problem


def _folder_problems(data: Path) -> list[OSError]:
    parts = [path for name in _FOLDERS if os.path.lexists(path := data / name)]
    found = [*map(_folder_problem, [data, *parts]), _disk_problem(data)]
    return [each for each in found if each is not None]


def _disk_problem(data: Path) -> OSError | None:
    """A file gets a second name when it is stored, which it can have on one file system only."""
    places = [path if (path := data / name).exists() else data for name in _FOLDERS]
    if len({place.stat().st_dev for place in places if place.is_dir()}) > 1:
        why = f"{', '.join(_FOLDERS)} must be on one file system: link all of them to it, or none"
        return OSError(errno.EXDEV, why, str(data))
    return None


def _folder_problem(folder: Path) -> OSError | None:
    if folder.is_symlink() and not folder.exists():
        why = f"is a link to {folder.readlink()}, which is not there; is its disk mounted?"
        return FileNotFoundError(errno.ENOENT, why, str(folder))
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not existing.is_dir():
        return NotADirectoryError(errno.ENOTDIR, "is not a folder", str(existing))
    try:
        with tempfile.TemporaryFile(dir=existing):
            return None
    except OSError as error:
        return OSError(error.errno, f"cannot be written: {error.strerror}", str(existing))


def _index_problem(options: NodeOptions) -> str | None:
    try:
        if options.index is None:
            check_has_index(options.data)
            file = options.data / "index.sqlite"
            if not file.exists():
                return None
            if not os.access(file, os.W_OK):
                return f"{file}: cannot be written: {os.strerror(errno.EACCES)}"
        engine = make_engine(options.index or index_url(options.data))
        with ExitStack() as stack:
            stack.callback(engine.dispose)
            connection = stack.enter_context(engine.connect())
            check_version(connection)
    except UnknownVersion as error:
        return str(error)
    except SQLAlchemyError as error:
        return index_unusable(options, error)
    except FileNotFoundError as error:
        return reason(error)
    return None


def index_unusable(options: NodeOptions, error: SQLAlchemyError) -> str:
    """Why the index cannot be used, without the statement, whose values are data of patients."""
    cause = getattr(error, "orig", None) or error
    index = "the index" if options.index is not None else f"the index {options.data / 'index.sqlite'}"
    advice = "; dimse node reindex rebuilds it" if type(cause) is sqlite3.DatabaseError else ""
    return f"{index} cannot be used: {' '.join(str(cause).split())}{advice}"


def _audit_problem(path: Path) -> str | None:
    is_writable = not path.is_dir() and os.access(path if path.exists() else path.parent, os.W_OK)
    return None if is_writable else f"[node] audit: {path}: cannot be written"


def _is_served(data: Path) -> bool:
    if not (data / "node.lock").exists():
        return False
    with suppress(OSError), served(data):
        return False
    return True


async def _port_problems(options: NodeOptions) -> list[str | None]:
    """Listens on both addresses at once, as a node does."""
    wanted = [(options.host, options.port, cannot_listen)]
    if options.web is not None:
        wanted.append((options.web.host, options.web.port, cannot_show))
    found: list[str | None] = []
    with ExitStack() as stack:
        for host, port, say in wanted:
            try:
                for sock in await listening_sockets(host.strip("[]"), port):
                    stack.callback(sock.close)
            except OSError as error:
                found.append(say(host, port, error))
    return found


def cannot_show(host: str, port: int, error: OSError) -> str:
    """Why the page cannot listen, and what to do."""
    return f"the page {cannot_listen(host, port, error)}; --web off leaves the page out"
