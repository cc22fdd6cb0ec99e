"""`floor_send.py PORT [tls] FILE...`: the same bytes through a plain blocking socket, a request and a response each."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

REQUEST = 200  # about what a C-STORE-RQ takes, with its headers
RESPONSE = 170


def connect(port: int, *, tls: bool) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not tls:
        return connection
    from certificate import client_context

    return client_context().wrap_socket(connection, server_hostname="127.0.0.1")


def main(port: int, paths: list[str], *, tls: bool) -> None:
    buffer = bytearray(256 * 1024)
    view = memoryview(buffer)
    start = time.perf_counter()
    with connect(port, tls=tls) as connection:
        for path in paths:
            with Path(path).open("rb", buffering=0) as file:
                size = Path(path).stat().st_size
                count = file.readinto(view[REQUEST:])
                view[:REQUEST] = size.to_bytes(REQUEST, "little")
                connection.sendall(view[: REQUEST + count])
                while count := file.readinto(buffer):
                    connection.sendall(view[:count])
            missing = RESPONSE
            while missing:
                missing -= len(connection.recv(missing))
    print("transfer", time.perf_counter() - start)


if sys.argv[2] == "tls":
    main(int(sys.argv[1]), sys.argv[3:], tls=True)
else:
    main(int(sys.argv[1]), sys.argv[2:], tls=False)
