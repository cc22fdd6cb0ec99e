"""A Modality Worklist that is a folder of files, as wlmscpfs of DCMTK and Orthanc have it (PS3.4 Annex K)."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from io import BytesIO
from pathlib import Path as FilePath
from typing import Final, NamedTuple

from dimse.dataset.character_sets import can_encode
from dimse.dataset.codec import IDENTIFIER_LIMITS, PYDICOM_ERRORS, decode, pydicom_failed
from dimse.dataset.encoding import QUERY_RETRIEVE_LEVEL, SPECIFIC_CHARACTER_SET
from dimse.dataset.part10 import read_transfer_syntax
from dimse.dataset.pydicom_names import DataElement, Dataset
from dimse.dataset.texts import character_sets_of, decode_extensions
from dimse.dataset.threads import beside_the_loop
from dimse.errors import DatasetError, StatusError
from dimse.services.find_scp import Match
from dimse.services.matching import Matcher
from dimse.services.query_keys import Path, tag_of, texts_of
from dimse.services.query_request import QueryRequest
from dimse.services.worklist import STEP
from dimse.status import Status

logger = logging.getLogger("dimse.worklist")

MAXIMUM_WORKLIST_FILE: Final = 1024 * 1024
"""Bytes of a worklist file; a real one has a few thousand."""

MAXIMUM_WORKLIST_KEPT: Final = 16 * 1024 * 1024
"""Bytes of worklist files whose content is kept in memory, where it takes ten to twenty times of that. What does not
fit is read for each query, a few files at a time."""

_SUFFIX: Final = ".wl"
_TURN: Final = 64
"""Files whose items are matched in a row before other tasks run."""
_STEP: Final = tag_of(STEP)
_NO_KEYS: Final = frozenset((SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, tag_of("TimezoneOffsetFromUTC")))
_REQUIRED: Final = frozenset(
    {
        (tag_of("PatientName"),),
        (tag_of("PatientID"),),
        (_STEP, tag_of("Modality")),
        (_STEP, tag_of("ScheduledStationAETitle")),
        (_STEP, tag_of("ScheduledProcedureStepStartDate")),
        (_STEP, tag_of("ScheduledProcedureStepStartTime")),
        (_STEP, tag_of("ScheduledPerformingPhysicianName")),
    }
)
"""The required matching keys of Table K.6-1. What a file lacks of them is unknown, and matches."""


class _Stamp(NamedTuple):
    """What changes with the content of a file."""

    modified: int
    size: int
    inode: int


class _Known(NamedTuple):
    """What was read from a file: its items, of which a broken one has none."""

    stamp: _Stamp
    items: Sequence[Dataset]

    @property
    def size(self) -> int:
        """The room that it takes, in bytes of the file."""
        return self.stamp.size if self.items else 0


class WorklistFolder:
    """The worklist items in a folder: its DICOM files `*.wl`, and for associations that call TITLE also `TITLE/*.wl`.

    `find` is a C-FIND handler. The files are looked at for each query, and those that have changed are read again. A
    file that is broken or not complete yet is left out, with a warning in the log that names it. A file with several
    scheduled procedure steps is as many worklist items (PS3.4 K.6.1.2.2).

    Answers are in the character set that the query names, or in that of the file if the query names none; where a
    text does not fit into it, in UTF-8.

    >>> worklist = WorklistFolder("worklist")
    >>> server = Server("RIS", port=11112)
    >>> handler = server.on_c_find(QueryRetrieveModel.MODALITY_WORKLIST)(worklist.find)
    >>> server.run()  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = FilePath(folder)
        self._known: dict[str, _Known] = {}
        self._room = MAXIMUM_WORKLIST_KEPT

    async def find(self, request: QueryRequest) -> AsyncGenerator[Match]:
        """Answer a query, as the handler of `Server.on_c_find`."""
        matcher = Matcher(request.identifier, request.features)
        asked = character_sets_of(request.identifier)
        optional = [path for path in _keys(request.identifier) if path not in _REQUIRED]
        async with aclosing(self.items(request.association.called_ae_title)) as items:
            async for item in items:
                if matcher.matches(item):
                    answer = _in_character_set(matcher.response(item), asked)
                    unsupported = bool(matcher.unsupported) or any(_lacks(item, path) for path in optional)
                    yield Match(answer, unsupported_keys=unsupported)

    async def items(self, called_ae_title: str | None = None) -> AsyncGenerator[Dataset]:
        """All worklist items for associations that call this title, in the order of the names of their files.

        They are shared: do not change them. Raises `StatusError` if the folder cannot be read.
        """
        try:
            files = await beside_the_loop(lambda: dict(_files(self.folder, called_ae_title)))
        except OSError as error:
            logger.error("%s: the worklist cannot be read: %s", self.folder, error.strerror)  # noqa: TRY400 - no bug of ours
            raise StatusError(Status.CANNOT_UNDERSTAND, "the worklist cannot be read") from None
        self._forget_others(files, called_ae_title)
        names = list(files)
        for start in range(0, len(names), _TURN):
            await asyncio.sleep(0)
            for known in await self._contents({path: files[path] for path in names[start : start + _TURN]}):
                for item in known.items:
                    yield item

    def _forget_others(self, files: Mapping[str, _Stamp], title: str | None) -> None:
        """Forget the files of the folders that were looked at which have changed or are gone."""
        looked_at = {str(self.folder), str(self.folder / (title or ""))}
        for path, known in list(self._known.items()):
            if files.get(path) != known.stamp and os.path.dirname(path) in looked_at:  # noqa: PTH120 - a path of scandir is text
                self._room += self._known.pop(path).size

    async def _contents(self, files: Mapping[str, _Stamp]) -> list[_Known]:
        """What is in some files. Those that are not known are read, and kept if there is room."""
        found = {path: known for path in files if (known := self._known.get(path)) is not None}
        new = [path for path in files if path not in found]
        if new:
            read = await beside_the_loop(lambda: [_Known(files[path], _read(path)) for path in new])
            for path, known in zip(new, read, strict=True):
                found[path] = known
                if path not in self._known and known.size <= self._room:
                    self._known[path] = known
                    self._room -= known.size
        return [found[path] for path in files]


