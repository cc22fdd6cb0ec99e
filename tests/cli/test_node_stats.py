"""`dimse node stats` prints figures, as text and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dimse.node.index import Index

Run = Callable[..., Any]


def test_figures(dimse: Run, tmp_path: Path) -> None:
    Index.at(tmp_path / "index.sqlite").close()
    done = dimse("node", "stats", "--data", tmp_path)
    assert done.code == 0
    assert "instances:        0, 0 bytes\n" in done.out
    assert "jobs waiting:     0\n" in done.out
    (line,) = dimse("node", "stats", "--data", tmp_path, "--json").lines
    assert (line["event"], line["studies"], line["instances"], line["oldest"]) == ("statistics", 0, 0, None)
