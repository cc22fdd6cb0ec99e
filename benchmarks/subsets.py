"""Part of a workload, as a workload of its own: its files are the same, by another name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from workloads import SCALES, Workload


def workload(scale: str, key: str) -> Workload:
    """By its key."""
    return next(each for each in SCALES[scale] if each.key == key)


def part(of: Workload, count: int, folder: Path) -> tuple[Workload, Path]:
    """The first `count` objects of `of`, and where they are; that folder is its user's to delete."""
    into = folder / f"{of.key}-{count}"
    into.mkdir()
    for path in sorted((folder / of.key).iterdir())[:count]:
        (into / path.name).hardlink_to(path)
    return replace(of, count=count), into
