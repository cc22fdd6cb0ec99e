"""`dimse demo` as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.cli.conftest import run_dimse


@pytest.mark.timeout(150)
def test_demo_runs_and_runs_again(tmp_path: Path) -> None:
    out = tmp_path / "shown"
    for slices in (3, 20):
        done = run_dimse("demo", "--into", out, "--slices", slices)
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


def test_demo_leaves_a_folder_of_others_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    done = run_dimse("demo", "--into", tmp_path)
    assert done.code == 2
    assert "choose another folder with --into" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


HIDE = """
import sys
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "PIL" else found(name, *rest)
from dimse.cli.app import run
sys.exit(run(["demo"]))
"""


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", HIDE], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.endswith('pip install "dimse[demo]"')
    assert list(tmp_path.iterdir()) == []
