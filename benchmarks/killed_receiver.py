"""`killed_receiver.py POINT COUNT ARGUMENTS...`: `dimse receive` that kills itself at a named point.

It does so at the COUNT-th time that it gets there, as by `kill -9`; with the point `random` somebody else does.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from dimse.cli import app
from dimse.network.connection import Connection


def killing(function: Callable[..., Any], nth: int, *, before: bool = False) -> Callable[..., Any]:
    """`function`, whose `nth` call is the last thing that this process does, or is about to do."""
    calls = count(1)

    def call(*arguments: Any, **named: Any) -> Any:
        is_last = next(calls) == nth
        if is_last and before:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return function(*arguments, **named)
        finally:  # also of a call that fails, as of two that make the same folder
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)

    return call


def _only_temporary(function: Callable[..., Any], nth: int) -> Callable[..., Any]:
    killed = killing(function, nth)

    def call(path: Any, *arguments: Any, **named: Any) -> Any:
        return (killed if str(path).endswith(".part") else function)(path, *arguments, **named)

    return call


POINTS: Final[dict[str, Callable[[int], None]]] = {
    "random": lambda _: None,
    "open": lambda nth: setattr(os, "open", _only_temporary(os.open, nth)),
    "write": lambda nth: setattr(os, "writev", killing(os.writev, nth)),
    "fsync": lambda nth: setattr(os, "fsync", killing(os.fsync, nth)),
    "mkdir": lambda nth: setattr(os, "mkdir", killing(os.mkdir, 2 + nth % 8)),
    "name": lambda nth: setattr(os, "link", killing(os.link, nth)),
    "unlink": lambda nth: setattr(os, "unlink", _only_temporary(os.unlink, nth)),
    "before the response": lambda nth: setattr(Connection, "write", killing(Connection.write, 8 + nth, before=True)),
    "after the response": lambda nth: setattr(Connection, "write", killing(Connection.write, 8 + nth)),
}
"""Named points, and what makes a process kill itself there.

The first `mkdir` is that of the root, which is there already, and the first 8 writes accept the associations.
"""

if __name__ == "__main__":
    POINTS[sys.argv[1]](int(sys.argv[2]))
    sys.exit(app.run(sys.argv[3:]))
