"""Whether the side under test is silent, without waiting by the clock."""

from __future__ import annotations

import asyncio

from dimse.testing import ScriptedPeer


async def nothing_more(peer: ScriptedPeer) -> None:
    """Check that the other side has sent nothing since its last message, though the event loop had many turns."""
    for _ in range(100):
        await asyncio.sleep(0)
    reading = asyncio.ensure_future(peer.reader.read(1))
    await asyncio.sleep(0)
    assert not reading.done()
    reading.cancel()
    await asyncio.wait({reading})
