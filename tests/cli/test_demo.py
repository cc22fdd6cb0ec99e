"""`dimse demo`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


@pytest.mark.timeout(150)
def test_demo_runs_and_runs_again(dimse: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "shown"
    for slices in (3, 20):
        done = dimse("demo", "--out", out, "--slices", slices)
        assert (done.code, done.err) == (0, "")
        count = slices + 18
        assert f"Compared byte for byte: {count} of {count} data sets are equal" in done.out
        assert "\n$ dimse send DEMO@127.0.0.1:" in done.out
        assert f"{count} objects stored at DEMO@127.0.0.1:" in done.out
        assert f"Phantom^Head           {slices}" in done.out
        assert f"{slices} instances retrieved from ARCHIVE@127.0.0.1:" in done.out
        assert f"{slices} instances moved from ARCHIVE@127.0.0.1:" in done.out
        assert f"Compared byte for byte: {slices} of {slices} got and {slices} of {slices} moved" in done.out
        assert len(list((out / "received").rglob("*.dcm"))) == count
    with Image.open(out / "contact-sheet.png") as sheet:
        assert sheet.width > 1000
        assert len(sheet.convert("L").getcolors() or ()) > 50
        assert "Contact sheet of 36 of them" in done.out


def test_demo_leaves_a_folder_of_others_alone(dimse: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    done = dimse("demo", "--out", tmp_path)
    assert done.code == 2
    assert "name another folder by --out" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
