"""Encoding and decoding of whole small data sets with pydicom (PS3.5 7, PS3.7 6.3.1)."""

from __future__ import annotations

import re
import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Final

from pydicom.charset import default_encoding
from pydicom.errors import BytesLengthException
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_data_element, write_dataset
from pydicom.multival import MultiValue

from dimse.dataset.encoding import MAX_TEXT, PLAIN_SIZE, Buffer, Encoding, inflate, tag_name
from dimse.dataset.fast_codec import decode_plain, encode_plain
from dimse.dataset.structure import Limits, check_structure, shows_implicit
from dimse.dataset.texts import decode_extensions
from dimse.dataset.threads import beside_the_loop
from dimse.errors import DatasetError
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN, name_of

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_INFLATED: Final = 64 * 1024 * 1024
"""Bytes that a deflated data set may inflate to in memory: deflate compresses up to a thousandfold."""

DATASET_LIMITS: Final = Limits(elements=500_000, items=100_000)
"""Limits of a received data set that is decoded. pydicom takes 450 bytes and 2 us per element, and 1.5 KB and 15 us per
item."""

IDENTIFIER_LIMITS: Final = Limits(elements=20_000, items=5000)
"""Limits of an identifier. Real ones have less than a tenth of them."""

MAX_IDENTIFIER_INFLATED: Final = 16 * 1024 * 1024
"""Bytes that a deflated identifier may inflate to, as many as one that is not deflated may have."""

MAX_VALUES: Final = 2**18
"""Values of an identifier, counted by backslashes. A list of UIDs of the maximum size has about as many."""

PYDICOM_ERRORS: Final = (
    *(AttributeError, BytesLengthException, LookupError, NotImplementedError, OverflowError, RecursionError),
    *(TypeError, ValueError, EOFError, OSError, struct.error, UserWarning),
)
"""The exceptions that pydicom raises on data that it cannot read or write; its warnings where they are errors."""

_MAX_PLAIN: Final = 64 * 1024
"""Bytes. Larger data sets skip the fast path."""

_SMALL: Final = 8 * 1024
"""Bytes. Smaller identifiers are decoded on the event loop. An item of 8 bytes takes as long as ten elements."""

_TAG = re.compile(r"\(([0-9A-Fa-f]{4}), ?([0-9A-Fa-f]{4})\)")


