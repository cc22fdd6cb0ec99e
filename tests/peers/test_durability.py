"""What is on the disk before Success leaves, as the kernel sees it: `kill -9` proves no fsync.

Each file is forced to the disk before it gets its name, and then its folder, and all that were made above it, before
the response that names the instance is given to the socket.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from pydicom import Dataset
from pydicom.uid import UID

import dimse
from dimse.testing import FakeArchive
from tests.peers.processes import need
from tests.sample_objects import instance

CALLS: Final = "fsync,fdatasync,link,linkat,rename,renameat,renameat2,mkdir,mkdirat,write,writev,sendto,sendmsg"
_UID: Final = re.compile(r"1\.2\.777\.[0-9]+")
_LINE: Final = re.compile(r"^(?P<thread>\d+) +(?:<\.\.\. \w+ resumed>)?(?P<call>.*)$")
_LINK: Final = re.compile(r'linkat\(\d+<(.*?)>, "(.*?)", \d+<(.*?)>, "(.*?)", .* = 0')
_MKDIR: Final = re.compile(r'mkdirat\(\d+<(.*?)>, "(.*?)", .* = 0')
_MKDIR_ROOT: Final = re.compile(r'mkdir\("(.*?)", .* = 0')
_FSYNC: Final = re.compile(r"f(?:data)?sync\(\d+<(.*?)>\) += 0")
_SEND: Final = re.compile(r"(?:write|writev|sendto|sendmsg)\(\d+<(?:socket|TCP)")


def instances() -> list[Dataset]:
    """Small and large ones, in two studies of two series."""
    made = []
    for number in range(24):
        dataset = instance(f"1.2.777.{number}", pixels=2_000_000 if number % 8 == 7 else 400)
        dataset.StudyInstanceUID = UID(f"1.2.3.{number % 2}")
        dataset.SeriesInstanceUID = UID(f"1.2.3.{number % 2}.{number % 4}")
        made.append(dataset)
    return made


@dataclass
class Order:
    """Reads a trace of system calls, line by line, and notes what was answered too early."""

    root: Path
    synced: set[str] = field(default_factory=set)
    """Files that were forced to the disk."""
    names: set[str] = field(default_factory=set)
    """Paths of files and folders whose folder was not forced to the disk since they got them."""
    paths: dict[str, str] = field(default_factory=dict)
    """The paths of instances that have a name."""
    answered: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    _begun: dict[str, tuple[str, set[str]]] = field(default_factory=dict)
    """By thread, a call that has not returned, and the names that there were when it began."""

    def read(self, line: str) -> None:
        match = _LINE.match(line)
        assert match is not None, line
        thread = match["thread"]
        beginning, names = self._begun.pop(thread, ("", set(self.names)))
        call = beginning + match["call"]
        if call.endswith("<unfinished ...>"):
            self._begun[thread] = call.removesuffix("<unfinished ...>").rstrip(), names
        if _SEND.match(call) and "resumed>" not in line:  # counts from its beginning
            self._sent({*_UID.findall(call)} - self.answered)
        elif found := _FSYNC.match(call):
            self.synced.add(found[1])
            self.names -= {name for name in names if name.rpartition("/")[0] == found[1]}
        elif found := _MKDIR.match(call):
            self.names.add(f"{found[1]}/{found[2]}")
        elif found := _MKDIR_ROOT.match(call):
            self.names.add(found[1])
        elif found := _LINK.match(call):
            at, temporary, folder, name = found.groups()
            if f"{at}/{temporary}" not in self.synced:
                self.wrong.append(f"{name} got its name before its content was on the disk")
            self.names.add(f"{folder}/{name}")
            self.paths[name.removesuffix(".dcm")] = f"{folder}/{name}"

    def _sent(self, uids: set[str]) -> None:
        for uid in uids:
            self.answered.add(uid)
            path = Path(self.paths.get(uid, "/nowhere"))
            early = [str(each) for each in (path, *path.parents) if str(each) in self.names]
            if early or uid not in self.paths:
                self.wrong.append(f"{uid} was answered before the disk had the name {early}")


def check(trace: Path, root: Path, expected: Sequence[Dataset]) -> None:
    order = Order(root)
    for line in trace.read_text(errors="replace").splitlines():
        order.read(line)
    assert not order.wrong, "\n".join(order.wrong)
    assert order.answered == {dataset.SOPInstanceUID for dataset in expected}


def traced(trace: Path, *arguments: object) -> list[str]:
    """The command `dimse` under strace, which is not its parent (-D), so that signals reach it."""
    strace = [need("strace"), "-D", "-f", "-y", "-qq", "-s", "100000", "-e", f"trace={CALLS}", "-e", "signal=none"]
    return [*strace, "-o", str(trace), sys.executable, "-m", "dimse", *map(str, arguments)]


async def test_c_store(tmp_path: Path) -> None:
    """On three associations at once, with operations in flight."""
    root, trace, sent = tmp_path / "root", tmp_path / "trace", instances()
    command = traced(trace, "receive", "--into", root, "--port", 0, "--host", "127.0.0.1", "--json")
    receiver = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert receiver.stdout is not None
    port = json.loads(await receiver.stdout.readline())["port"]
    await dimse.send(f"A@127.0.0.1:{port}", sent, associations=3)
    receiver.terminate()
    await receiver.communicate()
    assert receiver.returncode == 0
    check(trace, root, sent)


async def test_c_get(tmp_path: Path) -> None:
    root, trace, sent = tmp_path / "root", tmp_path / "trace", instances()
    with FakeArchive(sent) as archive:
        command = traced(trace, "get", archive.address, "-k", "PatientID=SECRETID", "--level", "patient")
        command += ["--into", str(root)]
        getting = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        _, errors = await getting.communicate()
    assert getting.returncode == 0, errors.decode()
    check(trace, root, sent)


@pytest.mark.parametrize("lost", ["fsync(5</r/.t.part>", 'linkat(4</r>, ".t.part"', "fsync(6</r/s>", "fsync(4</r>"])
def test_that_a_wrong_order_is_seen(lost: str) -> None:
    trace = [
        '1 mkdirat(4</r>, "s", 0777) = 0',
        "2 fsync(5</r/.t.part> <unfinished ...>",
        "1 writev(9</r/.u.part>, [...], 2) = 7",
        "2 <... fsync resumed>) = 0",
        '2 linkat(4</r>, ".t.part", 6</r/s>, "1.2.777.1.dcm", AT_SYMLINK_FOLLOW) = 0',
        "1 fsync(6</r/s>) = 0",
        "1 fsync(4</r>) = 0",
        '1 sendto(8<socket:[1]>, "...1.2.777.1...", 9, 0, NULL, 0) = 9',
    ]
    for is_complete in (True, False):
        order = Order(Path("/r"))
        for line in trace:
            if is_complete or not (lost in line or (lost.endswith(".part>") and "resumed" in line)):
                order.read(line)
        assert bool(order.wrong) is not is_complete
