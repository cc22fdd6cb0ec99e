"""What the tests have in common that leave an operation before its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from pydicom.dataset import Dataset
from tests.sample_objects import CT, IMPLICIT, VERIFICATION, encoded, instance

from dimse import Association, CEchoSCU, CFindSCU, CGetSCU, CMoveSCU, Query, Status, StoreRequest, retrieval_contexts
from dimse.messages.message import C_FIND_RQ, C_GET_RQ, C_STORE_RSP
from dimse.services.results import Results
from dimse.testing import Received, Script, ScriptedPeer, message_pdvs, response, store_request
from dimse.upper_layer.negotiation import ProposedContext
from dimse.upper_layer.pdu import PDV

STUDY = Query.studies(StudyInstanceUID="1.2.3.1")
ALL: Sequence[ProposedContext] = [*retrieval_contexts([CT]), ProposedContext(VERIFICATION, [IMPLICIT])]
STORAGE = 13
"""The context of CT in it."""

Ask = Callable[[Association], Results[Any, Any]]
OPERATIONS: dict[str, Ask] = {
    "C-FIND": lambda association: CFindSCU(association).find(STUDY),
    "C-MOVE": lambda association: CMoveSCU(association).move(STUDY, "WS1"),
    "C-GET": lambda association: CGetSCU(association).get(STUDY),
}


async def asked(peer: ScriptedPeer) -> Received:
    """The association, and the operation that comes on it."""
    await peer.accept()
    return await peer.receive_message()


def item(received: Received) -> list[PDV]:
    """What makes one iteration."""
    if isinstance(received.message, C_GET_RQ):
        return message_pdvs(store_request(message_id=1), encoded(instance(pixels=100_000)), context=STORAGE)
    return response(received, Status.PENDING, b"" if isinstance(received.message, C_FIND_RQ) else None)


async def answered(peer: ScriptedPeer, received: Received, status: int) -> None:
    """How the item is answered, where it is one of a C-GET."""
    if isinstance(received.message, C_GET_RQ):
        answer = (await peer.receive_message()).message
        assert isinstance(answer, C_STORE_RSP)
        assert (answer.status, answer.message_id_being_responded_to) == (status, 1)


async def usable(peer: ScriptedPeer) -> None:
    """Answers a C-ECHO, another C-FIND, and the release."""
    await peer.answer_echo()
    received = await peer.receive_message()
    assert isinstance(received.message, C_FIND_RQ)
    await peer.send(item(received), response(received, 0))
    await peer.answer_release()


def cancelled(
    waits: asyncio.Event | None = None,
    late: int = 0,
    status: int = Status.CANCEL,
    *,
    in_transit: int = Status.OUT_OF_RESOURCES,
) -> Script:
    """Yields one item, and is then cancelled: while the next is awaited, which sets `waits`, or before.

    `in_transit` is the status that answers the item that was under way. After the C-CANCEL `late` items still come,
    then the final response. The association can be used again.
    """

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(item(received))
        if waits is not None:
            await answered(peer, received, Status.SUCCESS)
            waits.set()
        await peer.expect_cancel(received)
        if waits is None:
            await answered(peer, received, in_transit)
        for _ in range(late):
            await peer.send(item(received))
            await answered(peer, received, Status.OUT_OF_RESOURCES)
        await peer.send(response(received, status))
        await usable(peer)

    return script


async def use(association: Association) -> None:
    await CEchoSCU(association).echo()
    assert [match async for match in CFindSCU(association).find(STUDY)] == [Dataset()]


async def by_break(results: Results[Any, Any]) -> None:
    async with results:
        async for _ in results:
            break


class Consumer:
    """A task that takes what comes."""

    def __init__(
        self,
        results: Results[Any, Any],
        waits: asyncio.Event,
        *,
        within: AbstractAsyncContextManager[Any] | None = None,
        entered: bool = True,
    ) -> None:
        self.items: list[object] = []
        self._took = asyncio.Event()
        self._waits = waits
        self.task = asyncio.create_task(
            self._take(results, within or nullcontext(), results if entered else nullcontext())
        )
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())  # its awaiter gets it

    async def _take(self, results: Results[Any, Any], *within: AbstractAsyncContextManager[Any]) -> None:
        async with within[0], within[1]:
            async for each in results:
                self.items.append(each)
                if isinstance(each, StoreRequest) and each.path is None:
                    async for _ in each.pixels():
                        pass  # to its end, so that it counts as stored
                self._took.set()

    async def waiting(self) -> None:
        """Return when it has had an item, and waits for the next."""
        await self._took.wait()
        await self._waits.wait()
