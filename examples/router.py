"""Store and forward: a small router that loses nothing.

    python router.py 11113 spool/ ARCHIVE@localhost:11112

The sender gets Success when the object is in the spool folder. The object is removed when the archive has stored it.
What the archive does not accept stays there and is retried, even after a restart. Ctrl-C stops the router.
"""

import argparse
import asyncio
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import dimse
from dimse import Status

PAUSE = 10.0
"""Seconds before another attempt to forward what failed."""


async def forward(address: str, spool: Path, arrived: asyncio.Event) -> None:
    """Forward what is in the spool folder, forever."""
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
        await request.save(spool / f"{uuid4().hex}.dcm")  # a new name, so that nothing is overwritten
        arrived.set()
        return Status.SUCCESS

    async def send_on() -> None:
        print(f"{server.ae_title}@{server.host}:{server.port} sends on to {address}", flush=True)
        await forward(address, spool, arrived)

    server.run(send_on)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, help="0 picks a free port")
    parser.add_argument("spool", type=Path)
    parser.add_argument("address", metavar="TITLE@HOST:PORT")
    arguments = parser.parse_args()
    route(arguments.port, arguments.spool, arguments.address)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
