"""`dimse_receive.py PORT FOLDER [fsync]`: store what comes with `dimse.Server`, streaming."""

from __future__ import annotations

import sys

from loops import run

import dimse


async def main(port: int, folder: str, *, fsync: bool) -> None:
    options = dimse.ServerOptions(store_mode=dimse.StoreMode.STREAMING, fsync=fsync)
    server = dimse.Server("BENCH", port=port, options=options)

    @server.on_c_store
    async def store(request: dimse.StoreRequest) -> dimse.Status:
        await request.save_under(folder)
        return dimse.Status.SUCCESS

    await server.serve_forever()


run(main(int(sys.argv[1]), sys.argv[2], fsync="fsync" in sys.argv[3:]))
