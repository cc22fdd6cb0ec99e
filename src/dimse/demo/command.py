"""`dimse demo`: real images and a whole CT study are sent, found, retrieved and moved between processes."""

from __future__ import annotations

import asyncio
import shutil
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from dimse.cli import arguments, exit_codes, runtime
from dimse.cli.output import counted, print_error, size
from dimse.cli.progress import CounterBar
from dimse.demo.comparison import count_equal, difference, read
from dimse.demo.processes import Receiver, receiver, run_command

EXIT_CODES: Final = (
    "0 everything was received as it was sent; 1 something differs or is missing; 2 wrong usage; "
    "3 no association; 130 interrupted."
)

MARK: Final = ".made-by-dimse-demo"
"""A file that marks the output folder of a demo, which a later demo may replace."""
TILES: Final = 36
NOT_PICTURES: Final = 2
"""Of pydicom's files: a waveform and a report."""

PYDICOM: Final = "pydicom"
STUDY: Final = "head-phantom"

REAL: Final = (
    "CT_small.dcm",
    "MR_small.dcm",
    "examples_overlay.dcm",
    "examples_palette.dcm",
    "examples_rgb_color.dcm",
    "examples_ybr_color.dcm",
    "examples_jpeg2k.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "JPEG2000.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_rle.dcm",
    "rtdose_rle.dcm",
    "ExplVR_BigEnd.dcm",
    "liver_1frame.dcm",
    "SC_rgb_jpeg_dcmd.dcm",
    "waveform_ecg.dcm",
    "test-SR.dcm",
)
"""Files that pydicom ships: valid, each a different SOP instance, in seven transfer syntaxes."""


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument(
        "-o", "--into", metavar="DIR", type=Path, default=Path("demo-output"), help="Output folder; created if missing."
    )
    parser.add_argument(
        "--slices",
        metavar="N",
        type=arguments.integer_from(1),
        default=200,
        help="Number of slices of the generated CT study.",
    )


def demo(*, into: Path, slices: int) -> int:
    """Show the main jobs on real images: receive, echo, send, find, get and move.

    Everything that was received is compared with what was sent, byte for byte.
    """
    if find_spec("numpy") is None or find_spec("PIL") is None:
        print_error('dimse: the demo needs numpy and pillow; install them with: pip install "dimse[demo]"')
        return exit_codes.USAGE
    start = perf_counter()
    with arguments.usage():
        _make_folder(into)
    sent = _prepare(into / "sent", slices)
    with receiver(into / "received", "DEMO") as archive:
        address = f"DEMO@127.0.0.1:{archive.port}"
        code = run_command("echo", address) or run_command("send", address, str(into / "sent"))
    if code != exit_codes.OK and not archive.received:
        return code
    equal = _compare(sent, archive.received, into / "received")
    _draw_contact_sheet(sent, archive.received, into / "received", into / "contact-sheet.png")
    with receiver(into / "moved", "WORKSTATION") as workstation:
        code = runtime.run(_query_retrieve(into, workstation)) or code
    equal = _compare_study(sent, into) and equal
    print(f"\nDone in {perf_counter() - start:.1f} s. Everything is in {into}:")
    for name, content in (
        ("sent/", "the files that were sent"),
        ("received/", "the same as received, as {Study}/{Series}/{Instance}.dcm"),
        ("got/", "the CT study, retrieved by C-GET"),
        ("moved/", "the CT study, moved to a second receiver by C-MOVE"),
        ("contact-sheet.png", "a picture of the received images"),
    ):
        print(f"  {into / name!s:36} {content}")
    return code if equal else exit_codes.FAILED


def _make_folder(out: Path) -> None:
    """Make an empty folder. An earlier demo's is replaced, any other is left alone."""
    if (out / MARK).is_file():
        shutil.rmtree(out)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not empty and not from an earlier demo; choose another folder with --into")
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()


def _prepare(folder: Path, slices: int) -> list[Path]:
    """Copy pydicom's images and generate the study."""
    from pydicom.data import get_testdata_file

    from dimse.demo.phantom import write_study

    (folder / PYDICOM).mkdir(parents=True)
    files = []
    for name in REAL:
        found = get_testdata_file(name, download=False)
        if isinstance(found, str):
            files.append(Path(shutil.copyfile(found, folder / PYDICOM / name)))
    real = len(files)
    bar = CounterBar("Making slices")
    with bar.shown():
        for count, path in enumerate(write_study(folder / STUDY, slices), 1):
            files.append(path)
            bar.update(count, slices, f"{count}/{slices}")
    total = sum(path.stat().st_size for path in files)
    print(f"{real} of pydicom's files and a generated CT study of {counted(slices, 'slice')}: ", end="")
    print(f"{size(total)} in {folder}", flush=True)
    return files


