"""A Python program at a fraction of its CPU time: forked from a process that has imported what it needs.

Started in place of Python, with its arguments, this file asks that process to run the program with its own streams,
environment and folder, passes signals on to it, and ends as it ended. It imports little, as it starts for each program.
"""

from __future__ import annotations

import marshal
import os
import signal
import socket
import sys


def main(address: str, arguments: list[str]) -> None:
    """Have the program run by the process that listens at `address`, and end as it does."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: connection.send(bytes([number])))
        request = marshal.dumps((arguments, os.getcwd(), dict(os.environ)))  # noqa: PTH109 - pathlib takes longer
        socket.send_fds(connection, [len(request).to_bytes(4, "big") + request], [0, 1, 2])
        code = int.from_bytes(connection.recv(2), "big", signed=True)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
