"""Associations and their services without asyncio."""

from __future__ import annotations

from pydicom import Dataset
from tests.sample_objects import CT, EXPLICIT, instance
from tests.sync.usable import is_usable

import dimse
from dimse import (
    AssociationAborted,
    Query,
    QueryRetrieveLevel,
    sync,
)
from dimse.testing import FakeArchive

STUDY = Query.studies(StudyInstanceUID="1.2.3.1")


def test_a_query_may_be_raw(association: sync.Association) -> None:
    identifier = Dataset()
    identifier.StudyInstanceUID = ""
    assert len(list(sync.CFindSCU(association).find(QueryRetrieveLevel.STUDY, identifier))) == 1


def test_move_returns_counters(archive: FakeArchive, association: sync.Association) -> None:
    with FakeArchive() as workstation:
        archive.destinations["WS1"] = workstation.address
        counters = list(sync.CMoveSCU(association).move(STUDY, "WS1"))
        assert counters[-1].completed == len(workstation.instances) == 3


def test_store_and_echo(archive: FakeArchive) -> None:
    one = instance("1.3.1")
    contexts = [(CT, [EXPLICIT]), (dimse.uids.VERIFICATION, [EXPLICIT])]
    with sync.connect(archive.address, contexts=contexts) as association:
        assert sync.CStoreSCU(association).send(one).status == 0
        assert is_usable(association)


FOR_ACCEPTORS = {"association", "data", "user", "user_identity"}
OTHER_NAMES = {"aclose", "final_warnings", "message_id", "start"}
"""What they need not, or what is done for them: `performed_step` starts its step."""


def test_facades_have_what_is_public_in_asyncio() -> None:
    for name in sync.__all__:
        facade, asynchronous = getattr(sync, name), getattr(dimse, name)
        if isinstance(facade, type) and facade is not asynchronous:
            missing = {each for each in dir(asynchronous) if each[0] != "_"} - set(dir(facade))
            assert missing <= FOR_ACCEPTORS | OTHER_NAMES, name


def test_an_association_tells_what_was_negotiated(archive: FakeArchive, association: sync.Association) -> None:
    assert (association.own_ae_title, association.peer_ae_title) == ("WS1", archive.ae_title)
    assert association.context_for(dimse.uids.VERIFICATION).transfer_syntax == EXPLICIT
    assert association.peer_name.endswith(str(archive.port))
    assert CT in {each.abstract_syntax for each in association.contexts.values()}
    assert association.operations_window >= 1
    assert repr(association).startswith("<Association WS1 -> ARCHIVE at ")
    association.release()
    assert association.error is None


def test_it_can_be_aborted(association: sync.Association) -> None:
    association.abort()
    assert isinstance(association.error, AssociationAborted)
