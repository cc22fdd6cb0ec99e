"""Runs a coroutine on uvloop where that is installed, as the command line does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any


def run(main: Coroutine[Any, Any, None]) -> None:
    """Like `asyncio.run`. With BENCH_LOOP=asyncio in the environment it is asyncio's own loop in any case."""
    if os.environ.get("BENCH_LOOP") == "asyncio":
        asyncio.run(main)
        return
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)
