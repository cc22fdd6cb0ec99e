"""One run of one pair: start the receiver, send, stop it, compare what arrived, measure."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from measuring import Running, free_port
from programs import associations_used, python, receiver, sender, transfer_seconds
from workloads import MIB, Workload


@dataclass(frozen=True)
class Measurement:
    """One pair on one workload: the least times and the highest memory of its runs.

    What else happens on a machine only adds to a time. A virtual one takes up to four times as long for memory that its
    host had taken back, which a median would measure.
    """

    workload: str
    sender: str
    receiver: str
    option: str
    """See `programs.SENDING`."""
    delay: float
    """Seconds that everything takes longer, each way."""
    associations: int
    """The most that there were."""
    runs: int
    objects: int
    bytes: int
    transfer_seconds: float
    process_seconds: float
    """Of the whole sender, its start and its looking at the files included."""
    sender_cpu: float
    """Of the whole sender."""
    receiver_cpu: float
    """From when it listened."""
    sender_memory: int
    receiver_memory: int
    all_transfer_seconds: tuple[float, ...]

    @property
    def megabytes_per_second(self) -> float:
        """MB (10^6 bytes) of files a second, in the transfer alone."""
        return self.bytes / self.transfer_seconds / 1e6

    @property
    def objects_per_second(self) -> float:
        """In the transfer alone."""
        return self.objects / self.transfer_seconds

    def as_json(self) -> dict[str, Any]:
        """All fields, and the rates."""
        return asdict(self) | {
            "megabytes_per_second": self.megabytes_per_second,
            "objects_per_second": self.objects_per_second,
            "process_megabytes_per_second": self.bytes / self.process_seconds / 1e6,
            "process_objects_per_second": self.objects / self.process_seconds,
        }


@dataclass(frozen=True)
class _Run:
    associations: int
    transfer: float
    process: float
    sender_cpu: float
    receiver_cpu: float
    sender_memory: int
    receiver_memory: int


def measure(
    workload: Workload,
    files: Path,
    scratch: Path,
    pair: tuple[str, str],
    *,
    runs: int,
    option: str = "",
    delay: float = 0,
) -> Measurement:
    """Run `pair`, a sender and a receiver, on the files of `workload` and compare what arrives, each time.

    With `delay` all goes through a proxy that makes it take so many seconds longer each way.
    """
    results = [_run(files, scratch, pair, option, delay) for _ in range(runs)]
    return Measurement(
        workload=workload.key,
        sender=pair[0],
        receiver=pair[1],
        option=option,
        delay=delay,
        associations=max(run.associations for run in results),
        runs=runs,
        objects=workload.count,
        bytes=sum(path.stat().st_size for path in files.iterdir()),
        transfer_seconds=min(run.transfer for run in results),
        process_seconds=min(run.process for run in results),
        sender_cpu=min(run.sender_cpu for run in results),
        receiver_cpu=min(run.receiver_cpu for run in results),
        sender_memory=max(run.sender_memory for run in results),
        receiver_memory=max(run.receiver_memory for run in results),
        all_transfer_seconds=tuple(run.transfer for run in results),
    )


def _run(files: Path, scratch: Path, pair: tuple[str, str], option: str, delay: float) -> _Run:
    into = scratch / "received"
    into.mkdir()
    try:
        port = free_port()
        with ExitStack() as stack:
            receiving = stack.enter_context(Running(receiver(pair[1], port, into, option)))
            receiving.wait_for_port(port)
            way = stack.enter_context(_delayed(port, delay)) if delay else port
            before = receiving.cpu_seconds()
            sending = stack.enter_context(Running(sender(pair[0], way, files, option)))
            sent = sending.wait()
            received = receiving.stop()
        compare(files, into)
    finally:
        shutil.rmtree(into)
    return _Run(
        associations=associations_used(pair[0], sent.output),
        transfer=transfer_seconds(pair[0], sent.output),
        process=sent.seconds,
        sender_cpu=sent.cpu_seconds,
        receiver_cpu=received.cpu_seconds - before,
        sender_memory=sent.peak_memory,
        receiver_memory=received.peak_memory,
    )


@contextmanager
def _delayed(target: int, delay: float) -> Iterator[int]:
    port = free_port()
    with Running(python("delay_proxy.py", str(port), str(target), str(delay))) as running:
        running.wait_for_port(port)
        yield port


# What arrived, read with nothing of what is measured


def compare(sent: Path, received: Path) -> None:
    """Raise unless each object arrived once, with the same transfer syntax and the same bytes in its data set."""
    theirs: dict[bytes, Path] = {}
    for path in received.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                identity = dict(_file_meta(file))[0x0003]
            if identity in theirs:
                raise AssertionError(f"{path} and {theirs[identity]} are the same object")
            theirs[identity] = path
    for path in sent.iterdir():
        with path.open("rb") as file:
            meta = dict(_file_meta(file))
            with theirs.pop(meta[0x0003]).open("rb") as other:
                assert dict(_file_meta(other))[0x0010] == meta[0x0010], f"{path}: another transfer syntax"
                while block := file.read(MIB):
                    assert other.read(MIB) == block, f"{path}: not what was sent"
                assert not other.read(1), f"{path}: longer than what was sent"
    assert not theirs, f"nobody sent {len(theirs)} of the objects"


def _file_meta(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(element, value) of group 0002; the file then stands at its data set (PS3.10 7.1)."""
    head = file.read(144)
    assert head[128:132] == b"DICM"
    left = int.from_bytes(head[140:144], "little")
    while left:
        header = file.read(8)
        length = int.from_bytes(header[6:8], "little")
        if header[4:6] in (b"OB", b"UN"):
            length = int.from_bytes(file.read(4), "little")
            left -= 4
        yield int.from_bytes(header[2:4], "little"), file.read(length).rstrip(b"\0")
        left -= 8 + length