async def _query_retrieve(out: Path, workstation: Receiver) -> int:
    """Serve the received files as an archive, and find, get and move from it."""
    from dimse.demo.archive import archive

    print(f"\nNow {out / 'received'} is an archive; its server runs in this process")
    async with archive(out / "received", {"WORKSTATION": f"WORKSTATION@127.0.0.1:{workstation.port}"}) as server:
        address = f"{server.ae_title}@127.0.0.1:{server.port}"
        study = ("-k", f"StudyInstanceUID={_study_instance_uid(out)}")
        for command in (
            ("find", address, "-k", "ModalitiesInStudy=CT", "-k", "PatientName", "-k", "NumberOfStudyRelatedInstances"),
            ("get", address, *study, "--into", str(out / "got")),
            ("move", address, *study, "--destination", "WORKSTATION"),
        ):
            code = await asyncio.to_thread(run_command, *command)
            if code != exit_codes.OK:
                return code
    return exit_codes.OK


def _study_instance_uid(out: Path) -> str:
    from pydicom import dcmread

    return str(dcmread(next((out / "sent" / STUDY).iterdir()), stop_before_pixels=True).StudyInstanceUID)


def _compare_study(sent: Sequence[Path], out: Path) -> bool:
    """Whether the study was retrieved and moved as it was sent."""
    study = [path for path in sent if path.parent.name == STUDY]
    equal = {name: count_equal(study, out / name) for name in ("got", "moved")}
    counts = " and ".join(f"{count} of {len(study)} {name}" for name, count in equal.items())
    print(f"\nCompared byte for byte: {counts} data sets are equal")
    return set(equal.values()) == {len(study)}


def _compare(sent: Sequence[Path], received: Mapping[str, Mapping[str, Any]], folder: Path) -> bool:
    """List the received objects. Returns whether they are equal to those that were sent."""
    _print_table(received)
    equal = 0
    for path in sent:
        why = difference(path, received, folder)
        if why is None:
            equal += 1
        else:
            print_error(f"differs: {path}: {why}")
    print(f"\nCompared byte for byte: {equal} of {len(sent)} data sets are equal,")
    print("in their original transfer syntax")
    return equal == len(sent)


def _print_table(received: Mapping[str, Mapping[str, Any]]) -> None:
    """Number and size of the received objects, by SOP class and transfer syntax."""
    from dimse.demo.contact_sheet import transfer_syntax_name

    count: Counter[tuple[str, str]] = Counter()
    length: Counter[tuple[str, str]] = Counter()
    for event in received.values():
        kind = event["sop_class"], transfer_syntax_name(event["transfer_syntax_uid"])
        count[kind] += 1
        length[kind] += event["bytes"]
    print(f"\nReceived: {counted(len(received), 'object')}, {size(length.total())}")
    names = {kind: kind[0].removesuffix(" Storage").removesuffix(" Image") for kind in count}
    widest = max(map(len, names.values()), default=0)
    for kind in sorted(count, key=lambda kind: -length[kind]):
        print(f"{count[kind]:5}  {names[kind]:{widest}}  {kind[1]:18} {size(length[kind]):>10}")


def _draw_contact_sheet(
    sent: Sequence[Path], received: Mapping[str, Mapping[str, Any]], folder: Path, path: Path
) -> None:
    """All of pydicom's images and, in the remaining tiles, slices of the study from bottom to top."""
    from dimse.demo.contact_sheet import write_contact_sheet

    real: list[Path] = []
    study: list[Path] = []
    for each in sent:
        event = received.get(read(each).sop_instance_uid)
        if event is not None:
            (real if each.parent.name == PYDICOM else study).append(folder / event["path"])
    free_tiles = min(max(TILES - len(real) + NOT_PICTURES, 0), len(study))
    study = [study[(2 * i + 1) * len(study) // (2 * free_tiles)] for i in range(free_tiles)]
    syntaxes = len({event["transfer_syntax_uid"] for event in received.values()})
    title = f"dimse demo: {counted(len(received), 'object')} received, in {syntaxes} transfer syntaxes"
    shown = write_contact_sheet(real + study, path, title)
    print(f"Contact sheet of {shown} of them: {path}")
