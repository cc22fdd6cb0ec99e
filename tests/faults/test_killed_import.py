"""An import that is killed again and again, as by `kill -9`, while a node serves: what it has told of is there."""

from __future__ import annotations

import json
import random
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from pathlib import Path

from tests.node.archives import left_in_incoming, save_all, stored
from tests.node.rows import member

from dimse.node.backup import Backup
from dimse.node.index import Index
from dimse.node.node import Node
from dimse.node.options import NodeOptions
from dimse.node.verifying import Verifier

FILES = 300


async def test_what_it_has_told_of_is_there(tmp_path: Path) -> None:
    files = save_all(tmp_path / "files", [member(f"1.{number % 7}", "1", number) for number in range(FILES)])
    data = tmp_path / "data"
    chance = random.Random(1)
    command = [sys.executable, "-m", "dimse", "node", "import", "--json", "--data", str(data), str(tmp_path / "files")]
    told: set[str] = set()
    async with Node(NodeOptions(data=data, port=0)) as node:
        for _ in range(2):
            importing = await create_subprocess_exec(*command, stdout=PIPE)
            assert importing.stdout is not None
            for _ in range(chance.randrange(1, FILES - 1)):
                line = json.loads(await importing.stdout.readline())
                assert line["outcome"] in ("new", "same")
                told.add(line["sop_instance_uid"])
            importing.kill()
            await importing.communicate()
            there = stored(node.index, data)
            assert told <= there.keys()
            assert not any(Verifier(node.index, data, digests=True).findings())
        target = tmp_path / "target"
        list(Backup(node.index, data, target).steps())
    copy = Index.at(target / "index.sqlite")
    assert stored(copy, target) == there
    copy.close()
    async with Node(NodeOptions(data=data, port=0)) as node:  # it takes over what was left
        importing = await create_subprocess_exec(*command, stdout=PIPE)
        await importing.communicate()
        assert importing.returncode == 0
        assert stored(node.index, data) == {path.stem: path.read_bytes() for path in files}
        assert not any(Verifier(node.index, data, digests=True).findings())
    assert left_in_incoming(data) == []
