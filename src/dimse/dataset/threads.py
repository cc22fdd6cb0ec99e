"""A few threads for what would hold up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final, TypeVar

AT_ONCE: Final = 2
"""Decodings under way in the process: more would be no faster, and each takes memory."""

T = TypeVar("T")


async def beside_the_loop(function: Callable[[], T]) -> T:
    """Run what takes long, but ends, in one of `AT_ONCE` threads; not if the task is cancelled before its turn."""
    return await asyncio.get_running_loop().run_in_executor(_threads(), function)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, "dimse-decoding")