def _files(folder: FilePath, title: str | None) -> Iterator[tuple[str, _Stamp]]:
    """The worklist files, by their names: those of the folder, then those of the title."""
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        state = _state_of(entry) if entry.name.endswith(_SUFFIX) else None
        if state is not None and stat.S_ISREG(state.st_mode):
            yield entry.path, _Stamp(state.st_mtime_ns, state.st_size, state.st_ino)
    # a title comes from the peer: it is compared with names, and never part of a path
    for entry in listed:
        state = _state_of(entry) if title and entry.name == title else None
        if state is not None and stat.S_ISDIR(state.st_mode):
            yield from _files(FilePath(entry.path), None)


def _state_of(entry: os.DirEntry[str]) -> os.stat_result | None:
    """What an entry is, behind symbolic links; None if it is gone, or cannot be looked at."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning("%s: left out of the worklist: %s", entry.path, error.strerror)
        return None


def _read(path: str) -> Sequence[Dataset]:
    """The worklist items of a file; none, with a warning, if it cannot be used."""
    try:
        return _steps(_dataset(path))
    except OSError as error:
        why: object = error.strerror
    except DatasetError as error:
        why = error
    except PYDICOM_ERRORS as error:
        why = pydicom_failed("it cannot be decoded", error)
    logger.warning("%s: left out of the worklist: %s", path, why)
    return ()


def _open_now(path: str, flags: int) -> int:
    """Open a file; a pipe that has taken its place must not wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _dataset(path: str) -> Dataset:
    with open(path, "rb", opener=_open_now) as file:
        data = file.read(MAXIMUM_WORKLIST_FILE + 1)
    if len(data) > MAXIMUM_WORKLIST_FILE:
        raise DatasetError(f"it has more than {MAXIMUM_WORKLIST_FILE} bytes")
    transfer_syntax_uid, start = read_transfer_syntax(BytesIO(data))
    dataset = decode(memoryview(data)[start:], transfer_syntax_uid, limits=IDENTIFIER_LIMITS)
    decode_extensions(dataset)
    return dataset


def _steps(dataset: Dataset) -> Sequence[Dataset]:
    """A worklist item for each scheduled procedure step."""
    steps = dataset[_STEP].value if _STEP in dataset else None
    if not steps:
        raise DatasetError("it has no Scheduled Procedure Step Sequence (0040,0100)")
    return [dataset] if len(steps) == 1 else [_with_step(dataset, step) for step in steps]


def _with_step(dataset: Dataset, step: Dataset) -> Dataset:
    item = Dataset({tag: dataset.get_item(tag) for tag in dataset.keys()})  # noqa: SIM118 - iterating decodes
    item[_STEP] = DataElement(_STEP, "SQ", [step])
    return item


def _keys(identifier: Dataset, above: Path = ()) -> Iterator[Path]:
    """The paths of the keys that have a value."""
    for tag in identifier.keys() - _NO_KEYS:
        try:
            element = identifier[tag]
        except PYDICOM_ERRORS:
            continue  # `Matcher` does not match it
        if element.VR == "SQ":
            for item in element.value[:1]:
                yield from _keys(item, (*above, tag))
        elif not element.is_empty and element.value != "*":
            yield (*above, tag)


def _lacks(item: Dataset, path: Path) -> bool:
    """Whether an item does not have the attribute of a key, not even without a value."""
    tag, *below = path
    if tag not in item or not below:
        return tag not in item
    return all(_lacks(each, tuple(below)) for each in item[tag].value)


def _in_character_set(answer: Dataset, asked: Sequence[str]) -> Dataset:
    """The answer, with a character set that has all of its texts."""
    own = character_sets_of(answer)
    try:
        text = "".join(texts_of(answer))
    except PYDICOM_ERRORS:
        return answer  # an unreadable value stays as it is in the file
    if SPECIFIC_CHARACTER_SET in answer:
        del answer[SPECIFIC_CHARACTER_SET]
    if not text.isascii():
        wanted = asked or own
        answer.SpecificCharacterSet = list(wanted) if can_encode(text, wanted) else "ISO_IR 192"
    return answer
