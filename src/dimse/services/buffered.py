"""The bytes of received data sets and identifiers that this process has in memory, over all associations.

They are counted before they take memory, until they are answered. What is never answered is counted until nothing
refers to it: however an association or an operation ends, nothing stays counted.
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import Final

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
