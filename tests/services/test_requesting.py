"""What whole jobs of C-GET and C-MOVE have in common."""

from __future__ import annotations

import pytest
from tests.services.member_archive import STUDY, Archive

import dimse
from dimse import ClientOptions, PresentationContextError, Query, SubOperations, Timeouts
from dimse.network.application_entity import ApplicationEntity
from dimse.network.association import exchange_of
from dimse.services.requesting import Counters, orderly_association, several
from dimse.testing import ScriptedPeer, listening, response
from dimse.uids import LITTLE_ENDIAN, VERIFICATION
from dimse.upper_layer.negotiation import ProposedContext


def test_the_queries_of_a_job() -> None:
    assert several(STUDY) == [STUDY]
    assert several(each for each in (STUDY, STUDY)) == [STUDY, STUDY]
    with pytest.raises(ValueError, match="needs one StudyInstanceUID"):
        several([STUDY, Query.studies()])


def test_counters_of_several_operations() -> None:
    seen: list[SubOperations] = []
    counters = Counters(seen.append, 2)
    counters.update(SubOperations(1, 1, 0, 0))
    counters.update(SubOperations(0, 2, 0, 0))
    counters.end()
    counters.update(SubOperations(3, 0, 1, 0))
    counters.end()
    assert seen == [SubOperations(None, 1, 0, 0), SubOperations(None, 2, 0, 0), SubOperations(3, 2, 1, 0)]
    assert counters.total == seen[-1]
    assert counters.total.total == 6


def test_counters_that_the_peer_does_not_send_stay_unknown() -> None:
    counters = Counters(lambda _: None, 1)
    counters.update(SubOperations(None, None, 1, None))
    assert counters.total == SubOperations(None, None, 1, None)


async def test_an_association_without_the_context_is_released(getting: Archive) -> None:
    entity = ApplicationEntity(getting.address)
    with pytest.raises(PresentationContextError):
        async with orderly_association(entity, [ProposedContext(VERIFICATION, LITTLE_ENDIAN)]) as association:
            association.context_for("1.2.3")
    await exchange_of(association).closed()
    assert association.error is None


async def test_a_job_is_not_lost_where_the_release_is_not_answered() -> None:
    async def answers(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(response(await peer.receive_message()))
        await peer.closed()

    options = ClientOptions(timeouts=Timeouts(association=0.2))
    async with listening(answers) as address:
        assert (await dimse.move(address, STUDY, "WS1", options=options)).failures == ()
    async with listening(answers) as address:
        assert [match async for match in dimse.find(address, STUDY, options=options)] == []
