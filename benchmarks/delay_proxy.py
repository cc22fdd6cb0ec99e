"""`delay_proxy.py PORT TARGET SECONDS`: passes connections on to port TARGET, SECONDS later each way.

What comes is timed when it comes and written when it is due, in its order, so the delay limits no throughput:
as much may be under way as `MOST_UNDER_WAY`. Opening a connection is not delayed, for nobody.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from loops import run

MOST_UNDER_WAY: Final = 64 * 1024 * 1024
"""Bytes in each direction; at 20 ms round trip more than 6 GB/s."""
_READ: Final = 256 * 1024


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Everything that `reader` has, `delay` seconds later; its end as well."""
    loop = asyncio.get_running_loop()
    waiting = asyncio.Queue[tuple[float, bytes]]()
    under_way, room = 0, asyncio.Event()

    async def read() -> None:
        nonlocal under_way
        data = b"-"
        while data:
            room.clear()
            if under_way >= MOST_UNDER_WAY:
                await room.wait()
            try:
                data = await reader.read(_READ)
            except ConnectionError:
                data = b""
            under_way += len(data)
            waiting.put_nowait((loop.time() + delay, data))

    async def write() -> None:
        nonlocal under_way
        while True:
            due, data = await waiting.get()
            if (pause := due - loop.time()) > 0:
                await asyncio.sleep(pause)
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()
            under_way -= len(data)
            room.set()

    reading = asyncio.ensure_future(read())
    try:
        await write()
    except ConnectionError:
        writer.close()
    finally:
        reading.cancel()


async def main(port: int, target: int, delay: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", target, limit=_READ)
        except OSError:
            writer.close()
            return
        async with asyncio.TaskGroup() as directions:
            directions.create_task(pass_on(reader, back, delay))
            directions.create_task(pass_on(there, writer, delay))

    server = await asyncio.start_server(connected, "127.0.0.1", port, backlog=1024, limit=_READ)
    await server.serve_forever()


run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
