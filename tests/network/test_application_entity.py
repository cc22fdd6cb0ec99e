"""A remote application entity, with the options of associations with it."""

from __future__ import annotations

import pytest

import dimse
from dimse import Address, ApplicationEntity, ClientOptions, Timeouts
from dimse.network.application_entity import entity_of


async def test_whole_jobs_and_associations_use_its_options() -> None:
    async with dimse.Server("ARCHIVE", port=0) as server:
        entity = ApplicationEntity(f"ARCHIVE@127.0.0.1:{server.port}", ClientOptions(calling_ae_title="WS1"))
        assert (await dimse.echo(entity)).association.calling_ae_title == "WS1"
        assert (await dimse.echo(entity, calling_ae_title="WS2")).association.calling_ae_title == "WS2"
        async with entity.connect() as association:
            assert association.calling_ae_title == "WS1"


def test_what_is_given_replaces_its_options() -> None:
    entity = ApplicationEntity("ARCHIVE@pacs:104", ClientOptions(calling_ae_title="WS1", operations_window=2))
    changed = entity_of(entity, calling_ae_title="WS2", timeout=5)
    assert changed.options == ClientOptions(
        calling_ae_title="WS2",
        operations_window=2,
        timeouts=Timeouts(connect=5, association=5, **dict.fromkeys(("store", "find", "move", "get"), 5)),
    )
    assert entity_of(entity, ClientOptions()).options == ClientOptions()
    assert entity.options.calling_ae_title == "WS1"
    assert changed.address == Address("ARCHIVE", "pacs", 104)
    assert repr(changed) == "<ApplicationEntity ARCHIVE@pacs:104>"


@pytest.mark.parametrize("seconds", [0, -1, "5"])
def test_a_timeout_that_is_not_a_positive_number_is_refused(seconds: float) -> None:
    with pytest.raises((TypeError, ValueError), match="timeout connect must be a"):
        entity_of("ARCHIVE@pacs:104", timeout=seconds)
