"""`floor_receive.py PORT FOLDER [tls]`: write what comes through a plain blocking socket into files."""

from __future__ import annotations

import socket
import ssl
import sys
from itertools import count
from pathlib import Path

REQUEST = 200
RESPONSE = 170


def read_request(connection: socket.socket) -> bytes:
    """The next one; empty when there are no more."""
    request = connection.recv(REQUEST)
    while request and len(request) < REQUEST:
        request += connection.recv(REQUEST - len(request))
    return request


def receive(connection: socket.socket, folder: Path) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = bytearray(512 * 1024)
    view = memoryview(buffer)
    for number in count():
        header = read_request(connection)
        if not header:
            return
        left = int.from_bytes(header, "little")
        with (folder / f"{number}.dcm").open("wb", buffering=0) as file:
            while left:
                size = connection.recv_into(view[: min(left, len(view))])
                file.write(view[:size])
                left -= size
        connection.sendall(bytes(RESPONSE))


def main(port: int, folder: Path, *, tls: bool) -> None:
    context = None
    if tls:
        from certificate import server_context

        context = server_context()
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            connection, _ = server.accept()
            try:
                wrapped = context.wrap_socket(connection, server_side=True) if context else connection
            except (ssl.SSLError, OSError):  # the one that looked whether we listen
                connection.close()
                continue
            with wrapped:
                receive(wrapped, folder)


main(int(sys.argv[1]), Path(sys.argv[2]), tls="tls" in sys.argv[3:])
