"""The picture of everything that the demo received."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from pydicom.data import get_testdata_file

from dimse.demo.contact_sheet import COLUMNS, TILE, transfer_syntax_name, write_contact_sheet


def sample(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path)


def test_images_are_tiles_and_other_objects_are_left_out(tmp_path: Path) -> None:
    files = [sample(name) for name in ("CT_small.dcm", "examples_palette.dcm", "image_dfl.dcm", "test-SR.dcm")]
    assert write_contact_sheet(files, tmp_path / "sheet.png", "three") == 3
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > COLUMNS * TILE
        assert TILE < sheet.height < 2 * TILE


def test_transfer_syntaxes_have_short_names() -> None:
    assert transfer_syntax_name("1.2.840.10008.1.2.1") == "Explicit LE"
    assert transfer_syntax_name("1.2.840.10008.1.2.4.90") == "JPEG 2000 lossless"
    assert transfer_syntax_name("1.2.3") == "1.2.3"
