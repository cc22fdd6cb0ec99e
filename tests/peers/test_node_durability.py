"""What is on the disk before `dimse node` answers Success, as the kernel sees it: `kill -9` proves no fsync.

The content of each file, and the name that it has in `incoming/`, are forced to the disk before the log of the index
is, and that before the response is given to the socket.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

import dimse
from tests.peers.test_durability import instances, traced

_UID: Final = re.compile(r"1\.2\.777\.[0-9]+")
_LINE: Final = re.compile(r"^(?P<thread>\d+) +(?:<\.\.\. \w+ resumed>)?(?P<call>.*)$")
_LINK: Final = re.compile(r'link(?:at)?\(.*?"(?P<file>[^"]+)",.*?"(?P<place>[^"]+)"')
_FORCED: Final = re.compile(r"f(?:data)?sync\(\d+<(.*?)>\) += 0")
_SENT: Final = re.compile(r"(?:write|writev|sendto|sendmsg)\(\d+<(?:socket|TCP)")


@dataclass
class Order:
    """Reads a trace of system calls, line by line, and notes what was answered too early."""

    steps: int = 0
    forced: dict[str, int] = field(default_factory=dict)
    """By path of a file or folder, the step in which it was forced to the disk last."""
    incoming: dict[str, tuple[str, int]] = field(default_factory=dict)
    """By UID, the file in `incoming/` that got its name, and the step."""
    answered: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    _begun: dict[str, str] = field(default_factory=dict)

    def read(self, line: str) -> None:
        match = _LINE.match(line)
        assert match is not None, line
        self.steps += 1
        call = self._begun.pop(match["thread"], "") + match["call"]
        if call.endswith("<unfinished ...>"):
            self._begun[match["thread"]] = call.removesuffix("<unfinished ...>").rstrip()
        if _SENT.match(call) and "resumed>" not in line:  # counts from its beginning
            for uid in {*_UID.findall(call)} - self.answered:
                self._answer(uid)
        elif found := _FORCED.match(call):
            self.forced[found[1]] = self.steps
        elif (found := _LINK.match(call)) and "= 0" in call:
            self.incoming[Path(found["place"]).stem] = found["file"], self.steps

    def _answer(self, uid: str) -> None:
        self.answered.add(uid)
        file, named = self.incoming.get(uid, ("", 0))
        logs = [step for path, step in self.forced.items() if path.endswith("index.sqlite-wal")]
        content = self.forced.get(file, 0)
        if not named:
            self.wrong.append(f"{uid} was answered before its file had its name")
        if not 0 < content < named:
            self.wrong.append(f"{uid} got its name before its content was on the disk")
        if not any(path == str(Path(file).parent) for path in self.forced):
            self.wrong.append(f"{uid} was answered before its name in incoming/ was on the disk")
        if not logs or logs[0] < named:
            self.wrong.append(f"{uid} was answered before the index was on the disk")


def check(lines: Sequence[str]) -> Order:
    order = Order()
    for line in lines:
        order.read(line)
    return order


async def test_success_is_sent_when_file_and_index_are_on_the_disk(tmp_path: Path) -> None:
    """On three associations at once, with operations in flight."""
    trace, sent = tmp_path / "trace", instances()
    command = traced(trace, "node", "--data", tmp_path / "data", "--port", 0, "--web", "off", "--json")
    node = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert node.stdout is not None
    port = json.loads(await node.stdout.readline())["port"]
    await dimse.send(f"DIMSE@127.0.0.1:{port}", sent, associations=3)
    node.terminate()
    await node.communicate()
    assert node.returncode == 0
    order = check(trace.read_text(errors="replace").splitlines())
    assert not order.wrong, "\n".join(order.wrong)
    assert order.answered == {dataset.SOPInstanceUID for dataset in sent}


RIGHT = [
    "1 fsync(4</d/incoming/a>) = 0",
    "1 fsync(5</d/incoming/a/0.dcm> <unfinished ...>",
    "2 <... fsync resumed>) = 0".replace("2 ", "1 ", 1),
    '1 link("/d/incoming/a/0.dcm", "/d/studies/1/2/1.2.777.1.dcm") = 0',
    "1 fdatasync(6</d/index.sqlite-wal>) = 0",
    '2 sendto(8<socket:[1]>, "...1.2.777.1...", 9, 0, NULL, 0) = 9',
]


@pytest.mark.parametrize("lost", [(0,), (1, 2), (3,), (4,), ()])
def test_that_a_wrong_order_is_seen(lost: tuple[int, ...]) -> None:
    order = check([line for number, line in enumerate(RIGHT) if number not in lost])
    assert bool(order.wrong) is bool(lost)
