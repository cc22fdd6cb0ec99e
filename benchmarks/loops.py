"""Runs a coroutine as the command line does: on uvloop where that is installed."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Coroutine
from typing import Any


def run(main: Coroutine[Any, Any, None]) -> None:
    """Like `asyncio.run`, with what is imported left out of garbage collection.

    With BENCH_LOOP=asyncio in the environment it is asyncio's own loop in any case.
    """
    gc.freeze()
    if os.environ.get("BENCH_LOOP") == "asyncio":
        asyncio.run(main)
        return
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)
