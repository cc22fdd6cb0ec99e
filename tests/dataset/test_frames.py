"""Pixel data is cut into the same frames, however it arrives."""

from __future__ import annotations

from collections.abc import Callable
from struct import pack

import pytest

from dimse.dataset.encoding import SEQUENCE_END_HEADER, item_header
from dimse.dataset.frames import MAX_FRAME, FrameSplitter, JoinedFragments, NativeFrames
from dimse.errors import DatasetError

FRAGMENTS = (b"aa", b"bbbb", b"cc")
OFFSETS = [0, 10, 22]


def encapsulated(table: bytes = b"") -> bytes:
    fragments = b"".join(item_header(len(fragment)) + fragment for fragment in FRAGMENTS)
    return item_header(len(table)) + table + fragments + SEQUENCE_END_HEADER


def cut(splitter: FrameSplitter, data: bytes, step: int) -> list[bytes]:
    frames = [frame for start in range(0, len(data), step) for frame in splitter.feed(data[start : start + step])]
    splitter.finish()
    return frames


@pytest.mark.parametrize("step", [1, 3, 8, 1000])
@pytest.mark.parametrize(
    ("make", "data", "expected"),
    [
        (lambda: NativeFrames(3, 2), b"aabbcc\0\0", [b"aa", b"bb", b"cc"]),
        (lambda: JoinedFragments(3, ()), encapsulated(), list(FRAGMENTS)),
        (lambda: JoinedFragments(1, ()), encapsulated(), [b"aabbbbcc"]),
        (lambda: JoinedFragments(2, ()), encapsulated(pack("<2L", 0, 10)), [b"aa", b"bbbbcc"]),
        (lambda: JoinedFragments(2, [0, 22]), encapsulated(), [b"aabbbb", b"cc"]),
        (lambda: JoinedFragments(3, ()), encapsulated(pack("<2L", 0, 10)), list(FRAGMENTS)),
        (lambda: JoinedFragments(3, ()), encapsulated() + b"no items", list(FRAGMENTS)),
    ],
    ids=[
        "native",
        "one fragment each",
        "a single frame",
        "basic offset table",
        "extended offset table",
        "an offset table of other frames",
        "elements after the delimiter",
    ],
)
def test_frames(make: Callable[[], FrameSplitter], data: bytes, expected: list[bytes], step: int) -> None:
    assert cut(make(), data, step) == expected


@pytest.mark.parametrize(
    ("make", "data", "message"),
    [
        (lambda: NativeFrames(3, 2), b"aabb", r"1 frames of \(7FE0,0010\) missing"),
        (lambda: JoinedFragments(2, ()), encapsulated(), "3 fragments for 2 frames"),
        (lambda: JoinedFragments(3, ()), b"no items", "expected a fragment"),
        (lambda: NativeFrames(1, 0), b"", "must have 1 to"),
        (lambda: NativeFrames(1, MAX_FRAME + 1), b"", "must have 1 to"),
        (lambda: JoinedFragments(1, ()), item_header(0) + item_header(MAX_FRAME + 2), "a frame of more than"),
        (
            lambda: JoinedFragments(1, ()),
            item_header(0) + item_header(2) + b"aa" + item_header(MAX_FRAME),
            "a frame of more than",
        ),
    ],
)
def test_pixel_data_that_is_not_its_frames(make: Callable[[], FrameSplitter], data: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        cut(make(), data, 1000)
