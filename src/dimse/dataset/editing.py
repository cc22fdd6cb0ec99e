"""Applying `Edits` to an object: the edited elements are encoded anew, all others keep their bytes (PS3.5 7.1).

The elements before the bulk data are held in memory, at most 16 MiB; the bulk data streams from the source as it is.
"""

from __future__ import annotations

from bisect import bisect
from io import BytesIO
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from pydicom.filereader import data_element_generator

from dimse.dataset.codec import PYDICOM_ERRORS, pydicom_failed
from dimse.dataset.derived import STEP, Continued, Metadata, read_metadata
from dimse.dataset.edits import NewValue, name_of
from dimse.dataset.encoding import (
    LONG_SIZE,
    PLAIN_SIZE,
    SHORT_VRS,
    SPECIFIC_CHARACTER_SET,
    UNDEFINED_LENGTH,
    Encoding,
    Headers,
    tag_name,
    unpadded_text,
)
from dimse.dataset.sources import DatasetSource, Reader, named
from dimse.dataset.threads import beside_the_loop
from dimse.dataset.transcode import Deflated, Inflated
from dimse.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dimse.dataset.edits import Edits
    from dimse.dataset.scanner import ElementScanner

_SMALL: Final = 32 * 1024
"""Bytes of elements that are edited on the event loop."""

_UTF_8: Final = NewValue("CS", "ISO_IR 192")
"""The Specific Character Set of objects that had none: ASCII, which they were in, has the same bytes."""


async def edit(source: DatasetSource, edits: Edits) -> DatasetSource:
    """`source` with `edits` applied to its header; the result has a length if the source has one.

    Reads up to the bulk data. A deflated source is inflated and deflated again. A source that can be read only once
    stays open until the result's reader is closed. Raises `DatasetError`.
    """
    encoding = Encoding.of(source.transfer_syntax_uid)
    if encoding.deflated:
        return Deflated(await edit(Inflated(source), edits))
    reader = source.open()
    try:
        metadata = await read_metadata(source, reader)
        with named(source.name):
            elements = await edited_beside_the_loop(
                metadata.encoded, edits, metadata.scanner, source.transfer_syntax_uid
            )
        result = _Edited(source, metadata, elements)
    except BaseException:
        reader.close()
        raise
    result.settle(reader)
    return result


async def edited_beside_the_loop(
    encoded: bytes, edits: Edits, scanner: ElementScanner, transfer_syntax_uid: str
) -> bytes:
    """`edited` for the elements that `scanner` has found before the bulk data; in a thread if they may be many."""
    behind = None if scanner.bulk is None else scanner.bulk.tag

    def edit_them() -> bytes:
        return edited(encoded, edits, transfer_syntax_uid, implicit=scanner.implicit, behind=behind)

    return edit_them() if len(encoded) <= _SMALL else await beside_the_loop(edit_them)


class _Edited(Continued):
    """The edited elements, then the rest of the source as it is."""

    def __init__(self, source: DatasetSource, metadata: Metadata, elements: bytes) -> None:
        head = elements + metadata.header
        length = source.length
        if metadata.bulk is None:
            length = len(head)
        elif length is not None:
            length += len(elements) - len(metadata.encoded)
        super().__init__(source, source.transfer_syntax_uid, length, metadata)
        self.is_mislabeled = source.is_mislabeled
        self._head = head + metadata.value_start
        self._has_bulk = metadata.bulk is not None

    def open(self) -> Reader:
        """Begin a pass."""
        reader, to_skip = self._begin()
        return _EditedReader(self.name, self._head, reader, to_skip, has_rest=self._has_bulk)


class _EditedReader(Reader):
    """Reads the head from memory, and the rest straight from the source."""

    def __init__(self, name: str, head: bytes, reader: Reader, to_skip: int, *, has_rest: bool) -> None:
        self.may_wait, self.stops_at_once = reader.may_wait, reader.stops_at_once
        self._name, self._reader = name, reader
        self._head = memoryview(head)
        self._to_skip = to_skip
        self._has_rest = has_rest

    async def read_into(self, buffer: memoryview) -> int:
        while self._to_skip:
            skipped = await self._reader.read_into(memoryview(bytearray(min(STEP, self._to_skip))))
            if not skipped:
                raise DatasetError(f"{self._name}: was truncated while being read")
            self._to_skip -= skipped
        part, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        buffer[: len(part)] = part
        if len(part) == len(buffer) or not self._has_rest:
            return len(part)
        return len(part) + await self._reader.read_into(buffer[len(part) :])

    def close(self) -> None:
        self._reader.close()


# The elements


def edited(encoded: bytes, edits: Edits, transfer_syntax_uid: str, *, implicit: bool, behind: int | None) -> bytes:
    """The elements of `encoded`, which precede the one with the tag `behind`, with `edits` applied.

    `implicit` says whether they are in Implicit VR, whatever the transfer syntax says. Raises `DatasetError`.
    """
    encoding = Encoding.of(transfer_syntax_uid)
    header = _Header(encoded, encoding, implicit=implicit)
    changes = edits._changes_in(header.text)
    for tag in changes:
        if behind is not None and tag >= behind:
            raise DatasetError(
                f"{name_of(tag)} cannot be edited: it is, or follows, {tag_name(behind)}, which is too long to hold"
            )
    terms = [term.strip(" ") for term in (header.text(SPECIFIC_CHARACTER_SET) or "").split("\\")]
    if terms == [""] and any(new is not None and not new.text.isascii() for new in changes.values()):
        terms, changes = [_UTF_8.text], {SPECIFIC_CHARACTER_SET: _UTF_8, **changes}
    for tag, value in changes.items():
        header.put(tag, b"" if value is None else _encoded(tag, value, encoding.headers, terms, implicit=implicit))
    return header.joined()


