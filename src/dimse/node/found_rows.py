"""The columns that a query reads, and the elements of a row of them.

1. What a study and a series have is in their `attributes`; what has changed since, such as counts, is in columns.
2. An instance has few columns. For its other attributes the beginning of its file is read.
3. A private attribute is that of its Private Creator, in whichever block the file has it (PS3.5 7.8.1). If the file
   does not say its VR, it is that of the key.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, func, select

from dimse.dataset.encoding import LITTLE, SOP_CLASS_UID, SOP_INSTANCE_UID, Encoding, unpadded_text
from dimse.node import attributes
from dimse.node.candidates import Element, pick
from dimse.node.headers import Header
from dimse.node.opening import open_file
from dimse.node.places import place
from dimse.node.schema import instance, series, study, uid
from dimse.services.query_models import LEVELS, QueryRetrieveLevel

HEADER: Final = 64 * 1024
"""Bytes of a file that are read first for its attributes."""

MAX_HEADER: Final = 1024 * 1024
"""Bytes of a file that are read for its attributes: those behind are as if they were missing."""

_PATIENT, _STUDY, _SERIES, _IMAGE = LEVELS
_TABLES: Final = ((_STUDY, study), (_SERIES, series))
_SHARED_UIDS: Final[Mapping[int, Column[Any]]] = {
    SOP_CLASS_UID: instance.c.sop_class,
    0x00083002: instance.c.transfer_syntax,  # Available Transfer Syntax UID
}
_PATIENT_KEYS: Final = (study.c.patient_id, study.c.issuer)
_ENTITY: Final[Mapping[QueryRetrieveLevel, tuple[Column[Any], ...]]] = {
    _PATIENT: _PATIENT_KEYS,
    _STUDY: (study.c.id,),
    _SERIES: (series.c.id,),
    _IMAGE: (instance.c.id,),
}
_FILE: Final = (
    *(study.c.uid, series.c.uid, instance.c.uid, instance.c.path),
    *(instance.c.offset, instance.c.transfer_syntax),
)


class Private(NamedTuple):
    """What a key says of a private attribute."""

    creator: str
    vr: str


class Computed(NamedTuple):
    """An attribute that is made from a column."""

    level: QueryRetrieveLevel
    vr: str
    column: Any
    encode: Callable[[Any], bytes]


def _number(value: int) -> bytes:
    return _even(str(value).encode("ascii"), b" ")


def _uid(value: str) -> bytes:
    return _even(value.encode("ascii"), b"\0")


def _size(value: int) -> bytes:
    return LITTLE.length_16.pack(value & 0xFFFF)


def _list(padding: bytes) -> Callable[[str], bytes]:
    return lambda value: _even("\\".join(sorted(filter(None, value.split("\\")))).encode("utf-8"), padding)


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding * (len(value) % 2)


COMPUTED: Final[Mapping[int, Computed]] = {
    0x00080061: Computed(_STUDY, "CS", study.c.modalities, _list(b" ")),
    0x00080062: Computed(_STUDY, "UI", study.c.sop_classes, _list(b"\0")),
    0x00201206: Computed(_STUDY, "IS", study.c.series_count, _number),
    0x00201208: Computed(_STUDY, "IS", study.c.instance_count, _number),
    0x00201209: Computed(_SERIES, "IS", series.c.instance_count, _number),
    SOP_INSTANCE_UID: Computed(_IMAGE, "UI", instance.c.uid, _uid),
    0x00200013: Computed(_IMAGE, "IS", instance.c.number, _number),
    0x00280008: Computed(_IMAGE, "IS", instance.c.frames, _number),
    0x00280010: Computed(_IMAGE, "US", instance.c.rows, _size),
    0x00280011: Computed(_IMAGE, "US", instance.c.columns, _size),
    0x00280100: Computed(_IMAGE, "US", instance.c.bits, _size),
}

OF_PATIENT: Final[Mapping[int, ColumnElement[Any]]] = {
    0x00201200: func.count(),
    0x00201202: func.sum(study.c.series_count),
    0x00201204: func.sum(study.c.instance_count),
}
"""The attributes that are counts over all studies of a patient."""


class FoundRows:
    """Reads the columns that the attributes `tags` need, of rows as deep as `depth`, for answers at a level.

    `constant` are the elements of every row. `data` is the data folder. `private` are the private ones of `tags`.
    """

    def __init__(
        self,
        level: QueryRetrieveLevel,
        depth: QueryRetrieveLevel,
        tags: Collection[int],
        constant: Mapping[int, Element],
        data: Path,
        private: Mapping[int, Private],
    ) -> None:
        self._constant = constant
        self._data = data
        self._private = private
        self._columns: dict[Any, int] = {}
        levels = LEVELS[: LEVELS.index(depth) + 1]
        self._entity = [self._place(column) for column in _ENTITY[level]]
        self._computed = [
            (tag, computed.vr, self._place(computed.column), computed.encode)
            for tag, computed in COMPUTED.items()
            if tag in tags and computed.level in levels
        ]
        self._patients = _Patients(tags, self._place)
        others = frozenset(tags) - COMPUTED.keys() - OF_PATIENT.keys() - constant.keys()
        of_level = {_STUDY: attributes.is_of_study, _SERIES: attributes.is_of_series}
        self._kept = [
            _Kept(frozenset(filter(of_level[each], others)), self._place(table.c.id), self._place(table.c.attributes))
            for each, table in _TABLES
            if each in levels
        ]
        is_image = depth is _IMAGE
        self._shared = [(tag, self._place(each)) for tag, each in _SHARED_UIDS.items() if is_image and tag in tags]
        kept = frozenset[int]().union(*(each.tags for each in self._kept))
        self._of_file = others - kept - _SHARED_UIDS.keys() if level is _IMAGE else frozenset[int]()
        self._file = [self._place(column) for column in _FILE] if self._of_file else []
        self._uids: dict[int, str] = {}

    def _place(self, column: Any) -> int:
        """Where a row has the value of a column."""
        return self._columns.setdefault(column, len(self._columns))

    @property
    def columns(self) -> Sequence[Any]:
        """The columns to read."""
        return list(self._columns)

    def look_up(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Read the UIDs and the counts that the rows share, if there are new ones."""
        self._patients.look_up(connection, rows)
        places = [each for _, each in self._shared] + self._file[-1:]
        if places and not all(row[each] in self._uids for row in rows for each in places):
            self._uids = {row.id: row.uid for row in connection.execute(select(uid))}

    def entity(self, row: Sequence[Any]) -> tuple[Any, ...]:
        """What identifies the patient, study, series or instance of an answer."""
        return tuple([row[each] for each in self._entity])

    def elements(self, row: Sequence[Any]) -> dict[int, Element]:
        """The elements of a row, which has the values of `columns`."""
        elements = dict(self._constant)
        for kept in self._kept:
            elements.update(kept.elements(row))
        for tag, vr, column, encode in self._computed:
            value = row[column]
            if value is not None:
                elements[tag] = vr, encode(value)
        for tag, column in self._shared:
            elements[tag] = "UI", _uid(self._uids[row[column]])
        if self._of_file:
            elements.update(self._read(row))
        self._patients.add(row, elements)
        return elements

    def _read(self, row: Sequence[Any]) -> dict[int, Element]:
        """The elements of the file of an instance; none if it cannot be read."""
        study_uid, series_uid, instance_uid, path, offset, syntax = (row[each] for each in self._file)
        file = place(self._data, study_uid, series_uid, instance_uid, path)
        return read_elements(file, offset, self._uids[syntax], self._of_file, self._private)


