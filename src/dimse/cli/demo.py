"""`dimse demo`: real images and a whole CT study, sent, found, got and moved from one process to another."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from time import perf_counter
from typing import IO, Any, Final

from dimse import uids
from dimse.cli import arguments, running
from dimse.cli.output import complain, counted, size

EXIT_CODES: Final = (
    "0 all arrived as it was sent; 1 something did not; 2 wrong usage; 3 no association; 130 interrupted."
)

MARK: Final = ".made-by-dimse-demo"
TILES: Final = 36
NOT_PICTURES: Final = 2
"""Of the real ones: a waveform and a report."""

PYDICOM: Final = "pydicom"
STUDY: Final = "head-phantom"

REAL: Final = (
    *("CT_small.dcm", "MR_small.dcm", "examples_overlay.dcm", "examples_palette.dcm", "examples_rgb_color.dcm"),
    *("examples_ybr_color.dcm", "examples_jpeg2k.dcm", "J2K_pixelrep_mismatch.dcm", "JPEG2000.dcm"),
    *("SC_rgb_gdcm_KY.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle.dcm", "rtdose_rle.dcm", "ExplVR_BigEnd.dcm"),
    *("liver_1frame.dcm", "SC_rgb_jpeg_dcmd.dcm", "waveform_ecg.dcm", "test-SR.dcm"),
)
"""Files that pydicom ships: valid, each its own SOP instance, in eight transfer syntaxes."""


def add_arguments(parser: ArgumentParser) -> None:
    """What the command is told."""
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("demo-output"), help="Where to put everything.")
    parser.add_argument(
        "--slices",
        metavar="N",
        type=arguments.integer_from(1),
        default=200,
        help="How many slices the generated CT study has.",
    )


def demo(*, out: Path, slices: int) -> int:
    """Show the main jobs on real images: receive, echo, send, find, get, move; and compare byte for byte."""
    try:
        import numpy  # noqa: F401
        import PIL  # noqa: F401
    except ImportError:
        complain('dimse: the demo needs numpy and pillow: pip install "dimse[cli]"')
        return running.USAGE
    start = perf_counter()
    with running.usage():
        _make_room(out)
    sent = _prepare(out / "sent", slices)
    with _receiver(out / "received", "DEMO") as receiver:
        address = f"DEMO@127.0.0.1:{receiver.port}"
        code = _show("echo", address) or _show("send", address, str(out / "sent"))
    if code != running.OK and not receiver.arrived:
        return code
    same = _compare(sent, receiver.arrived, out / "received")
    _contact_sheet(sent, receiver.arrived, out / "received", out / "contact-sheet.png")
    with _receiver(out / "moved", "WORKSTATION") as workstation:
        code = running.run(_query_retrieve(out, workstation)) or code
    same = _compare_study(sent, out) and same
    print(f"\nDone in {perf_counter() - start:.1f} s. It is all in {out}:")
    for name, what in (
        ("sent/", "what was sent"),
        ("received/", "what arrived, as {Study}/{Series}/{Instance}.dcm"),
        ("got/", "the CT study, got back by C-GET"),
        ("moved/", "the CT study, moved to a second receiver by C-MOVE"),
        ("contact-sheet.png", "a picture of it"),
    ):
        print(f"  {out / name!s:36} {what}")
    return code if same else running.FAILED


def _make_room(out: Path) -> None:
    """A fresh folder: an earlier demo's is replaced, anyone else's is left alone."""
    if (out / MARK).is_file():
        shutil.rmtree(out)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not empty, and not of an earlier demo: name another folder by --out")
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()


def _prepare(folder: Path, slices: int) -> list[Path]:
    """Copy pydicom's images, generate the study."""
    from pydicom.data import get_testdata_file

    from dimse.cli.phantom import write_study

    (folder / PYDICOM).mkdir(parents=True)
    files = []
    for name in REAL:
        found = get_testdata_file(name, download=False)
        if isinstance(found, str):
            files.append(Path(shutil.copyfile(found, folder / PYDICOM / name)))
    real = len(files)
    files += write_study(folder / STUDY, slices)
    total = sum(path.stat().st_size for path in files)
    print(f"{real} images of pydicom's and a generated CT study of {counted(slices, 'slice')}: ", end="")
    print(f"{size(total)} in {folder}", flush=True)
    return files


def _command(*arguments: str) -> list[str]:
    print(f"\n$ {shlex.join(['dimse', *arguments])}", flush=True)
    return [sys.executable, "-m", "dimse", *arguments]


def _show(*arguments: str) -> int:
    """Run one of our commands as anyone would, on this terminal."""
    return subprocess.run(_command(*arguments), check=False).returncode  # noqa: S603 - our own


class Receiver:
    """A `dimse receive` that runs beside us."""

    def __init__(self, process: subprocess.Popen[str], lines: IO[str]) -> None:
        self.process = process
        self.port = 0
        self.arrived: dict[str, Mapping[str, Any]] = {}
        """The lines that it printed, by SOP Instance UID."""
        self._lines = lines
        first = lines.readline()
        if first:
            self.port = json.loads(first)["port"]
            print(first, end="", flush=True)
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._lines:
            event = json.loads(line)
            if event["event"] == "stored":
                self.arrived[event["sop_instance_uid"]] = event

    def stop(self) -> None:
        """Let it drain and end, and read what it had to say."""
        self.process.terminate()
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._thread.join(10)
        self._lines.close()


