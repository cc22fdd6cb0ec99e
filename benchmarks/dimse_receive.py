"""`dimse_receive.py PORT FOLDER [fsync] [tls]`: store what comes with `dimse.Server`, streaming.

It accepts any number of associations: the measured peers are not attackers.
"""

from __future__ import annotations

import sys

from loops import run

import dimse


async def main(port: int, folder: str, flags: list[str]) -> None:
    context = None
    if "tls" in flags:
        from certificate import server_context

        context = server_context()
    options = dimse.ServerOptions(
        store=dimse.StoreOptions(fsync="fsync" in flags),
        maximum_associations=5000,
        maximum_associations_per_host=None,
        maximum_associations_per_title=None,
        maximum_connections_per_second=None,
        tls=context,
    )
    server = dimse.Server("BENCH", port=port, options=options)

    @server.on_c_store
    async def store(request: dimse.StoreRequest) -> dimse.Status:
        await request.save_under(folder)
        return dimse.Status.SUCCESS

    await server.serve_forever()


run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