class _Patients:
    """The counts over all studies of a patient, each counted once for all its rows that follow one another.

    There are none without a Patient ID. `place` is that of `FoundRows`.
    """

    def __init__(self, tags: Collection[int], place: Callable[[Any], int]) -> None:
        self._tags = [tag for tag in OF_PATIENT if tag in tags]
        self._keys = [place(column) for column in _PATIENT_KEYS] if self._tags else []
        self._counts: dict[tuple[Any, ...], Sequence[int]] = {}

    def look_up(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Count for the patients of some rows."""
        if not self._tags:
            return
        wanted = {self._key(row) for row in rows}
        self._counts = {key: counts for key, counts in self._counts.items() if key in wanted}
        ids = {key[0] for key in wanted - self._counts.keys()} - {None}
        if ids:
            query = select(*_PATIENT_KEYS, *(OF_PATIENT[tag] for tag in self._tags))
            query = query.where(study.c.patient_id.in_(ids)).group_by(*_PATIENT_KEYS)
            self._counts |= {(row[0], row[1]): row[2:] for row in connection.execute(query)}

    def add(self, row: Sequence[Any], elements: dict[int, Element]) -> None:
        """Add the counts to the elements of a row."""
        if self._tags:
            for tag, count in zip(self._tags, self._counts.get(self._key(row), ()), strict=False):
                elements[tag] = "IS", _number(count)

    def _key(self, row: Sequence[Any]) -> tuple[Any, ...]:
        return tuple([row[each] for each in self._keys])


class _Kept:
    """The elements of the attributes that one of the tables keeps."""

    def __init__(self, tags: frozenset[int], identity: int, column: int) -> None:
        self.tags = tags
        self._last = max(tags, default=0)
        self._identity = identity
        self._column = column
        self._of: int | None = None
        self._elements: dict[int, Element] = {}

    def elements(self, row: Sequence[Any]) -> dict[int, Element]:
        """Those of a row, which has often the same study or series as the last one."""
        if row[self._identity] != self._of:
            self._of, self._elements = row[self._identity], pick(row[self._column], self.tags, self._last)
        return self._elements


def read_elements(
    path: Path, offset: int, transfer_syntax_uid: str, tags: Collection[int], private: Mapping[int, Private]
) -> dict[int, Element]:
    """Some elements of a file whose data set begins at `offset`; none if it cannot be read."""
    last = max(tag | 0xFFFF if tag in private else tag for tag in tags)
    for length in (HEADER, MAX_HEADER):
        try:
            with open_file(path) as file:
                file.seek(offset)
                read = file.read(length)
        except OSError:
            return {}
        encoded = _inflated(read) if Encoding.of(transfer_syntax_uid).deflated else read
        header = Header(encoded, transfer_syntax_uid, last)
        _resolve(header, private)
        if len(read) < length or header.elements.keys() >= set(tags):
            break
    return pick(attributes.chosen(header, header.elements.keys() & tags), tags, last)


def _resolve(header: Header, private: Mapping[int, Private]) -> None:
    """Give the private elements of a header the tags and the VRs of their keys."""
    blocks = {
        (tag >> 16, unpadded_text(header.value(tag))): tag << 8 & 0xFF00
        for tag in header.elements
        if tag & 0x10000 and 0x10 <= tag & 0xFFFF < 0x100
    }
    found = {}
    for tag, (creator, vr) in private.items():
        block = blocks.get((tag >> 16, creator))
        element = None if block is None else header.elements.get((tag & 0xFFFF00FF) | block)
        if element is not None:
            found[tag] = element if element[0] not in (b"", b"UN") else (vr.encode("ascii"), *element[1:])
    for tag in private:
        header.elements.pop(tag, None)
    header.elements.update(found)


def _inflated(deflated: bytes) -> bytes:
    """The beginning of a deflated data set."""
    with suppress(zlib.error):
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, MAX_HEADER)
    return b""
