"""The tests of docs/how-to/testing.md pass, each block as a file of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[2] / "docs" / "how-to" / "testing.md"


def test_the_blocks_of_the_page_pass(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    conftest, *blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "conftest.py").write_text(conftest)
    for number, block in enumerate(blocks):
        (tmp_path / f"test_{number}.py").write_text(block)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    tests = sum(block.count("\ndef test_") for block in blocks)
    assert f"{tests} passed" in done.stdout, done.stdout
