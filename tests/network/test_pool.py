"""Associations that are kept for their next use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, MR, VERIFICATION

from dimse import (
    Address,
    Association,
    AssociationRequest,
    AssociationTimeout,
    CEchoSCU,
    ClientOptions,
    LocalProtocolError,
    PresentationContextError,
    ProposedContext,
    QueryFeatures,
    Server,
    ServerOptions,
    Timeouts,
)
from dimse.network.association import exchange_of
from dimse.network.pool import AssociationPool
from dimse.testing import ScriptedPeer, listening, response
from dimse.upper_layer.pdu import A_ABORT

OPTIONS = ClientOptions()
ECHO = (VERIFICATION, [IMPLICIT])


@dataclass
class Archive:
    """A server that counts its associations."""

    server: Server = field(
        default_factory=lambda: Server(
            "ARCHIVE", host="127.0.0.1", port=0, options=ServerOptions(maximum_connections_per_second=None)
        )
    )
    opened: list[str] = field(default_factory=list)

    def pool(self, maximum: int = 2, idle: float = 60) -> AssociationPool:
        return AssociationPool(Address("ARCHIVE", "127.0.0.1", self.server.port), maximum, idle)


@asynccontextmanager
async def counting() -> AsyncIterator[Archive]:
    archive = Archive()

    @archive.server.on_association
    async def opened(request: AssociationRequest) -> None:
        archive.opened.append(request.calling_ae_title)

    async with archive.server:
        yield archive


async def test_an_association_is_used_again() -> None:
    async with counting() as archive:
        pool = archive.pool()
        for _ in range(3):
            async with pool.lend([ECHO], OPTIONS) as association:
                await CEchoSCU(association).echo()
        assert len(archive.opened) == 1
        states = [association.is_open]
        await pool.close()
        assert [*states, association.is_open] == [True, False]
        assert association.error is None


@pytest.mark.parametrize(
    ("first", "second", "is_shared"),
    [
        ([ECHO, (CT, [EXPLICIT])], [(CT, [EXPLICIT])], True),
        ([ECHO], [ECHO, (CT, [EXPLICIT])], False),
        ([(CT, [EXPLICIT, IMPLICIT])], [(CT, [IMPLICIT])], False),
        ([ECHO], [ProposedContext(*ECHO)], True),
        ([ProposedContext(*ECHO, features=QueryFeatures(relational=True))], [ECHO], False),
        ([ProposedContext(*ECHO, general=["1.2"])], [ProposedContext(*ECHO, general=("1.2",))], True),
        ([(CT, [EXPLICIT])], [(CT, [EXPLICIT], True)], False),
    ],
)
async def test_it_must_have_been_proposed_with_the_contexts(
    first: list[object], second: list[object], is_shared: bool
) -> None:
    async with counting() as archive:
        pool = archive.pool()
        for contexts in (first, second):
            async with pool.lend(contexts, OPTIONS):  # type: ignore[arg-type]  # pairs and triples, as users write them
                pass
        assert len(archive.opened) == (1 if is_shared else 2)
        await pool.close()


async def test_it_is_used_again_only_with_the_same_options() -> None:
    async with counting() as archive:
        pool = archive.pool()
        for title in ("ONE", "TWO", "ONE"):
            async with pool.lend([ECHO], ClientOptions(calling_ae_title=title)):
                pass
        assert archive.opened == ["ONE", "TWO"]
        await pool.close()


async def test_the_one_that_was_kept_longest_makes_room() -> None:
    async with counting() as archive:
        pool = archive.pool(maximum=2)
        used = []
        for uid in (CT, MR, VERIFICATION):
            async with pool.lend([(uid, [IMPLICIT])], OPTIONS) as association:
                used.append(association)
        assert [each.is_open for each in used] == [False, True, True]
        await pool.close()


async def test_users_beyond_the_maximum_wait_for_their_turn() -> None:
    async with counting() as archive:
        pool, using, most = archive.pool(maximum=2), 0, 0

        async def use() -> None:
            nonlocal using, most
            async with pool.lend([ECHO], OPTIONS) as association:
                using += 1
                most = max(most, using)
                await CEchoSCU(association).echo()
                using -= 1

        await asyncio.gather(*(use() for _ in range(10)))
        assert most == 2
        assert len(archive.opened) == 2
        await pool.close()


async def test_a_user_does_not_wait_for_ever() -> None:
    async with counting() as archive:
        pool = archive.pool(maximum=1)
        impatient = ClientOptions(timeouts=Timeouts(connect=0.01))
        async with pool.lend([ECHO], OPTIONS):
            with pytest.raises(AssociationTimeout, match=r"one of the 1 associations with ARCHIVE@.*are all in use"):
                await pool.lend([ECHO], impatient).__aenter__()
        async with pool.lend([ECHO], ClientOptions(timeouts=Timeouts(connect=20))):
            pass
        await pool.close()


async def test_an_idle_association_is_released() -> None:
    async with counting() as archive:
        pool = archive.pool(idle=0)
        async with pool.lend([ECHO], OPTIONS) as association:
            pass
        await asyncio.wait({exchange_of(association).over})
        assert association.error is None
        await pool.close()


async def test_an_association_that_the_peer_ended_is_replaced() -> None:
    ended = asyncio.Event()

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(response(await peer.receive_message(), 0))
        await peer.send(A_ABORT(source=0, reason=0))
        ended.set()

    async with listening(script) as address:
        pool = AssociationPool(Address.parse(address), 1, 60)
        for _ in range(2):
            async with pool.lend([ECHO], OPTIONS) as association:
                await CEchoSCU(association).echo()
            await ended.wait()
            ended.clear()
        await pool.close()


async def test_an_answer_of_the_peer_leaves_it_in_order() -> None:
    async with counting() as archive:
        pool = archive.pool()
        for _ in range(2):
            with pytest.raises(PresentationContextError):
                async with pool.lend([ECHO], OPTIONS) as association:
                    association.context_for(CT)
        assert len(archive.opened) == 1
        await pool.close()


async def test_any_other_exception_aborts_it() -> None:
    async with counting() as archive:
        pool = archive.pool()
        with pytest.raises(RuntimeError):
            async with pool.lend([ECHO], OPTIONS) as association:
                raise RuntimeError
        assert not association.is_open
        async with pool.lend([ECHO], OPTIONS) as other:
            await CEchoSCU(other).echo()
        await pool.close()


async def test_nothing_is_lent_after_the_end() -> None:
    async with counting() as archive, AsyncExitStack() as stack:
        pool = archive.pool()
        association: Association = await stack.enter_async_context(pool.lend([ECHO], OPTIONS))
        await pool.close()
        await CEchoSCU(association).echo()
        with pytest.raises(LocalProtocolError, match="is closed"):
            await pool.lend([ECHO], OPTIONS).__aenter__()
        await stack.aclose()
        await asyncio.wait({exchange_of(association).over})
