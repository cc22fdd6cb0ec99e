"""`floor_send.py PORT FILE...`: the same bytes through a plain blocking socket, with a request and a response each."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

REQUEST = 200  # about what a C-STORE-RQ takes, with its headers
RESPONSE = 170


def main(port: int, paths: list[str]) -> None:
    buffer = bytearray(256 * 1024)
    view = memoryview(buffer)
    start = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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


main(int(sys.argv[1]), sys.argv[2:])
