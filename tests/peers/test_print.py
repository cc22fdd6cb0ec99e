"""Printing on the printers of others, and on ours by their SCUs: DCMTK, CTN and pynetdicom."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from dimse import (
    FilmOptions,
    PrintedFilm,
    PrintJobState,
    PrintServer,
    Server,
    StatusError,
    print_images,
    printer_status,
    uids,
)
from tests.ports import free_port
from tests.print_samples import gray, image, printed
from tests.sample_objects import save

from .processes import Peer, need, need_pynetdicom, run

PYNETDICOM_PRINTER = Path(__file__).with_name("pynetdicom_printer.py")

PRINTER_OF_DCMTK = """
[[GENERAL]]
[PRINT]
Directory = {folder}
[DATABASE]
Directory = {folder}
[NETWORK]
Aetitle = DCMPSTATE
[[COMMUNICATION]]
[{title}]
Aetitle = {title}
Description = a printer
Hostname = localhost
Port = {port}
Type = {kind}
DisplayFormat = 1,1\\2,2\\3,4
FilmSizeID = 14INX17IN\\A4
MagnificationType = REPLICATE\\CUBIC\\NONE
MaxPDU = 32768
MediumType = PAPER\\BLUE FILM
Supports12Bit = true
SupportsPresentationLUT = true
SupportsTrim = true
BorderDensity = BLACK\\WHITE
EmptyImageDensity = BLACK\\WHITE
OmitSOPClassUIDFromCreateResponse = {omits}
ImplicitOnly = {omits}
"""


def configured(folder: Path, title: str, port: int, kind: str, *, strange: bool = False) -> Path:
    """A configuration file of DCMTK with one printer."""
    path = folder.with_name(f"{title}.cfg")
    folder.mkdir(exist_ok=True)
    omits = str(strange).lower()
    text = PRINTER_OF_DCMTK.format(folder=folder, title=title, port=port, kind=kind, omits=omits)
    path.write_text(text, encoding="ascii")
    return path


def dcmprscp(folder: Path, *, strange: bool = False) -> Peer:
    """DCMTK's printer, which stores each film and each of its images; a strange one omits what it may."""
    port = free_port()
    configuration = configured(folder, "DCMPRSCP", port, "LOCALPRINTER", strange=strange)
    return Peer([need("dcmprscp"), "-c", str(configuration), "-d"], port, folder, title="DCMPRSCP")


@pytest.fixture(scope="module", params=[False, True], ids=["usual", "implicit, omits SOP classes"])
def printer_of_dcmtk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with dcmprscp(tmp_path_factory.mktemp("dcmprscp") / "films", strange=request.param) as peer:
        yield peer


async def test_we_print_on_dcmtk(printer_of_dcmtk: Peer) -> None:
    for path in printer_of_dcmtk.folder.glob("*.dcm"):
        path.unlink()
    values = np.arange(16).reshape(4, 4) * 16
    shown = image(values, bits=8, WindowCenter=128, WindowWidth=256)
    film = FilmOptions(layout="2x2", size="14INX17IN", trim=True, medium="PAPER", copies=2, empty_density="WHITE")
    report = await print_images(printer_of_dcmtk.address, [shown, gray(9), gray(8), gray(7), gray(6)], film=film)
    assert report.warnings == (), printer_of_dcmtk.output()[-3000:]
    assert [(each.images, each.state) for each in report.films] == [
        (4, PrintJobState.UNKNOWN),
        (1, PrintJobState.UNKNOWN),
    ]
    stored = [dcmread(path) for path in printer_of_dcmtk.folder.glob("SP_*.dcm")]
    assert sorted(len(each.ImageBoxContentSequence) for each in stored) == [1, 4]
    assert {each.FilmBoxContentSequence[0].ImageDisplayFormat for each in stored} == {"STANDARD\\2,2"}
    images = [dcmread(path).pixel_array for path in printer_of_dcmtk.folder.glob("HG_*.dcm")]
    assert any(np.array_equal(each, values) for each in images)


async def test_what_dcmtk_refuses(printer_of_dcmtk: Peer) -> None:
    with pytest.raises(StatusError, match="N-CREATE of film 1: 0x0106"):
        await print_images(printer_of_dcmtk.address, gray(1), film=FilmOptions(layout="9x9"))
    assert (await printer_status(printer_of_dcmtk.address)).status == "NORMAL"


@asynccontextmanager
async def printing(films: list[PrintedFilm]) -> AsyncIterator[Server]:
    server = Server("PRINTER", port=0)
    printer = PrintServer(server)

    @printer.on_film
    async def keep(film: PrintedFilm) -> None:
        film.picture(10)
        films.append(film)

    async with printer, server:
        yield server


