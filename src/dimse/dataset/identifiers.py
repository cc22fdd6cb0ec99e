"""Whole data sets between bytes and pydicom (PS3.5 7, PS3.7 6.3.1): identifiers, metadata, small objects."""

from __future__ import annotations

import re
import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Final

from pydicom.charset import default_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.errors import BytesLengthException
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from dimse.dataset.elements import (
    DEFLATED_SYNTAXES,
    MAX_SEQUENCE_DEPTH,
    PIXEL_DATA,
    Buffer,
    ElementScanner,
    tag_name,
)
from dimse.dataset.plain import decode_plain, encode_plain
from dimse.errors import DatasetError
from dimse.uids import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, name_of

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_INFLATED: Final = 64 * 1024 * 1024
"""What a deflated data set may inflate to in memory: deflate goes down to a thousandth."""

PYDICOM_ERRORS: Final = (
    *(AttributeError, BytesLengthException, LookupError, NotImplementedError, OverflowError, RecursionError),
    *(TypeError, ValueError, EOFError, OSError, struct.error),
)
"""What pydicom raises on data that it cannot read or write."""

_PLAIN: Final = 64 * 1024
"""Larger data sets are not tried as plain ones: they have pixel data, or are worth the time."""

_ITEM: Final = struct.Struct("<HHL")
_TAG = re.compile(r"\(([0-9A-Fa-f]{4}), ?([0-9A-Fa-f]{4})\)")


def encode(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    """Encode a data set, without group 0002 and preamble. Raises `DatasetError`."""
    if transfer_syntax_uid not in DEFLATED_SYNTAXES:
        return encode_elements(dataset, transfer_syntax_uid)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    encoded = encode_elements(dataset, EXPLICIT_VR_LITTLE_ENDIAN)
    deflated = deflater.compress(encoded) + deflater.flush()
    return deflated + bytes(len(deflated) % 2)  # PS3.5 A.5: padded to an even length


def decode(data: Buffer, transfer_syntax_uid: str, max_inflated: int = MAX_INFLATED) -> Dataset:
    """Decode a whole data set. Raises `DatasetError`, also where pydicom would give back what it could read."""
    if transfer_syntax_uid in DEFLATED_SYNTAXES:
        data, transfer_syntax_uid = inflate(data, max_inflated), EXPLICIT_VR_LITTLE_ENDIAN
    implicit, little_endian = _encoding_of(transfer_syntax_uid)
    try:
        plain = decode_plain(data, implicit=implicit) if little_endian and len(data) <= _PLAIN else None
        if plain is not None:
            return plain
        _check_elements(memoryview(data), transfer_syntax_uid)
        dataset = read_dataset(BytesIO(data), implicit, little_endian)
        _check_depth(dataset)
    except PYDICOM_ERRORS as error:
        raise pydicom_failed("cannot be decoded", error) from None
    return dataset


def inflate(data: Buffer, max_length: int = MAX_INFLATED) -> bytes:
    """Inflate a deflated data set (PS3.5 A.5), into at most `max_length` bytes."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(data, max_length + 1)
    except zlib.error:
        raise DatasetError("not deflated data") from None
    if len(inflated) > max_length:
        raise DatasetError(f"inflates to more than {max_length} bytes")
    if not inflater.eof:
        raise DatasetError("the deflated data set is cut short")
    return inflated


def encode_elements(dataset: Dataset, transfer_syntax_uid: str, character_set: str | list[str] | None = None) -> bytes:
    """Encode in any syntax but the deflated ones; `character_set` is of the data set this is a part of."""
    implicit, little_endian = _encoding_of(transfer_syntax_uid)
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = implicit, little_endian
    try:
        if little_endian and (plain := encode_plain(dataset, implicit=implicit)) is not None:
            return plain
        write_dataset(file, dataset, character_set or default_encoding)
    except PYDICOM_ERRORS as error:
        raise pydicom_failed(f"cannot be encoded in {name_of(transfer_syntax_uid)}", error) from None
    return file.getvalue()


def pydicom_failed(doing: str, error: Exception) -> DatasetError:
    """What went wrong in pydicom and where. Its own words often hold the value, which may be a patient's name."""
    tag = _TAG.search(str(error))
    where = f" at ({tag[1].upper()},{tag[2].upper()})" if tag else ""
    return DatasetError(f"{doing}{where}: {type(error).__name__}")


def _encoding_of(transfer_syntax_uid: str) -> tuple[bool, bool]:
    """Implicit VR, little endian. Every syntax not named in PS3.5 A.1 and A.3 is Explicit VR LE (A.4)."""
    return transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN, transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN


def _check_elements(data: memoryview, transfer_syntax_uid: str) -> None:
    """Find what is cut short or malformed; pydicom warns, and gives back the part before it."""
    while True:
        scanner = ElementScanner(transfer_syntax_uid, wanted=(), max_metadata=len(data))
        scanner.feed(data)
        scanner.finish()
        bulk = scanner.bulk
        if bulk is None:
            return
        start, length = bulk.value_offset, bulk.length
        end = _end_of_fragments(data, start) if length is None else start + length
        if end > len(data):
            raise DatasetError(f"the data set ends within {tag_name(bulk.tag)}")
        data = data[end:]


def _end_of_fragments(data: memoryview, position: int) -> int:
    """Where encapsulated pixel data ends (PS3.5 A.4), behind `data` if it is cut short."""
    while position + 8 <= len(data):
        group, element, length = _ITEM.unpack_from(data, position)
        position += 8
        if (group, element) == (0xFFFE, 0xE0DD):
            return position
        if (group, element) != (0xFFFE, 0xE000):
            raise DatasetError(f"no fragment where one must be, in {tag_name(PIXEL_DATA)}")
        position += length
    return max(position, len(data)) + 8


def _check_depth(dataset: Dataset, depth: int = 0) -> None:
    """pydicom decodes a sequence of defined length when it is asked for: find too deep ones now."""
    for tag in list(dataset.keys()):
        vr = dataset.get_item(tag).VR
        if vr != "SQ" and (vr not in (None, "UN") or not _is_sequence(tag)):
            continue
        if depth == MAX_SEQUENCE_DEPTH:
            raise DatasetError(f"sequences nested deeper than {MAX_SEQUENCE_DEPTH}, at {tag_name(tag)}")
        element = dataset[tag]
        for item in element.value if element.VR == "SQ" and element.value else ():
            _check_depth(item, depth + 1)


def _is_sequence(tag: int) -> bool:
    return dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"


def text_of(dataset: Dataset, tag: int) -> str:
    """The value of an element as text, empty if there is none. Raises `DatasetError`, without the value."""
    try:
        value = dataset[tag].value if tag in dataset else None
        return "" if value is None else str(value)
    except PYDICOM_ERRORS as error:
        raise pydicom_failed(f"{tag_name(tag)} cannot be read", error) from None
