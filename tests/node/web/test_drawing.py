"""The process that draws, by what it reads and writes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file


def shipped(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


def drawn(
    *requests: dict[str, Any], program: tuple[str, str] = ("-m", "dimse.node.web.drawing")
) -> list[tuple[dict[str, Any], bytes]]:
    """The answers of a process to requests."""
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in requests)
    command = [sys.executable, *program]
    ended = subprocess.run(command, input=lines, capture_output=True, check=True, timeout=50)  # noqa: S603 - ours
    file, answers = io.BytesIO(ended.stdout), []
    while line := file.readline():
        answer = json.loads(line)
        answers.append((answer, file.read(answer["length"])))
    return answers


def picture(path: Path, *, frame: int = 0, window: list[float] | None = None, size: int = 4096) -> dict[str, Any]:
    return {"path": str(path), "frame": frame, "window": window, "size": size}


def saved(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path)
    return path


def test_kinds_of_images_have_the_right_size_and_mode() -> None:
    expected = {
        "CT_small.dcm": ((128, 128), "L"),
        "MR_small_RLE.dcm": ((64, 64), "L"),
        "SC_rgb_rle.dcm": ((100, 100), "RGB"),
        "examples_palette.dcm": ((800, 350), "RGB"),
        "SC_ybr_full_422_uncompressed.dcm": ((100, 100), "RGB"),
        "liver_1frame.dcm": ((512, 512), "L"),
    }
    answers = drawn(*(picture(shipped(name)) for name in expected))
    for (answer, jpeg), (size, mode) in zip(answers, expected.values(), strict=True):
        image = Image.open(io.BytesIO(jpeg))
        assert (image.size, image.mode) == (size, mode)
        assert (answer["window"] is None) == (mode == "RGB")


def test_pixels_that_are_not_square_become_so(tmp_path: Path) -> None:
    dataset = dcmread(shipped("CT_small.dcm"))
    dataset.PixelSpacing = [2, 1]
    ((_, jpeg), (_, small)) = drawn(
        picture(saved(dataset, tmp_path / "tall.dcm")), picture(tmp_path / "tall.dcm", size=64)
    )
    assert Image.open(io.BytesIO(jpeg)).size == (128, 256)
    assert Image.open(io.BytesIO(small)).size == (32, 64)


def hostile(**elements: Any) -> Dataset:
    dataset = dcmread(shipped("CT_small.dcm"))
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("elements", "says"),
    [
        ({"Rows": 65535, "Columns": 65535}, "more than 67108864 pixels"),
        ({"Rows": 8000, "Columns": 8000, "BitsAllocated": 16}, ""),  # its pixel data is too short
        ({"PixelSpacing": [1e-6, 1e6]}, None),  # a picture of one row, not a million
        ({"NumberOfFrames": 2**31 - 1}, None),
        ({"BitsAllocated": 7}, ""),
        ({"PhotometricInterpretation": "SMITH JOHN"}, ""),
    ],
)
def test_a_hostile_image_is_an_answer_and_the_next_one_is_drawn(
    elements: dict[str, Any], says: str | None, tmp_path: Path
) -> None:
    path = saved(hostile(**elements), tmp_path / "hostile.dcm")
    (answer, jpeg), (_, good) = drawn(picture(path), picture(shipped("CT_small.dcm")))
    assert good.startswith(b"\xff\xd8")
    if says is None:
        assert jpeg.startswith(b"\xff\xd8")
    else:
        assert says in answer["error"]
        assert "SMITH" not in answer["error"]


def test_what_is_no_dicom_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.dcm").write_bytes(b"hello" * 100)
    answers = drawn(picture(tmp_path / "text.dcm"), {"path": str(tmp_path / "text.dcm")}, picture(tmp_path / "none"))
    errors = [answer["error"] for answer, _ in answers]
    assert errors == ["its file is not a DICOM file"] * 2 + ["its file is missing"]


def test_what_a_decoder_prints_is_not_among_the_answers() -> None:
    noisy = "lambda path: (['noise'] * (os.write(1, b'noise') - 5), False)"
    program = f"import os; from dimse.node.web import drawing; drawing.tags_of = {noisy}; drawing.main()"
    ((answer, body),) = drawn({"path": "any"}, program=("-c", program))
    assert (answer["length"], json.loads(body)) == (29, {"tags": [], "is_cut": False})
