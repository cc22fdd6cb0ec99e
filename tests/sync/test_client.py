"""A client without asyncio."""

from __future__ import annotations

from pathlib import Path

from tests.sample_objects import instance
from tests.sync.usable import is_usable

import dimse
from dimse import (
    Query,
    sync,
)
from dimse.testing import FakeArchive

STUDIES = Query.studies()


def test_a_client_keeps_its_association(archive: FakeArchive, tmp_path: Path) -> None:
    with sync.Client(archive.address, calling_ae_title="WS1") as client:
        client.echo()
        client.echo()
        with client.connect([(dimse.uids.VERIFICATION, dimse.uids.LITTLE_ENDIAN)]) as association:
            assert is_usable(association)
        assert archive.connections == 1
        assert len(client.send(instance("1.3.1")).stored) == 1
        assert len(client.retrieve(STUDIES, into=tmp_path).retrieved) == 4
        assert repr(client) == f"<Client {client.address}>"
        assert client.options.calling_ae_title == "WS1"
