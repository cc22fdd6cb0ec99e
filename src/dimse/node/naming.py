"""Gives files of `incoming/` the names that the index is about to have for them.

1. A file gets its final name, a hard link, before the transaction is committed, and loses the one in `incoming/`
   afterwards. So whoever finds an instance in the index, in whatever process, finds its file; and a crash between the
   two leaves a name in `incoming/`, by which it is mended.
2. If the transaction is not committed, the final names are removed again.
3. A file that has the final name already, and that the index does not know, is not ours to overwrite: it is moved to
   `set-aside/`.
4. On a file system without hard links a file is renamed before the commit. A crash between the two leaves a file
   that the index does not know, for `dimse node verify`; it was never acknowledged.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from dimse.dataset import folders
from dimse.dataset.part10_file import NO_LINKS


class Names:
    """The names that files get in one transaction, below the data folder `data`. All methods block."""

    def __init__(self, data: Path) -> None:
        self._data: Final = data
        self._given: list[tuple[Path, Path]] = []

    def give(self, file: Path, place: Path) -> None:
        """Give a file its final name. Raises `OSError`."""
        place = self._data / place
        for _ in range(folders.ATTEMPTS):
            try:
                _link(file, place)
            except FileNotFoundError:  # a folder is missing; the last file of the study may just have been deleted
                place.parent.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                if not _is_same(file, place):
                    self._set_aside(place)
                    continue
                break
            else:
                break
        else:
            _link(file, place)
        self._given.append((file, place))

    def _set_aside(self, place: Path) -> None:
        aside = self._data / "set-aside" / f"{place.stem}-{secrets.token_hex(8)}{place.suffix}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            place.rename(aside)

    def keep(self) -> None:
        """The transaction is committed: remove the names in `incoming/`."""
        for file, _ in self._given:
            folders.remove(str(file))

    def undo(self) -> None:
        """The transaction was not committed: remove the final names."""
        for file, place in self._given:
            if file.exists():
                folders.remove(str(place))
            else:
                with suppress(OSError):
                    place.rename(file)
        self._given.clear()


def _link(file: Path, place: Path) -> None:
    try:
        os.link(file, place)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if place.exists():
            raise FileExistsError from None
        file.rename(place)


def _is_same(file: Path, place: Path) -> bool:
    with suppress(FileNotFoundError):
        return file.samefile(place)
    return False