def _encoded(tag: int, new: NewValue, headers: Headers, character_sets: Sequence[str], *, implicit: bool) -> bytes:
    value = new.encoded(headers.length_16.format[0], character_sets)
    if value is None:
        raise DatasetError(
            f"{name_of(tag)} has characters that the Specific Character Set of the object, "
            f"{character_sets[0] or 'the default'}, does not have"
        )
    group, element, vr = tag >> 16, tag & 0xFFFF, new.vr.encode()
    if implicit:
        return headers.plain.pack(group, element, len(value)) + value
    return (headers.short if vr in SHORT_VRS else headers.long).pack(group, element, vr, len(value)) + value


class _Header:
    """The elements of the top level, and what takes the place of some."""

    def __init__(self, encoded: bytes, encoding: Encoding, *, implicit: bool) -> None:
        self._data, self._implicit, self._headers = encoded, implicit, encoding.headers
        self._is_big_endian = encoding.big_endian
        self._tags: list[int] = []
        self._places: list[int] = []
        """Where each element begins, and the end of the last one."""
        self._new: list[tuple[int, int, bytes]] = []
        """The beginning, the end and the replacement of what is edited."""
        self._growth: dict[int, int] = {}
        """By group, the number of bytes that it has grown by."""
        try:
            self._walk()
        except PYDICOM_ERRORS as error:
            raise pydicom_failed("the header cannot be edited", error) from None
        self._is_sorted = self._tags == sorted(self._tags)

    def _walk(self) -> None:
        """Find the elements, as the scanner does."""
        data, implicit, start = self._data, self._implicit, 0
        unpack, unpack_plain = self._headers.short.unpack_from, self._headers.plain.unpack_from
        while start < len(data):
            self._places.append(start)
            if implicit:
                group, element, length = unpack_plain(data, start)
                end = start + PLAIN_SIZE + length
            else:
                group, element, vr, length = unpack(data, start)
                end = start + PLAIN_SIZE + length
                if vr not in SHORT_VRS:
                    length = self._headers.length_32.unpack_from(data, start + PLAIN_SIZE)[0]
                    end = start + LONG_SIZE + length
            self._tags.append(group << 16 | element)
            start = end if length != UNDEFINED_LENGTH else self._end_of(start)
        if start != len(data):
            raise DatasetError("the header cannot be edited: its last element is cut")
        self._places.append(start)

    def _end_of(self, start: int) -> int:
        """The end of the element of undefined length at `start`."""
        file = BytesIO(self._data)
        file.seek(start)
        next(data_element_generator(file, self._implicit, not self._is_big_endian))
        return file.tell()

    def text(self, tag: int) -> str | None:
        """The value of an element that has ASCII text; None without one."""
        if tag not in self._tags:
            return None
        index = self._tags.index(tag)
        start = self._places[index]
        is_long = not self._implicit and self._data[start + 4 : start + 6] not in SHORT_VRS
        return unpadded_text(self._data[start + (LONG_SIZE if is_long else PLAIN_SIZE) : self._places[index + 1]])

    def put(self, tag: int, encoded: bytes) -> None:
        """Put an element in the place of those with its tag, or else before the first with a higher one."""
        growth = len(encoded)
        present = [index for index, other in enumerate(self._tags) if other == tag] if tag in self._tags else []
        for index in present:
            self._replace(index, encoded)
            growth -= self._places[index + 1] - self._places[index]
            encoded = b""  # a tag that is there twice is there once afterwards
        if not present:
            place = self._places[self._index_behind(tag)]
            self._new.append((place, place, encoded))
        self._growth[tag >> 16] = self._growth.get(tag >> 16, 0) + growth

    def _replace(self, index: int, encoded: bytes) -> None:
        self._new.append((self._places[index], self._places[index + 1], encoded))

    def _index_behind(self, tag: int) -> int:
        """The index of the first element with a higher tag, whatever the order of the elements."""
        if self._is_sorted:
            return bisect(self._tags, tag)
        return next((index for index, other in enumerate(self._tags) if other > tag), len(self._tags))

    def joined(self) -> bytes:
        """All elements; a group length (PS3.5 7.2) grows and shrinks with its group."""
        for group, growth in self._growth.items():
            if growth and group << 16 in self._tags:
                index = self._tags.index(group << 16)
                old = self._data[self._places[index] : self._places[index + 1]]
                if len(old) != PLAIN_SIZE + 4:
                    continue  # it is no number of 32 bits
                length = self._headers.length_32.unpack(old[-4:])[0] + growth
                self._replace(index, old[:-4] + self._headers.length_32.pack(length & 0xFFFFFFFF))
        parts, position = list[bytes](), 0
        for start, end, encoded in sorted(self._new, key=itemgetter(0, 1)):
            parts += self._data[position:start], encoded
            position = end
        return b"".join([*parts, self._data[position:]])