async def test_dcmtk_prints_on_ours(tmp_path: Path) -> None:
    films = list[PrintedFilm]()
    paths = [save(_with_study(gray(20 * number, 64, 64), number), tmp_path / f"{number}.dcm") for number in range(1, 4)]
    async with printing(films) as server:
        configuration = configured(tmp_path / "spool", "PRINTER", server.port, "PRINTER")
        options = ["-c", str(configuration), "-p", "PRINTER"]
        look = ["--layout", "2", "2", "--filmsize", "14INX17IN", "--trim", "--identity", "--landscape"]
        code, output = await run(need("dcmpsprt"), *options, *look, *map(str, paths))
        assert code == 0, output
        (stored,) = (tmp_path / "spool").glob("SP_*.dcm")
        code, output = await run(need("dcmprscu"), *options, "-d", "--copies", "3", str(stored))
        assert code == 0, output
    (film,) = films
    assert (str(film.layout), film.copies, film.attributes.FilmSizeID) == ("STANDARD\\2,2", 3, "14INX17IN")
    assert (film.orientation, film.attributes.Trim, film.calling_ae_title) == ("LANDSCAPE", "YES", "DCMPSTATE")
    assert [each.position for each in film.images] == [1, 2, 3]
    middles = [int(each.pixels[each.image.Rows // 2, each.image.Columns // 2]) for each in film.images]
    most = 2 ** int(film.images[0].image.BitsStored) - 1
    assert [round(255 * each / most) for each in middles] == pytest.approx([20, 40, 60], abs=1)
    picture = film.picture(20)
    assert picture.getpixel((85, 70)) == pytest.approx(20, abs=1)


def _with_study(dataset: Dataset, number: int) -> Dataset:
    """What DCMTK wants of an image to print."""
    dataset.SOPInstanceUID, dataset.Modality, dataset.InstanceNumber = f"1.2.3.{number}", "OT", number
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.4", "1.2.5"
    dataset.PatientName, dataset.PatientID, dataset.StudyID, dataset.SeriesNumber = "A", "1", "1", 1
    dataset.StudyDate = dataset.StudyTime = dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.PatientBirthDate = dataset.PatientSex = ""
    return dataset


async def test_ctn_prints_on_ours(tmp_path: Path) -> None:
    """Its SCU prints a film of four images, which it has ready for the printer; its printer needs a database."""
    films, paths = list[PrintedFilm](), list[str]()
    for number in range(1, 5):
        path = tmp_path / f"{number}.dcm"
        printed(gray(20 * number)).attributes().save_as(path, implicit_vr=True, little_endian=True)
        paths.append(str(path))
    async with printing(films) as server:
        command = [need("print_client"), "-s", "-f", "1", "-c", "PRINTER", "localhost", str(server.port), *paths]
        code, output = await run(*command)
    assert code == 0, output[-3000:]
    assert [int(each.pixels[0, 0]) for each in films[0].images] == [20, 40, 60, 80]
    assert films[0].calling_ae_title == "MIR_PRINT_SCU"


async def test_we_print_on_pynetdicom(tmp_path: Path) -> None:
    port = free_port()
    command = [need_pynetdicom(), str(PYNETDICOM_PRINTER), "serve", str(port)]
    red = image(np.full((1, 2, 3), (255, 0, 0)), bits=8, PhotometricInterpretation="RGB")
    with Peer(command, port, tmp_path / "films", title="PYNETDICOM") as peer:
        state = await printer_status(peer.address)
        in_gray = await print_images(peer.address, gray(20, 1, 2), film=FilmOptions(size="A4"))
        in_color = await print_images(peer.address, red)
    assert (state.status, state.status_info, state.name) == ("WARNING", "SUPPLY LOW", "laser")
    assert [each.state for each in (*in_gray.films, *in_color.films)] == [PrintJobState.DONE] * 2
    assert in_gray.warnings == ("film 1, image 1: 0xB604 The image is larger than its image box, and was made smaller",)
    lines: list[dict[str, Any]] = [json.loads(line) for line in peer.output().splitlines() if line.startswith("{")]
    assert lines[:3] == [
        {"film": "STANDARD\\1,1", "size": "A4"},
        {"position": 1, "pixels": [20, 20], "samples": 1},
        {"action": 1},
    ]
    assert {"position": 1, "pixels": [255, 255, 0, 0, 0, 0], "samples": 3} in lines
    assert [line["deleted"] for line in lines if "deleted" in line][:3] == [
        *(uids.FILM_BOX, uids.FILM_SESSION, uids.PRESENTATION_LUT)
    ]


@pytest.mark.parametrize("kind", ["gray", "color"])
async def test_pynetdicom_prints_on_ours(kind: str) -> None:
    films = list[PrintedFilm]()
    async with printing(films) as server:
        code, output = await run(need_pynetdicom(), str(PYNETDICOM_PRINTER), "print", str(server.port), kind)
    assert code == 0, output
    (film,) = films
    expected = np.arange(18).reshape(2, 3, 3) if kind == "color" else np.arange(6).reshape(2, 3)
    assert np.array_equal(film.images[0].pixels, expected)
