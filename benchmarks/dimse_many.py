"""`dimse_many.py idle PORT COUNT` opens COUNT associations, prints "open" and keeps them until it is ended.

`dimse_many.py send PORT COUNT FILE...` opens COUNT associations at once, shares the files out among them and, when all
are open, sends on all at once. It prints how many associations were refused or broke, how many objects were
stored, and how long the transfer took.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter

from loops import run

import dimse
from dimse import uids

OPENED_AT_ONCE = 50
"""Of those that are to be idle: a peer may be slow to take them."""


async def idle(port: str, count: str) -> None:
    opened, turns = 0, asyncio.Semaphore(OPENED_AT_ONCE)
    never = asyncio.Event()

    async def keep() -> None:
        nonlocal opened
        await turns.acquire()
        contexts = [(uids.VERIFICATION, uids.LITTLE_ENDIAN)]
        async with dimse.connect(f"BENCH@127.0.0.1:{port}", contexts=contexts):
            turns.release()
            opened += 1
            if opened == int(count):
                print("open", flush=True)
            await never.wait()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(int(count)):
            tasks.create_task(keep())


async def send(port: str, count: str, *paths: str) -> None:
    sources = await asyncio.to_thread(lambda: [dimse.FileSource(path) for path in paths])
    contexts = dimse.presentation_contexts(sources)
    store = dimse.CStoreSCU
    counts, all_answered = Counter[str](), asyncio.Event()

    def answered() -> None:
        counts["answered"] += 1
        if counts["answered"] == int(count):
            all_answered.set()

    async def one(share: list[dimse.FileSource]) -> None:
        established = False
        try:
            async with dimse.connect(f"BENCH@127.0.0.1:{port}", contexts=contexts) as association:
                established = True
                answered()
                await all_answered.wait()
                scu = store(association)
                for source in share:
                    await scu.send(source)
                    counts["stored"] += 1
        except dimse.DimseError as error:
            print(type(error).__name__, error)
            counts["broken" if established else "refused"] += 1
            if not established:
                answered()

    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(count)):
            tasks.create_task(one(sources[number :: int(count)]))
    seconds = time.perf_counter() - start
    print("refused", counts["refused"], "broken", counts["broken"], "stored", counts["stored"], "transfer", seconds)


operation, *arguments = sys.argv[1:]
run({"idle": idle, "send": send}[operation](*arguments))
