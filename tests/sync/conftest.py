"""An archive with three instances, and an association with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.sample_objects import CT, EXPLICIT, instance

import dimse
from dimse import (
    ProposedContext,
    retrieval_contexts,
    sync,
)
from dimse.testing import FakeArchive


@pytest.fixture
def archive() -> Iterator[FakeArchive]:
    with FakeArchive([instance(f"1.2.{number}") for number in range(3)]) as archive:
        yield archive


@pytest.fixture
def association(archive: FakeArchive) -> Iterator[sync.Association]:
    others = (*dimse.uids.QUERY_RETRIEVE, dimse.uids.VERIFICATION)
    contexts = [*retrieval_contexts([CT]), *(ProposedContext(uid, [EXPLICIT]) for uid in others)]
    with sync.connect(archive.address, contexts=contexts, calling_ae_title="WS1") as association:
        yield association
    assert not association.is_open
