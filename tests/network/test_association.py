"""An association as its users see it: its facts, its names, and what it hides."""

from __future__ import annotations

import pytest
from tests.sample_objects import IMPLICIT, VERIFICATION

from dimse import Association, AssociationAborted, CEchoSCU, LocalProtocolError, Server, connect
from dimse.network.association import exchange_of
from dimse.network.exchange import Phase

CONTEXTS = [(VERIFICATION, [IMPLICIT])]


async def test_both_sides_know_the_same_facts() -> None:
    async with (
        Server("ARCHIVE", port=0) as server,
        connect(f"ARCHIVE@localhost:{server.port}", contexts=CONTEXTS, calling_ae_title="MODALITY") as requestor,
    ):
        (acceptor,) = server.associations
        for one in (requestor, acceptor):
            assert (one.calling_ae_title, one.called_ae_title) == ("MODALITY", "ARCHIVE")
            assert [context.abstract_syntax for context in one.contexts.values()] == [VERIFICATION]
            assert one.operations_window == 1
            assert one.is_open
            assert one.error is None
        assert (requestor.own_ae_title, requestor.peer_ae_title) == ("MODALITY", "ARCHIVE")
        assert (acceptor.own_ae_title, acceptor.peer_ae_title) == ("ARCHIVE", "MODALITY")
        assert requestor.peer_name.endswith(f":{server.port}")
        assert requestor.context_for(VERIFICATION) == next(iter(requestor.contexts.values()))
        assert repr(requestor) == f"<Association MODALITY -> ARCHIVE at {requestor.peer_name}, open>"


async def test_it_is_released_once() -> None:
    async with (
        Server("ARCHIVE", port=0) as server,
        connect(f"ARCHIVE@localhost:{server.port}", contexts=CONTEXTS) as association,
    ):
        await association.release()
        await association.release()
        assert (association.is_open, association.error) == (False, None)
        assert exchange_of(association).phase is Phase.RELEASED
        assert repr(association).endswith(", ended>")
        with pytest.raises(LocalProtocolError, match="the association has been released"):
            await CEchoSCU(association).echo()


async def test_an_abort_is_the_reason_for_the_end() -> None:
    async with (
        Server("ARCHIVE", port=0) as server,
        connect(f"ARCHIVE@localhost:{server.port}", contexts=CONTEXTS) as association,
    ):
        association.abort()
        assert isinstance(association.error, AssociationAborted)
        with pytest.raises(AssociationAborted):
            await CEchoSCU(association).echo()


async def test_the_machinery_has_no_public_name() -> None:
    public = {name for name in vars(Association) if not name.startswith("_")}
    async with (
        Server("ARCHIVE", port=0) as server,
        connect(f"ARCHIVE@localhost:{server.port}", contexts=CONTEXTS) as association,
    ):
        assert not {name for name in vars(association) if not name.startswith("_")}
    assert len(public) <= 17