@contextmanager
def _receiver(folder: Path, title: str) -> Iterator[Receiver]:
    command = _command("receive", "--port", "0", "--title", title, "--into", str(folder), "--json")
    environment = os.environ | {"PYTHONUTF8": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment)  # noqa: S603
    assert process.stdout is not None  # noqa: S101 - asked for above
    receiver = Receiver(process, process.stdout)
    try:
        if receiver.port == 0:
            raise OSError("the receiver did not start")
        yield receiver
    finally:
        receiver.stop()


async def _query_retrieve(out: Path, workstation: Receiver) -> int:
    """What arrived is an archive now, in this process: find, get and move from it."""
    from dimse.cli.archive import archive

    print(f"\nNow {out / 'received'} is an archive, whose server runs in this process")
    async with archive(out / "received", {"WORKSTATION": f"WORKSTATION@127.0.0.1:{workstation.port}"}) as server:
        address = f"{server.ae_title}@127.0.0.1:{server.port}"
        study = ("-k", f"StudyInstanceUID={_study_instance_uid(out)}")
        for command in (
            ("find", address, "-k", "ModalitiesInStudy=CT", "-k", "PatientName", "-k", "NumberOfStudyRelatedInstances"),
            ("get", address, *study, "--into", str(out / "got")),
            ("move", address, *study, "--destination", "WORKSTATION"),
        ):
            code = await asyncio.to_thread(_show, *command)
            if code != running.OK:
                return code
    return running.OK


def _study_instance_uid(out: Path) -> str:
    from pydicom import dcmread

    return str(dcmread(next((out / "sent" / STUDY).iterdir()), stop_before_pixels=True).StudyInstanceUID)


def _compare_study(sent: Sequence[Path], out: Path) -> bool:
    """Whether what was got and what was moved is the study that was sent."""
    study = [path for path in sent if path.parent.name == STUDY]
    same = {name: _count_same(study, out / name) for name in ("got", "moved")}
    counts = " and ".join(f"{count} of {len(study)} {name}" for name, count in same.items())
    print(f"\nCompared byte for byte: {counts} data sets are equal")
    return set(same.values()) == {len(study)}


def _count_same(study: Sequence[Path], folder: Path) -> int:
    arrived, same = {path.stem: path for path in folder.rglob("*.dcm")}, 0
    for path in study:
        was_sent = _read(path)
        came = arrived.get(was_sent[0])
        same += came is not None and _read(came) == was_sent
    return same


def _compare(sent: list[Path], arrived: Mapping[str, Mapping[str, Any]], folder: Path) -> bool:
    """List what arrived, and whether it is what was sent."""
    _list(arrived)
    same = 0
    for path in sent:
        why = _difference(path, arrived, folder)
        if why is None:
            same += 1
        else:
            complain(f"differs: {path}: {why}")
    print(f"\nCompared byte for byte: {same} of {len(sent)} data sets are equal, in the transfer syntax they were in")
    return same == len(sent)


def _list(arrived: Mapping[str, Mapping[str, Any]]) -> None:
    from dimse.cli.contact_sheet import transfer_syntax_name

    count: Counter[tuple[str, str]] = Counter()
    length: Counter[tuple[str, str]] = Counter()
    for event in arrived.values():
        kind = event["sop_class"], transfer_syntax_name(event["transfer_syntax_uid"])
        count[kind] += 1
        length[kind] += event["bytes"]
    print(f"\nArrived: {counted(len(arrived), 'object')}, {size(length.total())}")
    for kind in sorted(count, key=lambda kind: -length[kind]):
        print(f"{count[kind]:5}  {kind[0]:50} {kind[1]:20} {size(length[kind]):>10}")


def _difference(path: Path, arrived: Mapping[str, Mapping[str, Any]], folder: Path) -> str | None:
    instance, syntax, data = _read(path)
    event = arrived.get(instance)
    if event is None:
        return "did not arrive"
    _, arrived_syntax, arrived_data = _read(folder / event["path"])
    if arrived_syntax != syntax:
        return f"arrived in {uids.name_of(arrived_syntax)}"
    return None if arrived_data == data else "the data set is another"


def _read(path: Path) -> tuple[str, str, bytes]:
    """SOP Instance UID, transfer syntax and the encoded data set of a file."""
    from dimse.dataset import FileSource

    source = FileSource(path)
    return source.sop_instance_uid, source.transfer_syntax_uid, path.read_bytes()[-source.length :]


def _contact_sheet(sent: list[Path], arrived: Mapping[str, Mapping[str, Any]], folder: Path, path: Path) -> None:
    """All of the real images and, in what room they leave, the study from its bottom to its top."""
    from dimse.cli.contact_sheet import write_contact_sheet

    real: list[Path] = []
    study: list[Path] = []
    for each in sent:
        event = arrived.get(_read(each)[0])
        if event is not None:
            (real if each.parent.name == PYDICOM else study).append(folder / event["path"])
    room = min(max(TILES - len(real) + NOT_PICTURES, 0), len(study))
    study = [study[(2 * i + 1) * len(study) // (2 * room)] for i in range(room)]
    syntaxes = len({event["transfer_syntax_uid"] for event in arrived.values()})
    title = f"dimse demo: {counted(len(arrived), 'object')} arrived, in {syntaxes} transfer syntaxes"
    shown = write_contact_sheet(real + study, path, title)
    print(f"Contact sheet of {shown} of them: {path}")
