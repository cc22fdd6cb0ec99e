"""What `dimse node` promises of its start and its memory: `python benchmarks/node_limits.py [restart senders huge]`.

- `restart`: how long after `kill -9` under load it serves again, with 100 000 and 1 000 000 instances in its index,
  whose rows are made in bulk. A start ends with the answer to a C-FIND.
- `senders`: 64 associations that store at once, beside queries of an index of 1 000 000 instances: what is refused,
  what is lost, and the memory of the node.
- `huge`: an object of 5 GB, stored and retrieved: the memory of the node.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kill import CT, SYNTAX
from kill_node import content
from sqlalchemy import Connection, func, insert, select, update
from tests.node.many_studies import INSTANCE, fill

import dimse
from dimse.dataset.part10 import encode_file_meta
from dimse.dataset.sources import MemorySource
from dimse.node.data_folder import index_url
from dimse.node.index import Index
from dimse.node.keys import uid_hash
from dimse.node.schema import instance, series, study

RESTARTS: Final = 5
PER_STUDY: Final = 200
SENDERS: Final = 64
EACH: Final = 60
"""Instances that each of them sends; the last has 8 MB."""

LARGE: Final = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 8_000_000) + bytes(8_000_000)
"""Pixel Data."""

JPEG: Final = "1.2.840.10008.1.2.4.50"
MULTI_FRAME: Final = "1.2.840.10008.5.1.4.1.1.7.4"
FRAGMENT: Final = 1 << 30
MEGABYTE: Final = 1_000_000


@dataclass
class Node:
    """A `dimse node` in a process of its own."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def address(self) -> str:
        return f"DIMSE@127.0.0.1:{self.port}"

    @property
    def processor_seconds(self) -> float:
        """Processor time so far."""
        counted = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(counted[11]) + int(counted[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak(self) -> int:
        """The most bytes that were resident."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@contextmanager
def serving(data: Path) -> Iterator[Node]:
    """A node as `dimse node` starts it, with its page; killed in the end, if it still runs."""
    command = [sys.executable, "-m", "dimse", "node", "--data", str(data), "--host", "127.0.0.1", "--quiet"]
    with subprocess.Popen([*command, "--port", "0", "--web", "0", "--json"], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield Node(process, json.loads(process.stdout.readline())["port"])
        finally:
            process.kill()


def wrongs(what: str, *, value: float, limit: float, unit: str) -> int:
    """Print a line; 1 if the value is over the limit, else 0."""
    said = "NOT reached" if value > limit else "reached"
    print(f"{what}: {value:.3g} {unit}, wanted at most {limit:g} {unit}: {said}", flush=True)
    return int(value > limit)


# Restart


def fill_instances(connection: Connection, number: int) -> None:
    """Give study `number`, which has one instance, all the others, as rows."""
    uids = [f"1.2.{number}.1.{each}" for each in range(2, PER_STUDY + 1)]
    rows = [{"series_id": number + 1, "uid": each, "uid_hash": uid_hash(each)} | INSTANCE for each in uids]
    connection.execute(insert(instance), rows)


def make_rows(data: Path, count: int) -> None:
    """An index of `count` instances, whose studies are settled."""
    index = Index.at(data / "index.sqlite")
    with index.writing() as connection:
        studies = count // PER_STUDY
        for first in range(0, studies, 1000):
            fill(connection, range(first, min(first + 1000, studies)))
        for number in range(studies):
            fill_instances(connection, number)
        totals = {"instance_count": PER_STUDY, "bytes": PER_STUDY * 1000}
        connection.execute(update(series).values(totals))
        connection.execute(update(study).values(**totals, settled_at=1.0, settled_because="quiet"))
    index.close()


async def load(node: Node, number: int) -> None:
    """Store until the node is killed, half a second later."""
    sent = [content((f"1.2.{10**7 + number}.1.{each}", 0)) for each in range(2000)]
    sources = [
        MemorySource(
            [data],
            sop_class_uid=CT,
            sop_instance_uid=f"1.2.{10**7 + number}.1.{each}",
            transfer_syntax_uid=SYNTAX,
        )
        for each, data in enumerate(sent)
    ]

    async def kill() -> None:
        await asyncio.sleep(0.5)
        node.process.kill()

    retry = dimse.RetryPolicy(retries=0)
    killing = asyncio.create_task(kill())
    with suppress(dimse.DimseError, ExceptionGroup):
        await dimse.send(node.address, sources, associations=4, retry=retry)
    await killing


async def first_answer(node: Node) -> None:
    async for _ in dimse.find(node.address, dimse.Query.studies(PatientID="P7")):
        return
    raise AssertionError("nothing was found")


def restart(folder: Path) -> int:
    wrong = 0
    for count, limit in ((100_000, 2.0), (1_000_000, 3.0)):
        data = folder / f"restart-{count}"
        make_rows(data, count)
        seconds, processor = [], []
        for number in range(RESTARTS + 1):
            began = time.perf_counter()
            with serving(data) as node:
                asyncio.run(first_answer(node))
                seconds.append(time.perf_counter() - began)
                processor.append(node.processor_seconds)
                asyncio.run(load(node, number))
        index = Index(index_url(data))
        with index.reading() as connection:
            stored = connection.scalar(select(func.count()).select_from(instance)) or 0
        index.close()
        print(f"{stored} instances, {stored - count} of them stored before {RESTARTS + 1} kills")
        for name, each in (("seconds", seconds), ("of the processor", processor)):
            print(f"{name} of each start: " + ", ".join(f"{one:.2f}" for one in each[1:]))
        wrong += wrongs(f"serving after kill -9 with {count}", value=max(seconds[1:]), limit=limit, unit="s")
        shutil.rmtree(data)
    return wrong


# Memory


async def query(node: Node, sending: subprocess.Popen[str]) -> int:
    """Ask for what takes a scan, and for instances, until the senders have ended; how often."""
    asked = 0

    async def ask(number: int) -> None:
        nonlocal asked
        while sending.poll() is None:
            key = f"*{asked % 97}?{number}"
            async for _ in dimse.find(node.address, dimse.Query.studies(PatientName=key)):
                pass
            found = dimse.Query.instances(StudyInstanceUID=f"1.2.{asked % 5000}")
            async for _ in dimse.find(node.address, found):
                pass
            asked += 2

    await asyncio.gather(*map(ask, range(4)))
    return asked


def dataset_of(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(dimse.FileSource(path).offset)
        return file.read()


def senders(folder: Path) -> int:
    files = folder / "files"
    files.mkdir()
    sent = {}
    for number in range(SENDERS * EACH):
        uid_ = f"1.2.{10**7 + number % SENDERS}.1.{number}"
        meta = encode_file_meta(
            sop_class_uid=CT,
            sop_instance_uid=uid_,
            transfer_syntax_uid=SYNTAX,
            source_ae_title="A",
            sending_ae_title="A",
            receiving_ae_title="B",
        )
        path = files / f"{number:05}.dcm"
        is_large = number >= SENDERS * (EACH - 1)
        path.write_bytes(meta + (_header(CT, uid_) + LARGE if is_large else content((uid_, 0))))
        sent[uid_] = path
    data = folder / "senders"
    make_rows(data, 1_000_000)
    with serving(data) as node:
        script = str(Path(__file__).with_name("dimse_many.py"))
        command = [sys.executable, script, "send", str(node.port), str(SENDERS), *map(str, sent.values())]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sending:
            print(f"{asyncio.run(query(node, sending))} queries meanwhile")
            assert sending.stdout is not None
            print(sending.stdout.read().strip())
        peak = node.peak
        node.process.send_signal(signal.SIGTERM)
        node.process.wait()
    lost = 0
    for uid_, path in sent.items():
        place = data / "studies" / uid_.rsplit(".", 2)[0] / uid_.rsplit(".", 1)[0] / f"{uid_}.dcm"
        lost += not (place.exists() and dataset_of(place) == dataset_of(path))
    wrong = wrongs(f"{SENDERS} senders: instances lost", value=lost, limit=0, unit="")
    wrong += wrongs(f"{SENDERS} senders: memory", value=peak / MEGABYTE, limit=300, unit="MB")
    return wrong


def write_huge(path: Path) -> None:
    """An object of 5 GB, in five fragments."""
    meta = encode_file_meta(
        sop_class_uid=MULTI_FRAME,
        sop_instance_uid="1.2.5.1.1",
        transfer_syntax_uid=JPEG,
        source_ae_title="A",
        sending_ae_title="A",
        receiving_ae_title="B",
    )
    head = _header(MULTI_FRAME, "1.2.5.1.1")
    piece = os.urandom(MEGABYTE)
    with path.open("wb") as file:
        file.write(meta + head + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF))
        file.write(struct.pack("<HHI", 0xFFFE, 0xE000, 0))
        for _ in range(5):
            file.write(struct.pack("<HHI", 0xFFFE, 0xE000, 1000 * MEGABYTE))
            for _ in range(1000):
                file.write(piece)
        file.write(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))


def _header(sop_class: str, uid_: str) -> bytes:
    encoded = b""
    series_uid = uid_.rpartition(".")[0]
    study_uid = series_uid.rpartition(".")[0]
    texts = ((0x00080016, sop_class), (0x00080018, uid_), (0x0020000D, study_uid), (0x0020000E, series_uid))
    for tag, text in texts:
        value = text.encode() + bytes(len(text) % 2)
        encoded += struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"UI", len(value)) + value
    return encoded


async def get(node: Node, into: Path) -> Path:
    contexts = dimse.retrieval_contexts([MULTI_FRAME], transfer_syntaxes=[JPEG])
    async with dimse.connect(node.address, contexts=contexts) as association:
        query = dimse.Query.studies(StudyInstanceUID="1.2.5")
        (got,) = [each async for each in dimse.CGetSCU(association).get(query, into=into)]
    assert got.path is not None
    return got.path


def huge(folder: Path) -> int:
    path = folder / "huge.dcm"
    write_huge(path)
    with serving(folder / "huge") as node:
        began = time.perf_counter()
        asyncio.run(dimse.send(node.address, [path]))
        stored, peak = time.perf_counter(), node.peak
        wrong = wrongs("5 GB in: memory", value=peak / MEGABYTE, limit=150, unit="MB")
        got = asyncio.run(get(node, folder / "got"))
        print(f"in within {stored - began:.1f} s, out within {time.perf_counter() - stored:.1f} s")
        wrong += wrongs("5 GB out: memory", value=node.peak / MEGABYTE, limit=150, unit="MB")
    offsets = [dimse.FileSource(each).offset for each in (path, got)]
    with path.open("rb") as one, got.open("rb") as other:
        one.seek(offsets[0])
        other.seek(offsets[1])
        while piece := one.read(MEGABYTE):
            assert piece == other.read(MEGABYTE)
    return wrong


PARTS: Final[dict[str, Any]] = {"restart": restart, "senders": senders, "huge": huge}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parser.add_argument("--into", type=Path, help="a folder of the file system to use, by default a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.into) as folder:
        return 1 if sum(PARTS[part](Path(folder)) for part in arguments.parts or PARTS) else 0


if __name__ == "__main__":
    sys.exit(main())
