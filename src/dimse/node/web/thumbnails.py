"""Thumbnails of series, kept on the disk."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from pathlib import Path
from typing import Final

FOLDER: Final = "thumbnails"
"""The folder in the data folder."""
THUMBNAIL: Final = 192
"""Width and height of a thumbnail."""
MAX_FOLDERS: Final = 2000
"""Studies whose thumbnails are kept; those that were made longest ago go first."""


class Thumbnails:
    """Thumbnails in the data folder `data`, by study. Its methods block."""

    def __init__(self, data: Path) -> None:
        self._folder = data / FOLDER

    def get(self, study_uid: str, name: str) -> bytes | None:
        """The picture `name` of a study, if it is kept."""
        try:
            return (self._folder / study_uid / name).read_bytes()
        except OSError:
            return None

    def put(self, study_uid: str, name: str, jpeg: bytes) -> None:
        """Keep a picture, whole or not at all. What cannot be written is drawn again the next time."""
        folder = self._folder / study_uid
        partial = folder / f"{name}.{secrets.token_hex(8)}.partial"
        with contextlib.suppress(OSError):
            if not folder.is_dir():
                self._make_room()
                folder.mkdir(parents=True, exist_ok=True)
            try:
                partial.write_bytes(jpeg)
                partial.replace(folder / name)
            finally:
                partial.unlink(missing_ok=True)

    def _make_room(self) -> None:
        if not self._folder.is_dir():
            return
        kept = sorted(self._folder.iterdir(), key=_age, reverse=True)
        for folder in kept[MAX_FOLDERS - 1 :]:
            shutil.rmtree(folder, ignore_errors=True)


def remove_thumbnails(data: Path, study_uid: str) -> None:
    """Remove what is kept of a study in the data folder `data`. Blocks."""
    shutil.rmtree(data / FOLDER / study_uid, ignore_errors=True)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
