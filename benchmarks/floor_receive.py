"""`floor_receive.py PORT FOLDER`: write what comes through a plain blocking socket into files."""

from __future__ import annotations

import socket
import sys
from itertools import count
from pathlib import Path

REQUEST = 200
RESPONSE = 170


def receive(connection: socket.socket, folder: Path) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = bytearray(512 * 1024)
    view = memoryview(buffer)
    for number in count():
        header = connection.recv(REQUEST, socket.MSG_WAITALL)
        if not header:
            return
        left = int.from_bytes(header, "little")
        with (folder / f"{number}.dcm").open("wb", buffering=0) as file:
            while left:
                size = connection.recv_into(view[: min(left, len(view))])
                file.write(view[:size])
                left -= size
        connection.sendall(bytes(RESPONSE))


def main(port: int, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                receive(connection, folder)


main(int(sys.argv[1]), Path(sys.argv[2]))
