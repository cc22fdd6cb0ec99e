"""A whole node settles a study once for each change, by each kind of evidence, and tells a webhook and a command."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from sqlalchemy import Connection
from tests.node.commits import all_told, settled, until
from tests.node.ingesting import status_of
from tests.node.test_webhooks import WebServer
from tests.sample_objects import CT, EXPLICIT, instance
from tests.services.test_procedure_step import worklist_match

import dimse
from dimse import Status, performed_step, started_step
from dimse.node import CommandOptions, Node, NodeOptions, SettlingOptions, WebhookOptions

NEVER = 1e6
OPTIONS = {
    "mpps": SettlingOptions(quiet=NEVER, quiet_after_association=NEVER),
    "count": SettlingOptions(quiet=NEVER, quiet_after_association=NEVER),
    "association-end": SettlingOptions(quiet=NEVER, quiet_after_association=0.05),
    "quiet": SettlingOptions(quiet=0.05, quiet_after_association=NEVER),
}
STEP = started_step(worklist_match())
STUDY = STEP.ScheduledStepAttributesSequence[0].StudyInstanceUID


def made(number: int, evidence: str) -> Dataset:
    """An instance of the study."""
    found = instance(f"1.2.3.4.{number}")
    found.StudyInstanceUID = STUDY
    if evidence == "count":
        found.NumberOfStudyRelatedInstances = number
    return found


async def change(node: Node, evidence: str, number: int) -> None:
    """Store instance `number` twice, with the evidence that nothing more is expected."""
    sent = made(number, evidence)
    async with AsyncExitStack() as stack:
        if evidence == "mpps":
            step = await stack.enter_async_context(performed_step(str(node.address), STEP))
            step.add(sent)
        association = await stack.enter_async_context(dimse.connect(node.address, contexts=[(CT, [EXPLICIT])]))
        for _ in range(2):
            assert await status_of(association, sent) == Status.SUCCESS
        if evidence == "quiet":
            await until_settled(node, number)


async def until_settled(node: Node, times: int) -> list[Mapping[str, Any]]:
    """What the events say, when the study was settled so often."""

    def look(connection: Connection) -> list[Mapping[str, Any]]:
        found = [each.detail for each in settled(connection)]
        return found if len(found) >= times else []

    async with asyncio.timeout(30):
        return await until(node.index, look)


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("evidence", OPTIONS)
async def test_each_change_is_settled_and_told_once(tmp_path: Path, evidence: str) -> None:
    """In the second change, another instance comes to another node in the same folder."""
    changes = 1 if evidence == "count" else 2  # the first instance of a study says how many it has
    web, told = WebServer(), tmp_path / "told"
    run = ("sh", "-c", 'echo "$1" >> "$2"', "-", "{StudyInstanceUID}", str(told))
    async with web.listening() as url:
        options = NodeOptions(
            data=tmp_path / "data",
            port=0,
            settling=OPTIONS[evidence],
            webhooks=[WebhookOptions(url=url)],
            commands=[CommandOptions(run=run)],
        )
        for times in range(1, changes + 1):
            async with Node(options) as node:
                await change(node, evidence, times)
                details = await until_settled(node, times)
                await asyncio.wait_for(until(node.index, all_told), 30)
                assert len(details) == len(web.requests) == len(lines(told)) == times
    assert [each["because"] for each in details] == [evidence] * changes
    assert [each["instances"] for each in details] == [1, 2][:changes]
    assert [each["detail"]["because"] for each in web.told] == [evidence] * changes
    assert lines(told) == [STUDY] * changes
