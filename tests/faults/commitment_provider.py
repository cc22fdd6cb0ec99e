"""dimse as a provider of storage commitment for the requestor WS1, in a process of its own; prints its port.

python commitment_provider.py WS1@HOST:PORT TRANSACTIONS
"""

from __future__ import annotations

import asyncio
import sys

from dimse import CommitmentFailure, CommitmentRequest, CommitmentSCP, RetryPolicy, Server


async def decide(request: CommitmentRequest) -> dict[str, CommitmentFailure | None]:
    return {each.sop_instance_uid: None for each in request.instances}


async def main(destination: str, transactions: str) -> None:
    server = Server("ARCHIVE", host="127.0.0.1", port=0, destinations={"WS1": destination})
    retry = RetryPolicy(retries=1000, delay=0.05, factor=1)
    async with CommitmentSCP(server, decide, transactions, retry=retry, same_association=None), server:
        print(server.port, flush=True)  # noqa: T201 - the test reads it
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