def encode(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    """Encode a data set, without preamble and group 0002. Raises `DatasetError`."""
    if not Encoding.of(transfer_syntax_uid).deflated:
        return encode_elements(dataset, transfer_syntax_uid)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    encoded = encode_elements(dataset, EXPLICIT_VR_LITTLE_ENDIAN)
    deflated = deflater.compress(encoded) + deflater.flush()
    return deflated + bytes(len(deflated) % 2)  # PS3.5 A.5: padded to an even length


def decode(
    data: Buffer,
    transfer_syntax_uid: str,
    *,
    maximum_inflated: int = MAX_INFLATED,
    limits: Limits = DATASET_LIMITS,
) -> Dataset:
    """Decode a whole data set. Raises `DatasetError`, also if pydicom would return a partial data set."""
    if Encoding.of(transfer_syntax_uid).deflated:
        data, transfer_syntax_uid = inflate(data, maximum_inflated), EXPLICIT_VR_LITTLE_ENDIAN
    plain = _plain(data, transfer_syntax_uid)
    return _decoded(data, transfer_syntax_uid, limits) if plain is None else plain


async def decode_identifier(data: Buffer, transfer_syntax_uid: str) -> Dataset:
    """Decode a received identifier, within its limits. Raises `DatasetError`.

    A large one is decoded in one of a few threads, as a running thread cannot be stopped. None begins for a task that
    was cancelled.
    """
    if not Encoding.of(transfer_syntax_uid).deflated:
        plain = _plain(data, transfer_syntax_uid)
        if plain is not None:
            return _with_texts(plain, data)
        if len(data) <= _SMALL:
            return _identifier(data, transfer_syntax_uid)
    return await beside_the_loop(lambda: _identifier(data, transfer_syntax_uid))


async def decode_attributes(data: Buffer, transfer_syntax_uid: str) -> Dataset:
    """Decode a received data set of DIMSE-N, within the limits of a data set. Raises `DatasetError`."""
    if len(data) <= _SMALL and not Encoding.of(transfer_syntax_uid).deflated:
        return _with_texts(decode(data, transfer_syntax_uid), data)
    return await beside_the_loop(lambda: _with_texts(decode(data, transfer_syntax_uid), data))


def wrong_form(data: Buffer, transfer_syntax_uid: str) -> DatasetError | None:
    """The error for an identifier whose first header contradicts the VR form of its transfer syntax, or None.

    It can still be read: `decode_identifier` and `value_of` follow that header too.
    """
    if Encoding.of(transfer_syntax_uid).deflated or len(data) < PLAIN_SIZE:
        return None
    implicit = shows_implicit(data)
    if implicit == Encoding.of(transfer_syntax_uid).implicit:
        return None
    form = "Implicit" if implicit else "Explicit"
    return DatasetError(f"the identifier is in {form} VR, but {name_of(transfer_syntax_uid)} was negotiated")


def value_of(data: Buffer, transfer_syntax_uid: str, tag: int) -> bytes:
    """The encoded value of one element of an identifier, empty if absent. Cheap even for megabytes of UIDs."""
    if Encoding.of(transfer_syntax_uid).deflated:
        data, transfer_syntax_uid = inflate(data, MAX_IDENTIFIER_INFLATED), EXPLICIT_VR_LITTLE_ENDIAN
    values = check_structure(data, transfer_syntax_uid, IDENTIFIER_LIMITS, (tag,)).values
    start, end = values.get(tag, (0, 0))
    return bytes(memoryview(data)[start:end])


def _identifier(data: Buffer, transfer_syntax_uid: str) -> Dataset:
    if Encoding.of(transfer_syntax_uid).deflated:
        data, transfer_syntax_uid = inflate(data, MAX_IDENTIFIER_INFLATED), EXPLICIT_VR_LITTLE_ENDIAN
    data = bytes(data)
    if data.count(b"\\") > MAX_VALUES:
        raise DatasetError(f"the identifier has more than {MAX_VALUES} values")
    return _with_texts(_decoded(data, transfer_syntax_uid, IDENTIFIER_LIMITS), data)


def _with_texts(dataset: Dataset, data: Buffer) -> Dataset:
    """`dataset`, with the texts decoded that pydicom would get wrong."""
    encoded = bytes(data)
    if b"\x1b" in encoded or (not encoded.isascii() and b"2022" in encoded):
        try:
            decode_extensions(dataset)
        except PYDICOM_ERRORS as error:
            raise pydicom_failed("the data set cannot be decoded", error) from None
    return dataset


def _plain(data: Buffer, transfer_syntax_uid: str) -> Dataset | None:
    encoding = Encoding.of(transfer_syntax_uid)
    if encoding.big_endian or len(data) > _MAX_PLAIN:
        return None
    try:
        return decode_plain(data, implicit=encoding.implicit)
    except PYDICOM_ERRORS as error:
        raise pydicom_failed("the data set cannot be decoded", error) from None


def _decoded(data: Buffer, transfer_syntax_uid: str, limits: Limits) -> Dataset:
    structure = check_structure(data, transfer_syntax_uid, limits)
    if structure.end < len(data):
        data = memoryview(data)[: structure.end]
    try:
        return read_dataset(BytesIO(data), structure.implicit, not Encoding.of(transfer_syntax_uid).big_endian)
    except PYDICOM_ERRORS as error:
        raise pydicom_failed("the data set cannot be decoded", error) from None


def encode_elements(dataset: Dataset, transfer_syntax_uid: str, character_set: str | list[str] | None = None) -> bytes:
    """Encode in a syntax that is not deflated. `character_set` is inherited from an enclosing data set."""
    encoding = Encoding.of(transfer_syntax_uid)
    file = _buffer(encoding)
    try:
        if not encoding.big_endian and (plain := encode_plain(dataset, implicit=encoding.implicit)) is not None:
            return plain
        write_dataset(file, dataset, character_set or default_encoding)
    except PYDICOM_ERRORS as error:
        doing = f"the data set cannot be encoded in {name_of(transfer_syntax_uid)}"
        misfit = _misfit(dataset, encoding)
        raise pydicom_failed(doing, error) if misfit is None else DatasetError(f"{doing} at {misfit}") from None
    return file.getvalue()


def _buffer(encoding: Encoding) -> DicomBytesIO:
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = encoding.implicit, not encoding.big_endian
    return file


def _misfit(dataset: Dataset, encoding: Encoding) -> str | None:
    """The first element that pydicom cannot write, with the reason; None if it can write each alone."""
    file = _buffer(encoding)
    for element in dataset:
        try:
            write_data_element(file, element)
        except PYDICOM_ERRORS:
            is_sequence = element.VR == "SQ"
            reason = "a value in its items is not valid" if is_sequence else f"its value is not valid for {element.VR}"
            return f"{tag_name(element.tag)}: {reason}"
    return None


def pydicom_failed(doing: str, error: Exception) -> DatasetError:
    """An error that names the tag and type of a pydicom exception, whose message may contain patient data."""
    tag = _TAG.search(str(error))
    where = f" at ({tag[1].upper()},{tag[2].upper()})" if tag else ""
    return DatasetError(f"{doing}{where}: {type(error).__name__}")


def text_of(dataset: Dataset, tag: int) -> str:
    """The value of an element as text, empty if absent; several are separated by a backslash, as in DICOM.

    Raises `DatasetError`, without the value.
    """
    element = dataset.get_item(tag) if tag in dataset else None
    if element is not None and element.is_raw and len(element.value or b"") > MAX_TEXT:
        raise DatasetError(f"{tag_name(tag)} has more than {MAX_TEXT} bytes")
    try:
        value = None if element is None else dataset[tag].value
        if isinstance(value, MultiValue):
            return "\\".join(map(str, value))
        return "" if value is None else str(value)
    except PYDICOM_ERRORS as error:
        raise pydicom_failed(f"{tag_name(tag)} cannot be read", error) from None
