"""The process that `forked.py` asks: it imports modules, and forks a program for each request.

python -P forking.py DESCRIPTOR MODULE...
"""

from __future__ import annotations

import gc
import marshal
import os
import runpy
import select
import signal
import socket
import sys
from importlib import import_module
from pathlib import Path
from signal import SIGKILL
from types import ModuleType


def serve(listener: socket.socket) -> None:
    """Fork for each connection. Returns only in the process of a program, which is then as if just started."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            run(connection)
            return
        connection.close()


def run(connection: socket.socket) -> None:
    """Fork the program, return in it, and watch over it here: pass signals on, and say how it ended."""
    request, streams, _, _ = socket.recv_fds(connection, 4, 3)
    length = int.from_bytes(request, "big")
    request = connection.recv(length, socket.MSG_WAITALL)
    pid = os.fork()
    if pid == 0:
        connection.close()
        become(streams, *marshal.loads(request))  # noqa: S302 - of our own test
        return
    for each in (*streams, 0, 1, 2):
        os.close(each)
    ended = os.pidfd_open(pid)
    while ended not in select.select([ended, connection.fileno()], [], [])[0]:
        numbers = connection.recv(1)
        os.kill(pid, numbers[0] if numbers else SIGKILL)  # the one that asked was killed
        if not numbers:
            break
    _, status = os.waitpid(pid, 0)
    connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(2, "big", signed=True))
    os._exit(0)


def become(streams: list[int], arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Take over what belongs to the process that asked."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = arguments


if __name__ == "__main__":
    for module in sys.argv[2:]:
        import_module(module)
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
    if sys.argv[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:  # not runpy.run_path(), which clears the names that the threads of the program need
        program = sys.modules["__main__"] = ModuleType("__main__")
        program.__file__ = sys.argv[0]
        exec(compile(Path(sys.argv[0]).read_bytes(), sys.argv[0], "exec"), program.__dict__)  # noqa: S102 - our own
