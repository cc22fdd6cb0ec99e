"""`killed_node.py POINT COUNT ARGUMENTS...`: `dimse node` that kills itself at a named point.

It does so at the COUNT-th time that it gets there, as by `kill -9`; with the point `random` somebody else does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final

from killed_receiver import killing
from sqlalchemy.engine.default import DefaultDialect

from dimse.cli import app
from dimse.network.connection import Connection

POINTS: Final[dict[str, Callable[[int], None]]] = {
    "random": lambda _: None,
    "fsync": lambda nth: setattr(os, "fsync", killing(os.fsync, nth)),
    "name": lambda nth: setattr(os, "link", killing(os.link, nth)),
    "before the commit": lambda nth: _patch_commit(nth, before=True),
    "after the commit": lambda nth: _patch_commit(nth, before=False),
    "unlink": lambda nth: setattr(os, "unlink", killing(os.unlink, nth)),
    "before the response": lambda nth: setattr(Connection, "write", killing(Connection.write, 3 + nth, before=True)),
    "after the response": lambda nth: setattr(Connection, "write", killing(Connection.write, 3 + nth)),
}
"""Named points, and what makes a process kill itself there. The first 3 writes accept the associations."""


def _patch_commit(nth: int, *, before: bool) -> None:
    setattr(DefaultDialect, "do_commit", killing(DefaultDialect.do_commit, nth, before=before))  # noqa: B010 - mypy


if __name__ == "__main__":
    POINTS[sys.argv[1]](int(sys.argv[2]))
    sys.exit(app.run(["node", *sys.argv[3:]]))
