"""Applying `Edits` to an object: the edited elements are encoded anew, all others keep their bytes (PS3.5 7.1).

The elements before the bulk data are held in memory, at most 16 MiB; the bulk data streams from the source as it is.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Final, NamedTuple

from pydicom.dataelem import RawDataElement
from pydicom.filereader import data_element_generator

from dimse.dataset.codec import PYDICOM_ERRORS, pydicom_failed
from dimse.dataset.derived import STEP, Derived, Metadata, read_metadata
from dimse.dataset.edits import NewValue, name_of
from dimse.dataset.encoding import SHORT_VRS, SPECIFIC_CHARACTER_SET, VRS, Encoding, Headers, tag_name, unpadded_text
from dimse.dataset.sources import DatasetSource, Reader, named
from dimse.dataset.threads import beside_the_loop
from dimse.dataset.transcode import Deflated, Inflated
from dimse.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
    if source.repeatable:
        reader.close()
    else:
        result.keep(reader)
    return result


async def edited_beside_the_loop(
    encoded: bytes, edits: Edits, scanner: ElementScanner, transfer_syntax_uid: str
) -> bytes:
    """`edited` for the elements that `scanner` has found before the bulk data; in a thread if they may be many."""
    behind = None if scanner.bulk is None else scanner.bulk.tag

    def edit_them() -> bytes:
        return edited(encoded, edits, transfer_syntax_uid, implicit=scanner.implicit, behind=behind)

    return edit_them() if len(encoded) <= _SMALL else await beside_the_loop(edit_them)


class _Edited(Derived):
    """The edited elements, then the rest of the source as it is."""

    def __init__(self, source: DatasetSource, metadata: Metadata, elements: bytes) -> None:
        head = elements + metadata.header
        length = source.length
        if metadata.bulk is None:
            length = len(head)
        elif length is not None:
            length += len(elements) - len(metadata.encoded)
        super().__init__(source, source.transfer_syntax_uid, length)
        self.is_mislabeled = source.is_mislabeled
        self._head = head + metadata.value_start
        self._consumed = metadata.consumed
        self._has_bulk = metadata.bulk is not None
        self._kept: Reader | None = None

    def keep(self, reader: Reader) -> None:
        """Continue with the reader that read the metadata, as the source can be read only once."""
        self._kept = reader

    def open(self) -> Reader:
        """Begin a pass."""
        reader, self._kept = self._kept, None
        to_skip = 0
        if reader is None:
            reader, to_skip = self._source.open(), self._consumed
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


class _Element(NamedTuple):
    tag: int
    encoded: bytes
    """With its header."""
    value: bytes
    """Empty for a sequence of undefined length."""


def edited(encoded: bytes, edits: Edits, transfer_syntax_uid: str, *, implicit: bool, behind: int | None) -> bytes:
    """The elements of `encoded`, which precede the one with the tag `behind`, with `edits` applied.

    `implicit` says whether they are in Implicit VR, whatever the transfer syntax says. Raises `DatasetError`.
    """
    encoding = Encoding.of(transfer_syntax_uid)
    elements = _elements(encoded, implicit=implicit, big_endian=encoding.big_endian)
    values = {element.tag: element for element in elements}

    def value_of(tag: int) -> str | None:
        return unpadded_text(values[tag].value) if tag in values else None

    changes = edits._changes_in(value_of)
    _check_reachable(changes, behind)
    terms = [term.strip(" ") for term in (value_of(SPECIFIC_CHARACTER_SET) or "").split("\\")]
    if terms == [""] and any(new is not None and not new.text.isascii() for new in changes.values()):
        terms, changes = [_UTF_8.text], {SPECIFIC_CHARACTER_SET: _UTF_8, **changes}
    new = {
        tag: b"" if value is None else _encoded(tag, value, encoding.headers, terms, implicit=implicit)
        for tag, value in changes.items()
    }
    return b"".join(_with_group_lengths(elements, _applied(elements, new), new, encoding.headers))


def _check_reachable(tags: Iterable[int], behind: int | None) -> None:
    for tag in tags:
        if behind is not None and tag >= behind:
            raise DatasetError(
                f"{name_of(tag)} cannot be edited: it is, or follows, {tag_name(behind)}, which is too long to hold"
            )


def _elements(encoded: bytes, *, implicit: bool, big_endian: bool) -> list[_Element]:
    """The elements of the top level."""
    file, elements, start = BytesIO(encoded), list[_Element](), 0
    try:
        for element in data_element_generator(file, implicit, not big_endian):
            value = element.value if isinstance(element, RawDataElement) else None
            if element.VR is not None and element.VR.encode() not in VRS:
                raise DatasetError(f"{tag_name(element.tag)} has a VR that is not known, so it cannot be edited")
            elements.append(_Element(int(element.tag), encoded[start : file.tell()], value or b""))
            start = file.tell()
    except PYDICOM_ERRORS as error:
        raise pydicom_failed("the header cannot be edited", error) from None
    if start != len(encoded):
        raise DatasetError("the header cannot be edited: its elements do not fill it")
    return elements


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


def _applied(elements: Iterable[_Element], new: Mapping[int, bytes]) -> list[tuple[int, bytes]]:
    """The elements by tag, the new ones in the place of those with their tag, or else before the first with a higher.

    Elements that are not in the order of their tags stay where they are.
    """
    result = [(element.tag, new.get(element.tag, element.encoded)) for element in elements]
    present = {tag for tag, _ in result}
    for tag, encoded in new.items():
        if tag not in present and encoded:
            place = next((index for index, (other, _) in enumerate(result) if other > tag), len(result))
            result.insert(place, (tag, encoded))
    return result


def _with_group_lengths(
    before: Iterable[_Element], after: Iterable[tuple[int, bytes]], new: Mapping[int, bytes], headers: Headers
) -> Iterable[bytes]:
    """The edited elements; a group length (PS3.5 7.2) grows and shrinks with its group."""
    growth = dict.fromkeys((tag >> 16 for tag in new), 0)
    for element in before:
        if element.tag in new:
            growth[element.tag >> 16] -= len(element.encoded)
    after = list(after)
    for tag, encoded in after:
        if tag in new:
            growth[tag >> 16] += len(encoded)
    for tag, encoded in after:
        if tag & 0xFFFF == 0 and growth.get(tag >> 16) and len(encoded) >= 12:
            length = headers.length_32.unpack(encoded[-4:])[0] + growth[tag >> 16]
            yield encoded[:-4] + headers.length_32.pack(length & 0xFFFFFFFF)
        else:
            yield encoded
