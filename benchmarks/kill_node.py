"""Kill an archive again and again under load, and look what is left: `python benchmarks/kill_node.py`.

storescu, dcmsend and pynetdicom store at the same time into one study, some instances with different contents, and one
study is deleted. Two of three kills come at random, the others at named points (see killed_node.py). After each one,
when the next node serves:

- each instance that was answered Success is found by C-FIND, and comes back by C-GET byte for byte; of those that came
  with different contents, one is found, and the others are set aside, or were replaced in every other data folder;
- index and files agree, digests included, and so do counters and recounts: what `dimse node verify` looks for;
- `incoming/` has only what the next node has made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kill import CT, PIXELS, SYNTAX
from killed_node import POINTS
from sqlalchemy import select

import dimse
from dimse.dataset.part10 import encode_file_meta, read_file_meta
from dimse.node.data_folder import index_url
from dimse.node.index import Index
from dimse.node.removing import remove_study
from dimse.node.schema import set_aside
from dimse.node.verifying import Verifier

FOLDER: Final = Path(__file__).parent
DCMTK: Final = ("storescu", "dcmsend")
SENDERS: Final = (*DCMTK, "pynetdicom")
SIZES: Final = (400, 400, 400, 4000, 60_000, 400_000)
SENT: Final = 400
"""Files of a sender, which is killed before it has sent them all."""

SHARED: Final = 5
"""Each such instance of a sender is one that the others send too, with another content."""

ALIVE: Final = 12
"""Kills of one data folder."""

_RESPONSE: Final = re.compile(r"Received (?:Store|C-STORE) Response \((.*)\)")

Sent = tuple[str, int]
"""An instance, by its UID, and the version of its content."""


def content(sent: Sent) -> bytes:
    """The data set of an instance."""
    uid, version = sent
    kill, series, number = uid.split(".")[2:]
    texts = {
        0x00080016: (b"UI", CT),
        0x00080018: (b"UI", uid),
        0x00080060: (b"CS", "CT"),
        0x00100020: (b"LO", f"KILL{kill}"),
        0x0020000D: (b"UI", f"1.2.{kill}"),
        0x0020000E: (b"UI", f"1.2.{kill}.{series}"),
    }
    data = b""
    for tag, (vr, text) in texts.items():
        value = text.encode() + (b"\0" if vr == b"UI" else b" ") * (len(text) % 2)
        data += struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value
    start = (int(number) + 7 * version) % 251
    pixels = PIXELS[start : start + SIZES[int(number) % len(SIZES)]]
    return data + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, len(pixels)) + pixels


def is_content(path: Path, sent: Sent) -> bool:
    """Whether a file has the data set of an instance."""
    with path.open("rb") as file:
        file.seek(read_file_meta(file).length)
        return file.read() == content(sent)


def write_files(folder: Path, kill: int, sender: int) -> dict[str, Sent]:
    """The files that a sender sends; what they are, by their paths."""
    files = {}
    for number in range(SENT):
        shared = number % SHARED == SHARED - 1
        sent = f"1.2.{kill}.{9 if shared else sender}.{number}", sender if shared else 0
        meta = encode_file_meta(
            sop_class_uid=CT,
            sop_instance_uid=sent[0],
            transfer_syntax_uid=SYNTAX,
            source_ae_title="KILL",
            sending_ae_title="KILL",
            receiving_ae_title="DIMSE",
        )
        path = folder / f"{sender}-{number:03}.dcm"
        path.write_bytes(meta + content(sent))
        files[str(path)] = sent
    return files


@dataclass
class Figures:
    """What came of all kills."""

    kills: int = 0
    at_random: int = 0
    acknowledged: int = 0
    by: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    aside: int = 0
    """Acknowledged instances that were set aside."""
    recovered: int = 0
    """Files that kills left in `incoming/`."""
    slowest: float = 0
    """Seconds from the start of a node after a kill until it served."""
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        senders = ", ".join(f"{count} of {name}" for name, count in self.by.items())
        return (
            f"{self.kills} kills, {self.at_random} of them at random, {self.acknowledged} acknowledged ({senders}), "
            f"{self.aside} of them set aside, {self.recovered} files left in incoming/, "
            f"serving again after at most {self.slowest:.1f} s, {len(self.faults)} faults"
        )


class Pynetdicom:
    """A process that stores with pynetdicom, for all kills."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[Pynetdicom]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(FOLDER / "kill_sender.py")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            yield cls(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()

    async def send(self, port: int, files: Sequence[str]) -> tuple[list[str], str]:
        """Store files; those that were answered Success, and what went wrong but for a lost connection."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps([port, CT, SYNTAX, files])}\n".encode())
        done = list[str]()
        while True:
            line = (await self._process.stdout.readline()).decode().strip()
            if line.startswith("end") or not line:
                return done, line.removeprefix("end").strip() if line else "pynetdicom has ended"
            done.append(line)


async def send_with_dcmtk(name: str, port: int, files: Sequence[str]) -> tuple[list[str], str]:
    """As `Pynetdicom.send`, with a program of DCMTK: it sends the files in their order."""
    process = await asyncio.create_subprocess_exec(
        *(f"/usr/bin/{name}", "-v", "-aec", "DIMSE", "127.0.0.1", str(port), *files),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    statuses = _RESPONSE.findall(said.decode(errors="replace"))
    wrong = [status for status in statuses if status != "Success"]
    return list(files[: len(statuses)]), f"{name}: {wrong[0]}" if wrong else ""


class Killer:
    """An archive in a folder, and what was acknowledged by it."""

    def __init__(self, folder: Path, figures: Figures, pynetdicom: Pynetdicom, on_duplicate: str) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        (self.data / "node.toml").write_text(f'[storage]\non_duplicate = "{on_duplicate}"\n')
        self._replaces = on_duplicate == "replace"
        self.figures = figures
        self._files = folder / "files"
        self._files.mkdir()
        self._errors = folder / "errors"
        self._pynetdicom = pynetdicom
        self._drained: asyncio.Future[bytes] | None = None
        """The output of the node, which must be read."""
        self._study = ""
        """What was stored before the last kill."""
        self._acknowledged: list[Sent] = []
        self._deleted = ""
        """The study before it, which is deleted during the next kill."""

    async def kill(self, kill: int, point: str, nth: int) -> None:
        """Start a node, look for what the one before acknowledged, and kill this one under load."""
        numbers = range(len(SENDERS))
        files = [await asyncio.to_thread(write_files, self._files, kill, number) for number in numbers]
        left = len(self._left())
        began = time.perf_counter()
        node, port = await self._start(point, nth)
        self.figures.kills += 1
        if port is not None:
            self.figures.slowest = max(self.figures.slowest, time.perf_counter() - began)
            self.figures.recovered += left
            await self._serve(node, kill, point, port, files)
        if await node.wait() != -signal.SIGKILL:
            self._fault(f"kill {kill} at {point}: the node ended by itself: {self._errors.read_text()[-2000:]}")
        elif "Traceback" in (said := self._errors.read_text()):
            self._fault(f"kill {kill} at {point}: {said[-2000:]}")

    async def end(self) -> None:
        """Look for what was acknowledged before the last kill."""
        node, port = await self._start("random", 0)
        if port is None:
            self._fault(f"the node does not start: {self._errors.read_text()[-2000:]}")
        else:
            await self._look(f"DIMSE@127.0.0.1:{port}")
            node.terminate()
        await node.wait()

    async def _start(self, point: str, nth: int) -> tuple[asyncio.subprocess.Process, int | None]:
        """A node, and its port when it serves; None if it ends before."""
        with self._errors.open("wb") as errors:
            node = await asyncio.create_subprocess_exec(
                *(sys.executable, str(FOLDER / "killed_node.py"), point, str(nth), "--data", str(self.data)),
                *("--host", "127.0.0.1", "--port", "0", "--web", "off", "--json"),
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        assert node.stdout is not None
        line = await node.stdout.readline()
        self._drained = asyncio.ensure_future(node.stdout.read())
        return node, json.loads(line)["port"] if line else None

    async def _serve(
        self, node: asyncio.subprocess.Process, kill: int, point: str, port: int, files: Sequence[dict[str, Sent]]
    ) -> None:
        try:
            await self._look(f"DIMSE@127.0.0.1:{port}")
        except dimse.DimseError:
            if point == "random":
                raise
            return  # it has killed itself meanwhile: the next node is looked at
        deleted, self._deleted, self._study = self._deleted, self._study, f"1.2.{kill}"
        stores = [self._store(name, port, files[number]) for number, name in enumerate(SENDERS)]
        senders = [asyncio.ensure_future(store) for store in stores]
        sending = asyncio.gather(asyncio.to_thread(self._delete, deleted), *senders)
        if point == "random":
            await asyncio.sleep(random.uniform(0.05, 1.5))  # noqa: S311 - not a secret
            node.kill()
            self.figures.at_random += 1
        else:
            await asyncio.wait([sending], timeout=5)
            if node.returncode is None:  # it did not get there so often
                node.kill()
        await node.wait()
        await sending
        self._acknowledged = [each for task in senders for each in task.result()]

    async def _store(self, name: str, port: int, files: dict[str, Sent]) -> list[Sent]:
        if name in DCMTK:
            done, wrong = await send_with_dcmtk(name, port, list(files))
        else:
            done, wrong = await self._pynetdicom.send(port, list(files))
        if wrong:
            self._fault(wrong)
        self.figures.by[name] += len(done)
        self.figures.acknowledged += len(done)
        return [files[path] for path in done]

    def _delete(self, study_uid: str) -> None:
        """As `dimse node delete` does."""
        if study_uid:
            index = Index(index_url(self.data))
            with index.writing() as connection:
                remove_study(connection, study_uid)
            index.close()

    # What is there

    async def _look(self, address: str) -> None:
        """Look for what was acknowledged before the last kill."""
        study_uid = self._study
        got, found, stored = self._files / "got", set[str](), dict[str, int]()
        if self._acknowledged:
            query = dimse.Query.instances(StudyInstanceUID=study_uid)
            found = {match.SOPInstanceUID async for match in dimse.find(address, query)}
            stored = await self._versions(address, study_uid, got)
        aside, wrong = await asyncio.to_thread(self._verify)
        for fault in wrong:
            self._fault(f"{study_uid}: {fault}")
        if found != set(stored):
            self._fault(f"{study_uid}: found {len(found)} instances, got {len(stored)}")
        for uid, version in self._acknowledged:
            if stored.get(uid) == version or (self._replaces and uid in stored):
                continue
            if uid in stored and (uid, version) in aside:
                self.figures.aside += 1
                continue
            self._fault(f"{uid}, version {version} is lost, with {stored.get(uid)} in its place")
        self._acknowledged = []
        shutil.rmtree(got, ignore_errors=True)

    async def _versions(self, address: str, study_uid: str, folder: Path) -> dict[str, int]:
        """The version of each instance of a study, as C-GET brings it."""
        versions = {}
        contexts = dimse.retrieval_contexts([CT])
        async with dimse.connect(address, contexts=contexts) as association:
            query = dimse.Query.studies(StudyInstanceUID=study_uid)
            async for each in dimse.CGetSCU(association).get(query, into=folder):
                assert each.path is not None
                uid = each.sop_instance_uid
                whole = [version for version in range(len(SENDERS)) if is_content(each.path, (uid, version))]
                if not whole:
                    self._fault(f"{uid} is damaged")
                versions[uid] = whole[0] if whole else -1
        return versions

    def _verify(self) -> tuple[set[Sent], list[str]]:
        """What is set aside, and where index and files differ."""
        index = Index(index_url(self.data))
        try:
            found = Verifier(index, self.data, digests=True).findings()
            wrong = [str(each) for findings in found for each in findings]
            with index.reading() as connection:
                rows = connection.execute(select(set_aside.c.uid, set_aside.c.path)).all()
        finally:
            index.close()
        aside = set[Sent]()
        for uid, path in rows:
            versions = [version for version in range(len(SENDERS)) if is_content(self.data / path, (uid, version))]
            wrong += [] if versions else [f"{path} is damaged"]
            aside.update((uid, version) for version in versions)
        wrong += [f"{file} is left" for file in self._left()]
        return aside, wrong

    def _left(self) -> list[Path]:
        """The files in `incoming/` that are not empty."""
        return [file for file in self.data.glob("incoming/*/*.dcm") if file.stat().st_size]

    def _fault(self, what: str) -> None:
        self.figures.faults.append(what)
        print(what, flush=True)


async def run(kills: int, folder: Path, calls: int) -> Figures:
    """Kill nodes, those at a named point after up to `calls` calls."""
    named = [point for point in POINTS if point != "random"]
    figures = Figures()
    async with Pynetdicom.running() as pynetdicom:
        for first in range(0, kills, ALIVE):
            room = folder / str(first)
            room.mkdir()
            killer = Killer(room, figures, pynetdicom, ("keep", "replace")[first // ALIVE % 2])
            last = min(first + ALIVE, kills) - 1
            for kill in range(first, last + 1):
                point = named[kill // 3 % len(named)] if kill % 3 == 1 else "random"
                nth = random.randrange(1, calls)  # noqa: S311 - not a secret
                await asyncio.wait_for(killer.kill(kill, point, nth), 120)
            await killer.end()
            shutil.rmtree(room)
            print(figures, flush=True)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--calls", type=int, default=80, help="how often a named point is passed, at most")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--into", type=Path, help="a folder of the file system to test, by default a temporary one")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory(dir=arguments.into) as folder:
        figures = asyncio.run(run(arguments.kills, Path(folder), arguments.calls))
    print(f"seed {arguments.seed}: {figures}")
    return 1 if figures.faults else 0


if __name__ == "__main__":
    sys.exit(main())
