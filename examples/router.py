"""Store and forward: a small router that loses nothing.

    python router.py 11113 spool/ ARCHIVE@localhost:11112 RESEARCH@research:104

The sender gets Success when the object is on the disk, in the queue of each destination. It is sent on as soon as the
destination is there, even after a restart. `dimse route` does the same, with rules. Ctrl-C stops the router.
"""

import argparse
from pathlib import Path

import dimse
from dimse import Status


def show(result: dimse.ForwardResult) -> None:
    print(f"{result.destination}: {result.sop_instance_uid} {result.outcome}", flush=True)


def route(port: int, spool: Path, addresses: list[str]) -> None:
    forwarder = dimse.Forwarder(spool, {each: each for each in addresses}, calling_ae_title="ROUTER", on_result=show)
    server = dimse.Server("ROUTER", port=port)

    @server.on_c_store
    async def store(request: dimse.StoreRequest) -> Status:
        await forwarder.add(request)
        return Status.SUCCESS

    async def say() -> None:
        print(f"{server.ae_title}@{server.host}:{server.port} sends on to {', '.join(addresses)}", flush=True)

    server.run(say, within=forwarder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, help="0 picks a free port")
    parser.add_argument("spool", type=Path)
    parser.add_argument("addresses", metavar="TITLE@HOST:PORT", nargs="+")
    arguments = parser.parse_args()
    route(arguments.port, arguments.spool, arguments.addresses)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
