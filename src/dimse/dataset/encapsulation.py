"""The fragments of encapsulated pixel data (PS3.5 A.4)."""

from __future__ import annotations

from struct import Struct
from typing import Final

from dimse.dataset.elements import PIXEL_DATA, Buffer, tag_name
from dimse.errors import DatasetError

_ITEM: Final = Struct("<HHL")


def end_of_fragments(data: Buffer, position: int) -> int:
    """Where encapsulated pixel data ends whose value begins at `position`. Raises `DatasetError` if it does not."""
    while position + _ITEM.size <= len(data):
        group, element, length = _ITEM.unpack_from(data, position)
        position += _ITEM.size
        if (group, element) == (0xFFFE, 0xE0DD):
            return position
        if (group, element) != (0xFFFE, 0xE000):
            raise DatasetError(f"no fragment where one must be, in {tag_name(PIXEL_DATA)}")
        position += length
    raise DatasetError(f"the data set ends within {tag_name(PIXEL_DATA)}")
