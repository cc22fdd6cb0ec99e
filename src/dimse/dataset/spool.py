"""Files that wait on the disk to be sent: a queue for each destination, and no list in memory.

    spool/lock                                     held by the process that uses it
    spool/arriving-N.dcm                           has no queue yet, so nobody was told that it is here
    spool/waiting/QUEUE/000000012/000000012345.dcm
    spool/failed/QUEUE/000000012/000000012345.dcm  set aside, with the reason in a file beside it: .json

Rules:

- An instance is one file, however many queues it is in: each has a hard link, or a copy where there are no links. A
  link is made when the file is whole and on the disk, so whatever has a name in a queue is whole.
- Names are numbers in the order of arrival. A folder has at most `FOLDER_SIZE`, so that a queue is read from its
  beginning without listing it.
- What has arrived is in all of its queues before anybody is told. After `kill -9` between two links some queues have
  it: the sender sends it again, and those queues send it twice.
- Only one process uses a spool. What is in it may be looked at, and removed, by anybody at any time; what somebody else
  put there, such as a link or a pipe, stays where it is and is not sent.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dimse.dataset import folders
from dimse.dataset.file_names import safe_name
from dimse.dataset.folders import ATTEMPTS, Folder
from dimse.dataset.part10_file import NO_LINKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

FOLDER_SIZE: Final = 1000
"""Files in a folder of a queue."""

_WAITING: Final = "waiting"
_FAILED: Final = "failed"
_ARRIVING: Final = "arriving-"
_LOCK: Final = "lock"
_NAME: Final = re.compile(r"[0-9]{12,}\.dcm")
_FOLDER: Final = re.compile(r"[0-9]{9,}")


class Spooled(NamedTuple):
    """A file in a queue."""

    path: str
    size: int


@dataclass(slots=True)
class Count:
    """The number of files, and their bytes."""

    files: int = 0
    size: int = 0

    def add(self, size: int, files: int = 1) -> None:
        """Count more files, or with negative numbers fewer."""
        self.files += files
        self.size += size


@dataclass(slots=True)
class Contents:
    """What is in a queue, and set aside from it."""

    waiting: Count
    failed: Count


class Arrival:
    """A file on its way into its queues."""

    def __init__(self, root: str, number: int) -> None:
        self.name = f"{_ARRIVING}{number}.dcm"
        self.path = os.path.join(root, self.name)

    @property
    def size(self) -> int:
        """Its bytes, until it is in its queues."""
        return os.stat(self.path).st_size

    def remove(self) -> None:
        """Remove it, if it is there."""
        folders.remove(self.path)


class Spool:
    """The folder and its queues. All methods block; those of different queues may run in threads at the same time."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root: Final = os.path.abspath(root)
        self._lock: int | None = None
        self._arrivals = count()
        self._latest = 0
        """The number of the newest file."""
        self._numbering = threading.Lock()

    def open(self, queues: Iterable[str]) -> dict[str, Contents]:
        """Take the spool for this process, and count what each of `queues` has.

        Removes what was arriving when another process ended: its sender was not told that it is here. Raises `OSError`
        if the folder cannot be used, or another process uses it.
        """
        folders.prepare(self.root)
        self._lock = _locked(self.root)
        try:
            with os.scandir(self.root) as entries:
                for entry in entries:
                    if entry.name.startswith(_ARRIVING) and not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.path)
            found = {queue: self.contents(queue) for queue in queues}
            self._latest = max(map(self._last, {*found, *self.queues()}), default=0)
        except BaseException:
            self.close()
            raise
        return found

    def close(self) -> None:
        """Leave the spool to others."""
        if self._lock is not None:
            descriptor, self._lock = self._lock, None
            os.close(descriptor)

    def is_used(self) -> bool:
        """Whether another process uses it."""
        try:
            descriptor = os.open(os.path.join(self.root, _LOCK), os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return not folders.lock(descriptor)
        finally:
            os.close(descriptor)

    def queues(self) -> list[str]:
        """The names of the folders of all queues in it, also those that nobody uses any more."""
        return sorted({name for kind in (_WAITING, _FAILED) for name in _folders(os.path.join(self.root, kind))})

    def contents(self, queue: str) -> Contents:
        """Count what is in a queue."""
        return Contents(self._count(_WAITING, queue), self._count(_FAILED, queue))

    def _count(self, kind: str, queue: str) -> Count:
        counted = Count()
        for _, entry in self._files(kind, queue):
            with suppress(FileNotFoundError):
                counted.add(entry.stat().st_size)
        return counted

    def _last(self, queue: str) -> int:
        """The largest number in a queue."""
        last = 0
        for kind in (_WAITING, _FAILED):
            for part in reversed(self._parts(kind, queue)):
                names = [name for name in _listed(self._folder(kind, queue, part)) if _NAME.fullmatch(name)]
                if names:
                    last = max(last, *(int(name.partition(".")[0]) for name in names))
                    break
        return last

    def _folder(self, kind: str, queue: str, *part: str) -> str:
        return os.path.join(self.root, kind, folder_name(queue), *part)

    def _parts(self, kind: str, queue: str) -> list[str]:
        return sorted(filter(_FOLDER.fullmatch, _folders(self._folder(kind, queue))))

    def _files(self, kind: str, queue: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """The files of a queue in their order, one folder after the other, each with the name of its folder."""
        for part in self._parts(kind, queue):
            folder = self._folder(kind, queue, part)
            entries = sorted(_instances(folder), key=lambda each: each.name)
            if not entries and int(part) < int(_part(self._latest)):
                with suppress(OSError):  # it has something else, or was just made again
                    os.rmdir(folder)
            for entry in entries:
                yield part, entry

    def _number(self) -> int:
        with self._numbering:
            self._latest += 1
            return self._latest

    # Into the queues

    def arriving(self) -> Arrival:
        """A new name, for a file that is written into the spool."""
        return Arrival(self.root, next(self._arrivals))

    def bring(self, path: str | os.PathLike[str], arrival: Arrival) -> None:
        """Give a file that is elsewhere its name in the spool too: by a hard link, or as a copy.

        Raises `OSError` if it cannot be read or copied.
        """
        real = os.path.realpath(path)
        try:
            os.link(real, arrival.path)
        except OSError as error:
            if error.errno not in NO_LINKS | {errno.EXDEV}:
                raise
            shutil.copyfile(real, arrival.path)

    def put(self, arrival: Arrival, queues: Sequence[str]) -> None:
        """Put a whole file into its queues, durably: into all of them, or with an `OSError` into none."""
        number = self._number()
        name, part, made = f"{number:012d}.dcm", _part(number), list[Folder]()
        try:
            _sync(arrival.path)
            for queue in queues:
                made.append(self._link(arrival, [_WAITING, folder_name(queue), part], name))
            for folder in made:
                folder.sync()
        except BaseException:
            for folder in made:
                folder.unlink(name)
            raise
        finally:
            for folder in made:
                folder.close()
            arrival.remove()

    def _link(self, arrival: Arrival, parts: Sequence[str], name: str) -> Folder:
        for attempt in range(1, ATTEMPTS + 1):
            folder = Folder(self.root, parts)
            try:
                self._link_in(folder, arrival, name)
            except BaseException as error:
                folder.close()
                if attempt == ATTEMPTS or not isinstance(error, FileNotFoundError):  # it was removed, being empty
                    raise
            else:
                return folder
        raise AssertionError

    def _link_in(self, folder: Folder, arrival: Arrival, name: str) -> None:
        try:
            folder.link(arrival.name, name)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            copy = self.arriving()
            try:
                shutil.copyfile(arrival.path, copy.path)
                _sync(copy.path)
                folder.rename(copy.name, name, replace=False)
            except BaseException:
                copy.remove()
                raise

    # Out of the queues

    def first(self, queue: str, most: int, most_bytes: int, *, behind: str = "") -> list[Spooled]:
        """The oldest files of a queue: at most `most`, and no more once they have `most_bytes`.

        They are those behind the file with the path `behind`, if that is given.
        """
        found, size = list[Spooled](), 0
        for _, entry in self._files(_WAITING, queue):
            if entry.path <= behind:
                continue
            with suppress(FileNotFoundError):
                found.append(Spooled(entry.path, entry.stat().st_size))
                size += found[-1].size
            if len(found) == most or size >= most_bytes:
                break
        return found

    def remove(self, path: str) -> None:
        """Remove a file from its queue; it may be gone already."""
        folders.remove(path)

    def fail(self, path: str, reason: Mapping[str, Any]) -> None:
        """Set a file of a queue aside, with the reason beside it. Raises `OSError`, and then it stays where it is."""
        rest, name = os.path.split(path)
        rest, part = os.path.split(rest)
        folder = os.path.join(self.root, _FAILED, os.path.basename(rest), part)
        os.makedirs(folder, exist_ok=True)
        target = os.path.join(folder, name)
        with open(_reason_of(target), "w", encoding="utf-8") as file:
            json.dump(reason, file, indent=1)
            file.write("\n")
        os.replace(path, target)

    def retry(self, queue: str) -> Count:
        """Move what was set aside back into its queue, to the places that it had. Returns how much that is."""
        moved = Count()
        for part, entry in self._files(_FAILED, queue):
            folder = self._folder(_WAITING, queue, part)
            with suppress(FileNotFoundError):
                size = entry.stat().st_size
                os.makedirs(folder, exist_ok=True)
                os.replace(entry.path, os.path.join(folder, entry.name))
                moved.add(size)
            folders.remove(_reason_of(entry.path))
        return moved


def folder_name(queue: str) -> str:
    """The name of a queue's folder: its own, unless that has characters that are not safe in one."""
    return safe_name("{Queue}", {"Queue": queue})


def _part(number: int) -> str:
    return f"{number // FOLDER_SIZE:09d}"


def _reason_of(path: str) -> str:
    return path.removesuffix(".dcm") + ".json"


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _folders(folder: str) -> list[str]:
    """The names of the folders in it."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _instances(folder: str) -> list[os.DirEntry[str]]:
    """The files in it that have the name of an instance. Links and pipes were not put there by a spool."""
    try:
        with os.scandir(folder) as entries:
            return [each for each in entries if _NAME.fullmatch(each.name) and each.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _locked(root: str) -> int:
    """The open file whose lock says that the spool is in use. Raises `OSError` if another process has it."""
    descriptor = os.open(os.path.join(root, _LOCK), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if folders.lock(descriptor):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    raise OSError(errno.EBUSY, "another process forwards from this spool", root)


def _sync(path: str) -> None:
    """Force a file to the disk."""
    if os.name != "nt":  # where it must be open for writing
        with open(path, "rb") as file:
            os.fsync(file.fileno())
