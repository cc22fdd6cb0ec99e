"""Kill a receiver again and again while eight senders store, and look what is left: `python benchmarks/kill.py`.

Every other kill comes at random, the others at named points (see killed_receiver.py). After each one:

- each object that was answered Success is in its file, byte for byte, also after the next receiver has started;
- each file with a final name is whole;
- the temporary files are gone when the next receiver listens, except one of a process that lives.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from killed_receiver import POINTS

import dimse
from dimse.dataset.part10 import read_file_meta
from dimse.dataset.sources import MemorySource

SENDERS: Final = 8
SIZES: Final = (400, 400, 400, 4000, 60_000, 1_500_000)
LIVING: Final = ".dimse-0123456789abcdef-1-1.part"
CT: Final = "1.2.840.10008.5.1.4.1.1.2"
SYNTAX: Final = "1.2.840.10008.1.2.1"
PIXELS: Final = bytes(range(251)) * 6000


def content(uid: str) -> bytes:
    """The data set of an instance, which its UID determines: 1.2.SENDER.KILL.NUMBER."""
    sender, kill, number = map(int, uid.split(".")[2:])
    texts = [(0x00080016, CT), (0x00080018, uid), (0x0020000D, f"1.2.{kill}"), (0x0020000E, f"1.2.{kill}.{sender}")]
    data = b""
    for tag, text in texts:
        value = text.encode() + bytes(len(text) % 2)
        data += struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"UI", len(value)) + value
    start = (sender + kill + number) % 251
    pixels = PIXELS[start : start + SIZES[number % len(SIZES)]]
    return data + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, len(pixels)) + pixels


def path_of(folder: Path, uid: str) -> Path:
    """The file of an instance, by the default template."""
    sender, kill, _ = uid.split(".")[2:]
    return folder / f"1.2.{kill}" / f"1.2.{kill}.{sender}" / f"{uid}.dcm"


def is_whole(path: Path) -> bool:
    """Whether a file is that of the instance whose name it has."""
    with path.open("rb") as file:
        file.seek(read_file_meta(file).length)
        return file.read() == content(path.stem)


@dataclass
class Figures:
    """What came of all kills."""

    kills: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    left: int = 0
    """Temporary files after the kills."""
    not_swept: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    """Senders that ended in another way than by a lost connection."""
    living: bool = True
    """Whether the file of a living process was left alone."""

    @property
    def faults(self) -> int:
        return sum(map(len, (self.lost, self.damaged, self.not_swept, self.unexpected))) + (not self.living)

    def __str__(self) -> str:
        living = "kept" if self.living else "REMOVED"
        lost, damaged = len(self.lost), len(self.damaged)
        return (
            f"{self.kills} kills, {self.acknowledged} acknowledged, {lost} lost, {damaged} damaged, "
            f"{self.left} temporary files, {len(self.not_swept)} of them not swept by the next start, "
            f"one of a living process {living}, {len(self.unexpected)} other ends"
        )


async def send(port: int, sender: int, kill: int, acknowledged: list[str]) -> str | None:
    """Store until the connection is lost. Returns what else happened."""
    other = None
    contexts = [dimse.ProposedContext(CT, [SYNTAX])]
    options = dimse.ClientOptions(operations_window=1 if sender % 2 else 4)
    numbers = iter(range(1_000_000))
    try:
        async with dimse.connect(f"ANY@127.0.0.1:{port}", contexts=contexts, options=options) as association:
            scu = dimse.CStoreSCU(association)

            async def store() -> None:
                for number in numbers:
                    uid = f"1.2.{sender}.{kill}.{number}"
                    source = MemorySource(
                        [content(uid)], sop_class_uid=CT, sop_instance_uid=uid, transfer_syntax_uid=SYNTAX
                    )
                    if (await scu.send(source)).status == dimse.Status.SUCCESS:
                        acknowledged.append(uid)

            async with asyncio.TaskGroup() as tasks:
                for _ in range(2):
                    tasks.create_task(store())
    except* dimse.AssociationError:
        pass
    except* dimse.DimseError as group:
        other = f"1.2.{sender}.{kill}: {group.exceptions[0]!r}"
    return other


def temporary(folder: Path) -> list[str]:
    """The names of temporary files, without that of the living process."""
    return [name for name in os.listdir(folder) if name.endswith(".part") and name != LIVING]  # noqa: PTH208 - hidden


async def kill_once(folder: Path, kill: int, point: str, nth: int, figures: Figures) -> list[str]:
    """Start a receiver, send to it, and let it die. Returns what was acknowledged."""
    arguments = ["receive", "--into", str(folder), "--port", "0", "--json", "--host", "127.0.0.1"]
    receiver = await asyncio.create_subprocess_exec(
        *(sys.executable, str(Path(__file__).with_name("killed_receiver.py")), point, str(nth), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=2**24,
    )
    assert receiver.stdout is not None
    line = await receiver.stdout.readline()
    if not line and point != "random":  # it died while it swept
        assert await receiver.wait() == -signal.SIGKILL
        return []
    port = json.loads(line)["port"]
    figures.not_swept += temporary(folder)
    drained = asyncio.ensure_future(receiver.stdout.read())
    acknowledged: list[str] = []
    sending = [asyncio.ensure_future(send(port, sender, kill, acknowledged)) for sender in range(SENDERS)]
    if point == "random":
        await asyncio.sleep(random.uniform(0.02, 0.6))  # noqa: S311 - not a secret
        receiver.kill()
    figures.unexpected += [why for why in await asyncio.gather(*sending) if why is not None]
    assert await receiver.wait() == -signal.SIGKILL
    await drained
    return acknowledged


def check(folder: Path, kill: int, acknowledged: list[str], figures: Figures) -> None:
    """Look for the objects of one kill."""
    figures.lost += [uid for uid in acknowledged if not path_of(folder, uid).exists()]
    files = (folder / f"1.2.{kill}").rglob("*.dcm")
    figures.damaged += [str(path) for path in files if not is_whole(path)]
    figures.living &= (folder / LIVING).exists()


async def run(kills: int, folder: Path, calls: int, *, at_random: bool) -> Figures:
    """Kill receivers that write into `folder`, the others after up to `calls` calls at a named point."""
    named = [point for point in POINTS if point != "random"]
    figures, before = Figures(), list[str]()
    with (folder / LIVING).open("wb") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        for kill in range(kills):
            point = named[(kill // 2 if at_random else kill) % len(named)]
            point = "random" if at_random and kill % 2 else point
            nth = random.randrange(1, calls)  # noqa: S311 - not a secret
            acknowledged = await asyncio.wait_for(kill_once(folder, kill, point, nth, figures), 60)
            figures.kills += 1
            figures.acknowledged += len(acknowledged)
            figures.left += len(temporary(folder))
            check(folder, kill, acknowledged, figures)
            if kill:  # once more, after another start
                check(folder, kill - 1, before, figures)
                shutil.rmtree(folder / f"1.2.{kill - 1}", ignore_errors=True)
            before = acknowledged
            if (kill + 1) % 50 == 0:
                print(figures, flush=True)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--calls", type=int, default=60, help="how often a named point is passed, at most")
    parser.add_argument("--named", action="store_true", help="only at named points")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--into", type=Path, help="a folder of the file system to test, by default a temporary one")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory(dir=arguments.into) as folder:
        figures = asyncio.run(run(arguments.kills, Path(folder), arguments.calls, at_random=not arguments.named))
    print(f"seed {arguments.seed}: {figures}")
    for fault in (figures.lost, figures.damaged, figures.not_swept, figures.unexpected):
        print(*fault[:10], sep="\n", end="\n" if fault else "")
    return 1 if figures.faults else 0


if __name__ == "__main__":
    sys.exit(main())
