"""A node that settles the studies of others, by what they say themselves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from pydicom import dcmread

from dimse.node import Node, NodeOptions, SettlingOptions
from dimse.node.events import Event, EventKind, follow

from .processes import need_pynetdicom, run

PEER = Path(__file__).with_name("pynetdicom_steps.py")
NEVER = SettlingOptions(quiet=1e6, quiet_after_association=1e6)


async def settled(node: Node) -> Event:
    async for event in follow(node.index, 0):
        if event.kind is EventKind.STUDY_SETTLED:
            return event
    raise AssertionError


async def test_the_step_of_a_modality_settles_its_study(tmp_path: Path, mixed_files: dict[str, Path]) -> None:
    path = next(iter(mixed_files.values()))
    image: Any = dcmread(path, stop_before_pixels=True)
    async with Node(NodeOptions(data=tmp_path, port=0, settling=NEVER)) as node:
        code, output = await run(need_pynetdicom(), str(PEER), "perform", str(node.port), str(path))
        assert (code, output.split()) == (0, ["0", "0", "0"])
        async with asyncio.timeout(30):
            event = await settled(node)
    assert event.study_uid == image.StudyInstanceUID
    assert (event.detail["because"], event.detail["listed"], event.detail["instances"]) == ("mpps", 1, 1)
