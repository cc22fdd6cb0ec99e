"""The bytes of received data sets and identifiers that this process has in memory, over all associations.

They are counted before they take memory, until they are answered. What is never answered is counted until nothing
refers to it: however an association or an operation ends, nothing stays counted.
"""

from __future__ import annotations

import sys
from collections import deque
from threading import Lock
from typing import Final

from dimse.errors import StatusError
from dimse.network.incoming_request import IncomingRequest
from dimse.options import ServerOptions

_freed: Final[deque[int]] = deque()
"""Bytes that are free again. A finalizer may run at any point of any thread, so it must not wait for the lock."""
_lock: Final = Lock()
_taken = 0


def bytes_in_memory() -> int:
    """The bytes of all `Claim`s."""
    global _taken
    with _lock:
        while _freed:
            _taken -= _freed.popleft()
        return _taken


async def collected(request: IncomingRequest, maximum: int, refusal: int, what: str) -> tuple[bytes, Claim]:
    """The identifier or attributes of a request, and the claim that counts them.

    Raises `StatusError` with `refusal` for more than `maximum` bytes, or if the process has too many in memory.
    """
    encoded, claim, options = bytearray(), Claim(), request.exchange.options
    in_process = options.store.maximum_buffered_in_process if isinstance(options, ServerOptions) else sys.maxsize
    while request.data is not None and (views := await request.data.pull()):
        size = len(encoded) + sum(map(len, views))
        if size > maximum:
            raise StatusError(refusal, request.message.name, f"{what} has more than {maximum} bytes")
        if not claim.grow(size, in_process):
            comment = "too many identifiers and data sets are being received; try again later"
            raise StatusError(refusal, request.message.name, comment)
        for view in views:
            encoded += view
    return bytes(encoded), claim


class Claim:
    """The bytes of one data set or identifier; free again at the latest when nothing refers to the claim."""

    __slots__ = ("_size",)

    def __init__(self) -> None:
        self._size = 0

    def grow(self, size: int, maximum: int) -> bool:
        """Claim `size` bytes in all, if there are at most `maximum` in the process then. Returns whether it did."""
        global _taken
        more = size - self._size
        bytes_in_memory()  # takes off what is free again
        with _lock:
            if _taken + more > maximum:
                return False
            _taken += more
        self._size = size
        return True

    def free(self) -> None:
        """Give the bytes back."""
        size, self._size = self._size, 0
        if size:  # a data set that is streamed never claims, and nothing would ever take its zeros off
            _freed.append(size)

    __del__ = free
