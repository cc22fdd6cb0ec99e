"""Orthanc and a node: it stores there, has it committed, deletes its own, and has it moved back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import dimse
from dimse.node import Node, NodeOptions
from tests.ports import free_port

from .processes import DEADLINE, Orthanc
from .samples import differences


async def test_a_study_goes_there_and_comes_back(tmp_path: Path, mixed_files: dict[str, Path]) -> None:
    own = free_port()
    with Orthanc(tmp_path / "orthanc", DicomModalities={"dimse": ["DIMSE", "127.0.0.1", own]}) as orthanc:

        async def rest(path: str, data: object = None, method: str | None = None) -> Any:
            answer = await asyncio.to_thread(orthanc.rest, path, data, method=method)
            return json.loads(answer) if answer else None

        await dimse.send(orthanc.address, mixed_files.values())
        options = NodeOptions(data=tmp_path / "data", port=own, destinations={"ORTHANC": orthanc.address})
        async with Node(options):
            (study,) = await rest("/studies")
            await rest("/modalities/dimse/store", study)
            asked = await rest("/modalities/dimse/storage-commitment", {"Resources": [study]})
            path = f"/storage-commitment/{asked['ID']}"
            async with asyncio.timeout(DEADLINE):
                while (report := await rest(path))["Status"] == "Pending":
                    pass
            assert report["Status"] == "Success"
            assert {each["SOPInstanceUID"] for each in report["Success"]} == set(mixed_files)
            uid = (await rest(f"/studies/{study}"))["MainDicomTags"]["StudyInstanceUID"]
            await rest(f"/studies/{study}", method="DELETE")
            await rest("/modalities/dimse/move", {"Level": "Study", "Resources": [{"StudyInstanceUID": uid}]})
        for uid, file in mixed_files.items():
            assert differences(orthanc.received(uid), file) == []
