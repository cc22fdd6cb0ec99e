"""Writing to file objects of the program: binary files, asynchronous ones, and the writers of asyncio."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from io import RawIOBase, TextIOBase
from typing import Final, Protocol, cast

from dimse.dataset.threads import in_thread

_ACCEPTED: Final = "a path, or an object whose write() takes bytes"


class Writable(Protocol):
    """A binary file object: one of `open` or `io`, an asynchronous one, or an `asyncio.StreamWriter`."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes. It may return how many it took, or be an `async def`."""


def writer_to(file: object) -> Callable[[bytes], Awaitable[None]]:
    """A function that writes all of some bytes to `file`, without holding the event loop.

    A plain `write` is called in a thread, as it may block. It is called on the event loop if it is an `async def`, or
    if there is an asynchronous `drain`, which is then awaited. Raises `TypeError` for an object that is not `Writable`.
    """
    write = getattr(file, "write", None)
    if isinstance(file, TextIOBase):
        raise TypeError(f"save() needs {_ACCEPTED}; this is a text stream: open the file in binary mode")
    if not callable(write):
        raise TypeError(f"save() needs {_ACCEPTED}, not {type(file).__name__}")
    drain = getattr(file, "drain", None)
    is_on_the_loop = inspect.iscoroutinefunction(write) or inspect.iscoroutinefunction(drain)

    async def write_all(data: bytes) -> None:
        left = memoryview(data)
        while left:
            part = bytes(left) if len(left) < len(data) else data
            taken: object = write(part) if is_on_the_loop else await in_thread(lambda part=part: write(part))  # type: ignore[misc]
            if inspect.isawaitable(taken):
                taken = await taken
            if taken is None and isinstance(file, RawIOBase):
                raise OSError("the file object is not blocking, and takes no bytes now")
            left = left[_count(taken, len(left)) :]
        if drain is not None and is_on_the_loop:
            await cast("Callable[[], Awaitable[None]]", drain)()

    return write_all


def _count(taken: object, most: int) -> int:
    """How many bytes a call of `write` took: all of them, unless it returned a smaller number, as raw files do."""
    if not isinstance(taken, int):
        return most
    if taken <= 0:
        raise OSError("the file object takes no more bytes")
    return taken
