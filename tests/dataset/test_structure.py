"""The structure of an encoded data set: what pydicom is spared."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from dimse import DatasetError
from dimse.dataset.codec import IDENTIFIER_LIMITS, decode, text_of, value_of
from dimse.dataset.encoding import MAX_TEXT
from dimse.dataset.structure import MAX_CHARACTER_SETS, Limits, check_structure
from dimse.uids import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

IMPLICIT, EXPLICIT = IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN
UNDEFINED = 0xFFFFFFFF
END_ITEM, END_SEQUENCE = (struct.pack("<HHL", 0xFFFE, number, 0) for number in (0xE00D, 0xE0DD))
SEQUENCE, PRIVATE, NAME, PIXELS = 0x00081140, 0x00091001, 0x00100010, 0x7FE00010

Wrap = Callable[[bytes], bytes]


def implicit(tag: int, value: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def explicit(tag: int, vr: bytes, value: bytes = b"", length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    if vr in (b"SQ", b"UN", b"OB", b"OF"):
        return struct.pack("<HH2sxxL", tag >> 16, tag & 0xFFFF, vr, length) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, length) + value


def item(value: bytes = b"", length: int | None = None) -> bytes:
    return implicit(0xFFFEE000, value, length)


IMPLICIT_SEQUENCES: dict[str, Wrap] = {
    "defined": lambda inner: implicit(SEQUENCE, item(inner)),
    "undefined": lambda inner: (
        implicit(SEQUENCE, length=UNDEFINED) + item(length=UNDEFINED) + inner + END_ITEM + END_SEQUENCE
    ),
    "private": lambda inner: implicit(PRIVATE, item(inner)),
    "private, undefined": lambda inner: implicit(PRIVATE, length=UNDEFINED) + item(inner) + END_SEQUENCE,
}
EXPLICIT_SEQUENCES: dict[str, Wrap] = {
    "defined": lambda inner: explicit(SEQUENCE, b"SQ", item(inner)),
    "undefined": lambda inner: explicit(SEQUENCE, b"SQ", length=UNDEFINED) + item(inner) + END_SEQUENCE,
    "UN": lambda inner: explicit(SEQUENCE, b"UN", item(inner)),
    "private UN": lambda inner: explicit(PRIVATE, b"UN", item(inner)),
    "UN, undefined": lambda inner: explicit(PRIVATE, b"UN", length=UNDEFINED) + item(inner) + END_SEQUENCE,
}
SEQUENCES = [
    *(pytest.param(IMPLICIT, wrap, id=f"implicit, {name}") for name, wrap in IMPLICIT_SEQUENCES.items()),
    *(pytest.param(EXPLICIT, wrap, id=f"explicit, {name}") for name, wrap in EXPLICIT_SEQUENCES.items()),
]


@pytest.mark.parametrize(("syntax", "wrap"), SEQUENCES)
def test_nesting_is_bounded(syntax: str, wrap: Wrap) -> None:
    data = b""
    for _ in range(64):
        data = wrap(data)
    check_structure(data, syntax, Limits())
    with pytest.raises(DatasetError, match="nested deeper than 64"):
        check_structure(wrap(data), syntax, Limits())


@pytest.mark.parametrize(("syntax", "wrap"), SEQUENCES)
def test_items_and_elements_are_counted_at_all_levels(syntax: str, wrap: Wrap) -> None:
    data = wrap(wrap(b"")) * 5
    check_structure(data, syntax, Limits(elements=10, items=10))
    with pytest.raises(DatasetError, match="more than 9 elements"):
        check_structure(data, syntax, Limits(elements=9))
    with pytest.raises(DatasetError, match="more than 9 items"):
        check_structure(data, syntax, Limits(items=9))


def test_fragments_are_counted() -> None:
    data = explicit(PIXELS, b"OB", length=UNDEFINED) + item(b"ab") * 9 + END_SEQUENCE
    check_structure(data, EXPLICIT, Limits(elements=10))
    with pytest.raises(DatasetError, match="more than 9 elements"):
        check_structure(data, EXPLICIT, Limits(elements=9))


@pytest.mark.parametrize("number", [0x0008, 0x0009, 0x0010])
def test_pixel_data_comes_once(number: int) -> None:
    data = explicit(0x7FE00000 | number, b"OF")
    with pytest.raises(DatasetError, match=r"\(7FE0,00.*\) appears twice"):
        decode(data + data, EXPLICIT)


@pytest.mark.parametrize(
    ("syntax", "data"),
    [
        (IMPLICIT, implicit(NAME, b"AB")[:-1]),
        (IMPLICIT, implicit(SEQUENCE, length=UNDEFINED) + item()),
        (IMPLICIT, implicit(SEQUENCE, item(implicit(NAME, b"AB"), length=9))),
        (IMPLICIT, implicit(SEQUENCE, implicit(NAME))),
        (IMPLICIT, END_ITEM + implicit(NAME)),
        (EXPLICIT, explicit(SEQUENCE, b"SQ", item(implicit(NAME, length=8)))),
        (EXPLICIT, explicit(NAME, b"QQ", b"AB")),
        (EXPLICIT, explicit(PIXELS, b"OB", length=UNDEFINED) + item(b"ab")),
        (EXPLICIT, explicit(PIXELS, b"OB", length=UNDEFINED) + implicit(NAME) + END_SEQUENCE),
        (EXPLICIT, explicit(0x00080005, b"CS", b"\\" * (MAX_CHARACTER_SETS + 2))),
        (IMPLICIT, implicit(SEQUENCE, item(implicit(0x00080005, b"\\" * (MAX_CHARACTER_SETS + 2))))),
        (IMPLICIT, bytes(8000) + b"\1"),
    ],
)
def test_what_is_malformed(syntax: str, data: bytes) -> None:
    with pytest.raises(DatasetError) as caught:
        check_structure(data, syntax, Limits())
    assert type(caught.value) is DatasetError


@pytest.mark.parametrize(
    "surplus", [b"", END_ITEM, END_SEQUENCE, bytes(3), bytes(512), END_ITEM + END_SEQUENCE + bytes(99)]
)
@pytest.mark.parametrize("pixels", [b"", explicit(PIXELS, b"OB", b"ab")])
def test_what_is_behind_the_last_element_does_not_count(surplus: bytes, pixels: bytes) -> None:
    data = explicit(NAME, b"PN", b"AB") + pixels
    assert check_structure(data + surplus, EXPLICIT, Limits()).end == len(data)
    assert decode(data + surplus, EXPLICIT) == decode(data, EXPLICIT)


@pytest.mark.parametrize("surplus", [b"\xff\xfe\xe0\x0d\0\0\0\0", b"\xff\xfe\xe0\xdd\0\0\0\0", bytes(512)])
def test_what_is_behind_the_last_big_endian_element(surplus: bytes) -> None:
    data = b"\x00\x10\x00\x10PN\0\2AB"
    assert check_structure(data + surplus, EXPLICIT_VR_BIG_ENDIAN, Limits()).end == len(data)
    assert decode(data + surplus, EXPLICIT_VR_BIG_ENDIAN).PatientName == "AB"


def test_the_form_that_is_there() -> None:
    data = implicit(NAME, b"AB") + implicit(0x00100020, b"12")
    assert check_structure(data, EXPLICIT, Limits()).implicit
    assert decode(data, EXPLICIT) == decode(data, IMPLICIT)
    data = explicit(NAME, b"PN", b"AB") + explicit(0x00100020, b"LO", b"12")
    assert decode(data, IMPLICIT) == decode(data, EXPLICIT)


def test_a_private_value_that_only_begins_like_a_sequence() -> None:
    data = implicit(PRIVATE, item(b"what it likes")) + implicit(NAME, b"AB")
    assert decode(data, IMPLICIT).PatientName == "AB"


def test_big_endian() -> None:
    data = (
        bytes.fromhex("00081140")
        + b"SQ"
        + bytes.fromhex("0000 00000014 fffee000 0000000c")
        + bytes.fromhex("00100010")
        + b"PN"
        + bytes.fromhex("0004")
        + b"AB^C"
    )
    check_structure(data, EXPLICIT_VR_BIG_ENDIAN, Limits(elements=2, items=1))
    assert decode(data, EXPLICIT_VR_BIG_ENDIAN)[SEQUENCE][0].PatientName == "AB^C"


def test_one_value_of_many_uids() -> None:
    uids = b"1.2.3\\" * 250_000
    data = implicit(0x00080058, uids) + implicit(NAME, b"AB")
    assert value_of(data, IMPLICIT, 0x00080058) == uids
    assert value_of(data, IMPLICIT, 0x00080016) == b""
    with pytest.raises(DatasetError, match=f"more than {IDENTIFIER_LIMITS.elements} elements"):
        value_of(implicit(NAME) * 20_001, IMPLICIT, NAME)


def test_a_text_is_no_list_of_thousands() -> None:
    dataset = decode(implicit(NAME, b"A\\" * MAX_TEXT), IMPLICIT)
    with pytest.raises(DatasetError, match=r"\(0010,0010\) has more than"):
        text_of(dataset, NAME)
