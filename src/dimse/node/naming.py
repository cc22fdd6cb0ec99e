"""Gives files of `incoming/` the names that the index is about to have for them.

1. A file gets its final name, a hard link, before the transaction is committed, and loses the one in `incoming/`
   afterwards. So whoever finds an instance in the index, in whatever process, finds its file; and a crash between the
   two leaves a name in `incoming/`, by which it is mended.
2. If the transaction is not committed, the final names are removed again: before it is rolled back, if it fails before
   its commit, as another process may then store the instance in the same place. What that one has put there stays, and
   so does a name that the file had before, as that may be all that there is of it.
3. A file that has the final name already, and that the index does not know, is not ours to overwrite: it is moved to
   `set-aside/`, and back if the transaction is not committed. The caller writes into the index that it is there.
4. On a file system without hard links a file is renamed before the commit. A crash between the two leaves a file
   that the index does not know, for `dimse node verify`; it was never acknowledged.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dimse.dataset import folders
from dimse.dataset.part10_file import NO_LINKS
from dimse.node.places import set_aside_path


class Names:
    """The names that files get in one transaction, below the data folder `data`. All methods block.

    A block that raises has them undone.
    """

    def __init__(self, data: str) -> None:
        self._data: Final = data
        self._files: list[str] = []
        """The files that have their final names."""
        self._given: list[tuple[str, str]] = []
        """Those of them that got these here, and the names."""
        self.set_aside: dict[str, str] = {}
        """Where the files are that had the final names before, by these. All are below the data folder."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.undo()

    def give(self, file: str, place: str) -> None:
        """Give a file its final name, below the data folder. Raises `OSError`."""
        relative, place = place, f"{self._data}{os.sep}{place}"
        for attempt in range(folders.ATTEMPTS):
            try:
                _link(file, place)
                break
            except FileNotFoundError:  # a folder is missing: it is new, or a deletion has just removed it
                if attempt == folders.ATTEMPTS - 1 or not os.path.exists(file):
                    raise
                os.makedirs(os.path.dirname(place), exist_ok=True)
            except FileExistsError:
                if os.path.samefile(file, place):  # it had the name before, and keeps it whatever happens
                    self._files.append(file)
                    return
                self._set_aside(relative)
        self._files.append(file)
        self._given.append((file, place))

    def _set_aside(self, place: str) -> None:
        aside = set_aside_path(os.path.basename(place).removesuffix(".dcm"))
        os.makedirs(f"{self._data}{os.sep}set-aside", exist_ok=True)
        os.rename(f"{self._data}{os.sep}{place}", f"{self._data}{os.sep}{aside}")
        self.set_aside[place] = aside

    def keep(self) -> None:
        """The transaction is committed: remove the names in `incoming/`."""
        for file in self._files:
            folders.remove(file)

    def undo(self) -> None:
        """The transaction was not committed: remove the final names, and give them to the files that had them."""
        for file, place in self._given:
            with suppress(OSError):
                if not os.path.exists(file):
                    os.rename(place, file)
                elif os.path.samefile(file, place):
                    os.unlink(place)
        for relative, aside in self.set_aside.items():
            with suppress(OSError):
                _link(f"{self._data}{os.sep}{aside}", f"{self._data}{os.sep}{relative}")
                folders.remove(f"{self._data}{os.sep}{aside}")
        self._files.clear()
        self._given.clear()
        self.set_aside.clear()


def link_or_copy(file: Path, place: Path | str) -> None:
    """Give a file a second name, or make a copy where the file system has no hard links. Raises `OSError`."""
    try:
        os.link(file, place)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copy2(file, place)


def _link(file: str, place: str) -> None:
    try:
        os.link(file, place)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if os.path.exists(place):
            raise FileExistsError from None
        os.rename(file, place)
