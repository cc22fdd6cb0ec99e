"""The facts of the encoding that the modules of the room share."""

from __future__ import annotations

import zlib

import pytest

from dimse import uids
from dimse.dataset.encoding import (
    BIG,
    INFLATE_STEP,
    LITTLE,
    LONG_VRS,
    SEQUENCE_END_HEADER,
    SHORT_VRS,
    Encoding,
    Inflater,
    end_of_fragments,
    fragment_length,
    inflate,
    item_header,
    unpadded_text,
)
from dimse.errors import DatasetError


@pytest.mark.parametrize(
    ("transfer_syntax_uid", "expected"),
    [
        (uids.IMPLICIT_VR_LITTLE_ENDIAN, Encoding(True, False, False, False, LITTLE)),
        (uids.EXPLICIT_VR_LITTLE_ENDIAN, Encoding(False, False, False, False, LITTLE)),
        (uids.EXPLICIT_VR_BIG_ENDIAN, Encoding(False, True, False, False, BIG)),
        (uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, Encoding(False, False, True, False, LITTLE)),
        (uids.RLE_LOSSLESS, Encoding(False, False, False, True, LITTLE)),
        ("1.2.840.10008.1.2.4.95", Encoding(False, False, True, True, LITTLE)),
        ("1.2.3.4", Encoding(False, False, False, True, LITTLE)),
    ],
    ids=["implicit", "explicit", "big endian", "deflated", "RLE", "JPIP deflated", "private"],
)
def test_what_a_transfer_syntax_says(transfer_syntax_uid: str, expected: Encoding) -> None:
    assert Encoding.of(transfer_syntax_uid) == expected


def test_each_vr_of_the_standard_is_in_one_table() -> None:
    """PS3.5 table 6.2-1 has 34 value representations."""
    assert not SHORT_VRS & LONG_VRS
    assert len(SHORT_VRS | LONG_VRS) == 34


def test_text_loses_its_padding_only() -> None:
    assert unpadded_text(b" 1.2.3\0") == "1.2.3"
    assert unpadded_text(memoryview(b"M\xfcller B ")) == "M\xfcller B"


def test_fragments_are_walked_to_the_delimiter() -> None:
    data = b"before" + item_header(0) + item_header(4) + b"abcd" + SEQUENCE_END_HEADER + b"after"
    assert end_of_fragments(data, 6) == len(data) - 5
    with pytest.raises(DatasetError, match=r"truncated in \(7FE0,0010\)"):
        end_of_fragments(data[:-9], 6)
    with pytest.raises(DatasetError, match="expected a fragment"):
        end_of_fragments(data, 0)


@pytest.mark.parametrize("header", [item_header(0xFFFFFFFF), LITTLE.plain.pack(0xFFFE, 0xE00D, 0)])
def test_what_is_not_a_fragment_is_refused(header: bytes) -> None:
    with pytest.raises(DatasetError, match=r"expected a fragment .* \(7FE0,0010\)"):
        fragment_length(header)


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def test_inflating_goes_in_steps_and_can_be_continued() -> None:
    data = bytes(3 * INFLATE_STEP + 1)
    inflater = Inflater()
    first = next(inflater.pieces(deflated(data)))
    assert len(first) == INFLATE_STEP
    assert not inflater.ended
    assert first + b"".join(inflater.pieces()) == data
    assert inflater.ended


def test_inflating_byte_by_byte() -> None:
    data = bytes(range(256)) * 300
    inflater = Inflater()
    assert b"".join(piece for byte in deflated(data) for piece in inflater.pieces(bytes([byte]))) == data
    assert inflater.ended


def test_inflating_has_a_limit_and_an_end() -> None:
    assert inflate(deflated(bytes(1000)), 1000) == bytes(1000)
    with pytest.raises(DatasetError, match="more than 999 bytes"):
        inflate(deflated(bytes(1000)), 999)
    with pytest.raises(DatasetError, match="truncated"):
        inflate(deflated(bytes(1000))[:-1], 1000)
    with pytest.raises(DatasetError, match="invalid deflated data, after 0 inflated bytes"):
        inflate(b"\xff" * 99, 1000)
