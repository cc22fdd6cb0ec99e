"""`dimse_send.py PORT [--window=N] [--associations=N] [--tune] [--tls] FILE...`: send with `dimse.send`.

It prints how many associations there were, and how long the transfer took.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time

from loops import run

import dimse
from dimse import send


async def main(port: int, flags: dict[str, str], paths: list[str]) -> None:
    options = dimse.ClientOptions(
        operations_window=int(flags.get("window", dimse.ClientOptions().operations_window)),
        tls=_ssl() if "tls" in flags else None,
    )
    sources = await asyncio.to_thread(lambda: [dimse.FileSource(path) for path in paths])
    start = time.perf_counter()
    report = await send(
        f"BENCH@127.0.0.1:{port}",
        sources,
        options=options,
        associations=int(flags.get("associations", 1)),
        auto_associations="tune" in flags,
    )
    # From before the connection is opened until after it is closed.
    seconds = time.perf_counter() - start
    assert len(report.stored) == len(paths)
    print("associations", report.associations)
    print("transfer", seconds)


def _ssl() -> ssl.SSLContext:
    from certificate import client_context

    return client_context()


given = sys.argv[2:]
flags = {name: value for name, _, value in (each[2:].partition("=") for each in given if each.startswith("--"))}
run(main(int(sys.argv[1]), flags, [each for each in given if not each.startswith("--")]))
