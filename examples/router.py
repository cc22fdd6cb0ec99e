"""Receive, keep on disk, send on: a small router that loses nothing.

    python router.py 11113 spool/ ARCHIVE@localhost:11112

An object is answered Success when it is in the spool folder. It leaves the folder when the archive has answered
Success for it. What the archive does not take stays there and is tried again, also after a new start. Ctrl-C ends it.
"""

import argparse
import asyncio
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import dimse
from dimse import Status

PAUSE = 10.0
"""Seconds before what could not be sent on is tried again."""


async def forward(address: str, spool: Path, arrived: asyncio.Event) -> None:
    """Send on what is in the spool folder, for ever."""
    while True:
        arrived.clear()
        waiting = await asyncio.to_thread(lambda: sorted(spool.glob("*.dcm")))
        try:
            report = await dimse.send(address, waiting, calling_ae_title="ROUTER", raise_failures=False)
        except (dimse.AssociationError, dimse.ProtocolError) as error:
            print(f"{address}: {error}; {len(waiting)} objects wait", flush=True)
            await asyncio.sleep(PAUSE)
            continue
        for result in report.stored:
            await asyncio.to_thread(Path(result.name).unlink)
            print(f"sent on {result.sop_instance_uid}", flush=True)
        for result in report.failures:
            print(f"{result.name} waits: {result.error}", flush=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(PAUSE if report.failures else None):
                await arrived.wait()


def route(port: int, spool: Path, address: str) -> None:
    arrived = asyncio.Event()
    server = dimse.Server("ROUTER", port=port)

    @server.on_c_store
    async def store(request: dimse.StoreRequest) -> Status:
        await request.save(spool / f"{uuid4().hex}.dcm")  # a name of its own: nothing is written over
        arrived.set()
        return Status.SUCCESS

    async def send_on() -> None:
        print(f"{server.ae_title}@{server.host}:{server.port} sends on to {address}", flush=True)
        await forward(address, spool, arrived)

    server.run(send_on)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, help="0 takes a free one")
    parser.add_argument("spool", type=Path)
    parser.add_argument("address", metavar="TITLE@HOST:PORT")
    arguments = parser.parse_args()
    route(arguments.port, arguments.spool, arguments.address)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
