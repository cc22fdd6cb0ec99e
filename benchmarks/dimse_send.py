"""`dimse_send.py PORT FILE...`: send with `dimse.send`, and print how long the transfer took."""

from __future__ import annotations

import asyncio
import sys
import time

from loops import run

import dimse


async def main(port: int, paths: list[str]) -> None:
    sources = await asyncio.to_thread(lambda: [dimse.FileSource(path) for path in paths])
    start = time.perf_counter()
    report = await dimse.send(f"BENCH@127.0.0.1:{port}", sources)
    assert len(report.stored) == len(paths)
    # From before the connection is opened until after it is closed.
    print("transfer", time.perf_counter() - start)


run(main(int(sys.argv[1]), sys.argv[2:]))
