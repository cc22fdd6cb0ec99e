"""Recognition of a data set without File Meta Information, and of its transfer syntax, by its first elements."""

from __future__ import annotations

from typing import Final

from dimse.dataset.encoding import ITEM_TAG, LITTLE, LONG_VRS, SHORT_VRS, UNDEFINED_LENGTH, VRS, Encoding
from dimse.errors import DatasetError
from dimse.uids import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN


class NotDicom(DatasetError):
    """A file is not a DICOM file."""


_ENOUGH: Final = 4
"""Plausible elements in a row that identify a data set."""

_LAST_FIRST_GROUP: Final = 0x0010
"""The largest plausible group of the first element. A data set begins at or before SOP Class UID (0008,0016)."""

_ITEMS: Final = (ITEM_TAG, b"\xfe\xff\xdd\xe0", b"\xff\xfe\xe0\x00", b"\xff\xfe\xe0\xdd")
"""The possible beginnings of a sequence: an item or a sequence delimiter, in either byte order (PS3.5 7.5)."""


def syntax_of_first_element(beginning: bytes) -> str | None:
    """The native transfer syntax (PS3.5 A.1 to A.3) of a data set by its first element; None if it shows none.

    Explicit VR if there is a VR at its place, and then big endian if the group would be 0400 or more in little endian.
    """
    if len(beginning) < 8:
        return None
    if beginning[4:6] not in VRS:
        return IMPLICIT_VR_LITTLE_ENDIAN
    return EXPLICIT_VR_BIG_ENDIAN if int.from_bytes(beginning[:2], "little") >= 0x0400 else EXPLICIT_VR_LITTLE_ENDIAN


def begins_like_a_data_set(beginning: bytes) -> bool:
    """Whether the beginning of a file has elements in ascending order, or group 0002 alone (PS3.10 7.1)."""
    syntax = syntax_of_first_element(beginning)
    position, last, seen = 0, 0, 0
    while syntax is not None and seen < _ENOUGH and position + 8 <= len(beginning):
        header = _header(beginning, position, syntax)
        if last >> 16 == 0x0002 and beginning[position : position + 2] != b"\x02\x00":
            return seen > 1  # the data set may be in another encoding
        if header is None or not _may_follow(header[0], last):
            return False
        last, value, length = header
        if length == UNDEFINED_LENGTH or beginning[value : value + 4] == ITEM_TAG:
            return beginning[value : value + 4] in _ITEMS
        position, seen = value + length, seen + 1
    return seen == _ENOUGH or (seen > 1 and position == len(beginning))


def _may_follow(tag: int, last: int) -> bool:
    """Whether a tag ascends from the `last` one, or if that is 0, may be the first of a data set."""
    return tag > last and (last != 0 or tag >> 16 <= _LAST_FIRST_GROUP)


def _header(data: bytes, position: int, syntax: str) -> tuple[int, int, int] | None:
    """Tag, position of the value and its length; None if it is not an element."""
    value = position + 8
    if syntax == IMPLICIT_VR_LITTLE_ENDIAN:
        group, element, length = LITTLE.plain.unpack_from(data, position)
        tag = group << 16 | element
        return (tag, value, length) if _is_known(tag, length) else None
    headers = Encoding.of(syntax).headers
    group, element, vr, length = headers.short.unpack_from(data, position)
    if vr in LONG_VRS and value + 4 <= len(data):
        length, value = headers.length_32.unpack_from(data, value)[0], value + 4
    elif vr not in SHORT_VRS:
        return None
    return group << 16 | element, value, length


def _is_known(tag: int, length: int) -> bool:
    """Whether the tag is in PS3.6, a group length (PS3.5 7.2) or private."""
    from pydicom.datadict import dictionary_has_tag

    if not tag & 0xFFFF:
        return length == 4
    return (length == UNDEFINED_LENGTH or not length % 2) and (bool(tag >> 16 & 1) or dictionary_has_tag(tag))
