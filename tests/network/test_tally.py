"""The counters of a server."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.sample_objects import CT, EXPLICIT, instance

import dimse
from dimse import (
    Access,
    AssociationRejected,
    CEchoSCU,
    CStoreSCU,
    Server,
    ServerOptions,
    Status,
    StatusError,
    StoreRequest,
)
from dimse import RetryPolicy as Retry
from dimse import StatusCategory as Category


async def test_the_counters_of_a_server() -> None:
    statuses = iter([Status.SUCCESS, Status.ELEMENTS_DISCARDED, Status.CANNOT_UNDERSTAND, Status.OUT_OF_RESOURCES])
    server = Server("ARCHIVE", port=0, options=ServerOptions(access=Access(called_ae_titles=["ARCHIVE"])))

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        return next(statuses)

    before = datetime.now(UTC)
    async with server:
        address = f"127.0.0.1:{server.port}"
        contexts = [(CT, [EXPLICIT]), (dimse.uids.VERIFICATION, [EXPLICIT])]
        async with dimse.connect(f"ARCHIVE@{address}", contexts=contexts) as association:
            await CEchoSCU(association).echo()
            for number in range(2):
                await CStoreSCU(association).send(instance(f"1.2.{number}"))
            for _ in range(2):
                with pytest.raises(StatusError):
                    await CStoreSCU(association, retry=Retry(retries=0)).send(instance())
            during = server.stats()
        for title in ("NOBODY", "NONE"):
            with pytest.raises(AssociationRejected):
                async with dimse.connect(f"{title}@{address}"):
                    pass
    stats = server.stats()
    assert (during.associations, stats.associations, stats.accepted) == (1, 0, 1)
    assert stats.since <= before
    assert stats.rejected == {"permanently: called AE title not recognized": 2}
    assert stats.operations == {
        ("C-ECHO", Category.SUCCESS): 1,
        ("C-STORE", Category.SUCCESS): 1,
        ("C-STORE", Category.WARNING): 1,
        ("C-STORE", Category.FAILURE): 2,
    }
    assert stats.operations == during.operations
    assert stats.bytes_received > during.bytes_received > 4000
    assert stats.bytes_sent > during.bytes_sent > 200
