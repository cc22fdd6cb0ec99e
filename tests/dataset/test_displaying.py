"""What a file shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.pixels.utils import pixel_array

from dimse.dataset.displaying import MAX_ELEMENTS, MAX_TEXT, displayed, header_of, tags_of
from dimse.dataset.windowing import first_window, windowed
from dimse.errors import DatasetError


def shipped(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


CT = shipped("CT_small.dcm")


@pytest.mark.parametrize(
    ("name", "shape", "is_color"),
    [
        ("CT_small.dcm", (128, 128), False),
        ("MR_small_RLE.dcm", (64, 64), False),
        ("MR_small_bigendian.dcm", (64, 64), False),
        ("SC_rgb_rle_16bit.dcm", (100, 100, 3), True),
        ("examples_palette.dcm", (350, 800, 3), True),
        ("SC_ybr_full_422_uncompressed.dcm", (100, 100, 3), True),
        ("rtdose.dcm", (10, 10), False),
        ("liver_1frame.dcm", (512, 512), False),
        ("image_dfl.dcm", (512, 512), False),
    ],
)
def test_a_frame_has_eight_bits_and_its_window(name: str, shape: tuple[int, ...], is_color: bool) -> None:
    shown = displayed(shipped(name), header_of(shipped(name)), 0)
    assert (str(shown.pixels.dtype), shown.pixels.shape) == ("uint8", shape)
    assert (shown.window is None) == is_color
    assert shown.pixels.max() > shown.pixels.min()


def test_each_frame_is_its_own() -> None:
    path = shipped("rtdose.dcm")
    header = header_of(path)
    frames = [displayed(path, header, frame, (1e7, 2e7)).pixels for frame in range(int(header.NumberOfFrames))]
    assert len({each.tobytes() for each in frames}) > 1
    with pytest.raises(DatasetError, match="there is no frame 16: the image has 15"):
        displayed(path, header, 15)


@pytest.mark.parametrize("name", ["rtplan.dcm", "reportsi.dcm"])
def test_what_is_no_image_is_said_by_its_name(name: str) -> None:
    with pytest.raises(DatasetError, match="has no image"):
        header_of(shipped(name))


def test_the_plugins_that_are_missing_are_named() -> None:
    path = shipped("JPEG-lossy.dcm")
    with pytest.raises(DatasetError, match="pillow"):
        displayed(path, header_of(path), 0)


def test_values_that_are_not_valid_are_not_in_the_error(tmp_path: Path) -> None:
    dataset = dcmread(CT)
    dataset.add_new("PatientName", "PN", "Doe^Jane")
    del dataset.BitsStored
    dataset.save_as(tmp_path / "broken.dcm")
    with pytest.raises(DatasetError) as raised:
        displayed(tmp_path / "broken.dcm", header_of(tmp_path / "broken.dcm"), 0)
    assert "Doe" not in str(raised.value)


def test_elements_are_a_tree_with_names_and_decoded_texts(tmp_path: Path) -> None:
    dataset = dcmread(CT)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = "Müller^Anna=山田^太郎"
    item = Dataset()
    item.CodeMeaning = "größer"
    dataset.AnatomicRegionSequence = [item]
    dataset.PatientComments = "x" * 5000
    dataset.add_new(0x00090010, "LO", "ACME")
    dataset.add_new(0x00091001, "OB", b"\1\2")
    dataset.save_as(tmp_path / "it.dcm")
    tree, is_cut = tags_of(tmp_path / "it.dcm")
    assert not is_cut
    tags = {each["tag"]: each for each in tree}
    assert "(7FE0,0010)" not in tags
    assert tags["(0010,0010)"]["value"] == "Müller^Anna=山田^太郎"
    assert tags["(0002,0010)"]["name"] == "Transfer Syntax UID"
    assert len(tags["(0010,4000)"]["value"]) == MAX_TEXT
    assert tags["(0009,1001)"] == {"tag": "(0009,1001)", "name": "Private", "vr": "OB", "value": "01 02"}
    region = tags["(0008,2218)"]
    assert (region["value"], region["items"][0][0]["value"]) == ("1 item", "größer")
    assert tags["(0028,0010)"]["value"] == "128"


@pytest.mark.parametrize("elements", [0, 1], ids=["empty items", "items"])
def test_a_tree_of_elements_has_an_end(tmp_path: Path, elements: int) -> None:
    dataset = dcmread(CT)
    item = Dataset()
    if elements:
        item.CodeValue = "1"
    dataset.AnatomicRegionSequence = [item] * 2 * MAX_ELEMENTS
    dataset.save_as(tmp_path / "it.dcm")
    tree, is_cut = tags_of(tmp_path / "it.dcm")
    assert is_cut
    (region,) = [each for each in tree if each["tag"] == "(0008,2218)"]
    assert region["value"] == f"{2 * MAX_ELEMENTS} items"
    assert MAX_ELEMENTS / 2.1 < len(region["items"]) < MAX_ELEMENTS


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_window_without_an_end_is_none(tmp_path: Path, number: str) -> None:
    path = tmp_path / "ct.dcm"
    header = dcmread(CT)
    header.WindowCenter, header.WindowWidth = "100", "300"
    header.save_as(path)
    raw = path.read_bytes().replace(b"DS\x04\x00300 ", b"DS\x04\x00" + number.ljust(4).encode())
    path.write_bytes(raw)
    assert str(dcmread(path).WindowWidth) == number
    shown = displayed(path, header_of(path), 0)
    assert shown.window == (135.5, 2063.0, "LINEAR_EXACT")
    assert shown.pixels.max() == 255


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_bigendian.dcm", "693_J2KI.dcm", "examples_overlay.dcm", "liver_1frame.dcm"]
)
@pytest.mark.parametrize("window", [None, (100.0, 300.0)])
def test_values_are_displayed_as_they_are_windowed(name: str, window: tuple[float, float] | None) -> None:
    path = shipped(name)
    header = header_of(path)
    pixels = pixel_array(path, index=0)
    wanted = None if window is None else (*window, first_window(pixels, header)[2])
    expected = np.rint(windowed(pixels, header, wanted) * 255)
    assert (displayed(path, header, 0, window).pixels == expected).all()


def test_the_whole_range_of_sixteen_bits_is_displayed(tmp_path: Path) -> None:
    dataset = dcmread(CT)
    dataset.Rows = dataset.Columns = 256
    dataset.PixelData = np.arange(-(2**15), 2**15, dtype="<i2").tobytes()
    dataset.save_as(tmp_path / "it.dcm")
    shown = displayed(tmp_path / "it.dcm", header_of(tmp_path / "it.dcm"), 0)
    ramp = shown.pixels.ravel().astype(int)
    assert (ramp[0], ramp[-1]) == (0, 255)
    assert (np.diff(ramp) >= 0).all()
