"""File Meta Information of a DICOM file (PS3.10 7.1)."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from dimse.dataset.encoding import BIG, LITTLE, LONG_VRS, SOP_CLASS_UID, SOP_INSTANCE_UID, Buffer, unpadded_text
from dimse.dataset.recognizing import NotDicom, begins_like_a_data_set, syntax_of_first_element
from dimse.dataset.scanner import ElementScanner
from dimse.errors import DatasetError
from dimse.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_VR_LITTLE_ENDIAN,
    LITTLE_ENDIAN,
    name_of,
)

MAX_FILE_META: Final = 1024 * 1024
"""File Meta Information usually has a few hundred bytes, and more with private information (0002,0102)."""

_PREAMBLE: Final = bytes(128)
_DICM: Final = b"DICM"
_DICOM_UID: Final = b"1.2.840.10008.5.1.4."
_READ_AHEAD: Final = 1024
_SEARCH_STEP: Final = 256
"""Bytes of the data set scanned at a time: the SOP UIDs are among its first elements."""

_MAX_SEARCH: Final = 64 * 1024
"""Bytes of the data set scanned for the SOP UIDs if the File Meta Information has none."""

_MAX_VALUE: Final = 0xFFFE
"""The longest value with a 16-bit length (PS3.5 7.1.2), which must be even."""

_GROUP: Final = b"\x02\x00"
_GROUP_BE: Final = b"\x00\x02"

_MEDIA_STORAGE_SOP_CLASS_UID = 0x0002
_MEDIA_STORAGE_SOP_INSTANCE_UID = 0x0003
_TRANSFER_SYNTAX_UID = 0x0010


_COUNTERPARTS: Final = (
    (_MEDIA_STORAGE_SOP_CLASS_UID, SOP_CLASS_UID),
    (_MEDIA_STORAGE_SOP_INSTANCE_UID, SOP_INSTANCE_UID),
)


class Readable(Protocol):
    """Anything that can be read sequentially."""

    def read(self, size: int, /) -> Buffer | None: ...


class FileMeta(NamedTuple):
    """What the beginning of a file says about its data set.

    The SOP UIDs are those of the data set, or of the File Meta Information if the beginning of the data set has none.
    In some files the two differ, and a C-STORE with the wrong ones would be refused (0xA900).
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    is_mislabeled: bool
    """Whether the data set is in the other VR form, but `transfer_syntax_uid` could not be corrected to say so."""
    warning: str | None
    """A fault of the file that was worked around, or None."""
    length: int
    """Bytes from the beginning of the preamble to the data set."""
    peeked: bytes
    """The beginning of the data set, already read from the file together with the File Meta Information."""


def _element(element: int, vr: bytes, text: str, padding: bytes) -> bytes:
    if not text.isascii() or len(text) > _MAX_VALUE:
        raise DatasetError(f"(0002,{element:04X}) must be ASCII of at most {_MAX_VALUE} characters")
    value = text.encode("ascii")
    if len(value) % 2:
        value += padding
    return LITTLE.short.pack(0x0002, element, vr, len(value)) + value


# The parts that are the same in every file, encoded once: a file is written per received instance.
_BEGINNING: Final = _PREAMBLE + _DICM + LITTLE.short.pack(0x0002, 0x0000, b"UL", 4)
_VERSION = LITTLE.long.pack(0x0002, 0x0001, b"OB", 2) + b"\x00\x01"
_IMPLEMENTATION = _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID, b"\0") + _element(
    0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b" "
)


def encode_file_meta(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    source_ae_title: str | None = None,
    sending_ae_title: str | None = None,
    receiving_ae_title: str | None = None,
) -> bytes:
    """Preamble, prefix and group 0002 (PS3.10 7.1), always Explicit VR Little Endian.

    `source_ae_title` (0002,0016) wrote the content or last changed it, `sending_ae_title` (0002,0017) sent it over
    a network and `receiving_ae_title` (0002,0018) received it.
    """
    before, after = _around_instance(
        sop_class_uid, transfer_syntax_uid, source_ae_title, sending_ae_title, receiving_ae_title
    )
    group = before + _element(_MEDIA_STORAGE_SOP_INSTANCE_UID, b"UI", sop_instance_uid, b"\0") + after
    return _BEGINNING + len(group).to_bytes(4, "little") + group


@lru_cache(maxsize=128)
def _around_instance(
    sop_class_uid: str,
    transfer_syntax_uid: str,
    source_ae_title: str | None,
    sending_ae_title: str | None,
    receiving_ae_title: str | None,
) -> tuple[bytes, bytes]:
    """The elements before and after the SOP Instance UID, which are often the same for a whole association."""
    before = _VERSION + _element(_MEDIA_STORAGE_SOP_CLASS_UID, b"UI", sop_class_uid, b"\0")
    after = _element(_TRANSFER_SYNTAX_UID, b"UI", transfer_syntax_uid, b"\0") + _IMPLEMENTATION
    for element, title in ((0x0016, source_ae_title), (0x0017, sending_ae_title), (0x0018, receiving_ae_title)):
        if title:
            after += _element(element, b"AE", title.encode("ascii", "replace").decode(), b" ")
    return before, after


def read_file_meta(file: Readable) -> FileMeta:
    """Read the File Meta Information from the current position, and at most a kilobyte beyond: see `peeked`.

    It ends at the first tag of another group, as real files have wrong group lengths or none. Files without a preamble,
    or without any File Meta Information, and a group 0002 in Implicit VR or big endian are read too. Raises `NotDicom`
    for a file that is not DICOM, and `DatasetError` for other faults; the caller adds the name of the file.
    """
    head = _Head(file)
    values, position, warning = _group_2(head)
    transfer_syntax_uid = _required(values, _TRANSFER_SYNTAX_UID, "Transfer Syntax UID", "(0002,0010)")
    scanner = _prefer_dataset_uids(values, head, position, transfer_syntax_uid)
    peeked = bytes(head.data[position:])
    is_mislabeled = scanner.is_mislabeled and begins_like_a_data_set(peeked)
    if is_mislabeled:
        form = "Implicit" if scanner.implicit else "Explicit"
        warning = f"the data set is in {form} VR, but its transfer syntax is {name_of(transfer_syntax_uid)}"
        if transfer_syntax_uid in LITTLE_ENDIAN:
            transfer_syntax_uid = IMPLICIT_VR_LITTLE_ENDIAN if scanner.implicit else EXPLICIT_VR_LITTLE_ENDIAN
    return FileMeta(
        sop_class_uid=_required(values, _MEDIA_STORAGE_SOP_CLASS_UID, "SOP Class UID", "(0008,0016)"),
        sop_instance_uid=_required(values, _MEDIA_STORAGE_SOP_INSTANCE_UID, "SOP Instance UID", "(0008,0018)"),
        transfer_syntax_uid=transfer_syntax_uid,
        is_mislabeled=is_mislabeled and transfer_syntax_uid not in LITTLE_ENDIAN,
        warning=warning,
        length=position,
        peeked=peeked,
    )


def read_transfer_syntax(file: Readable) -> tuple[str, int]:
    """The Transfer Syntax UID, and the position of the data set, of a file that need not be of an instance.

    A worklist item has no SOP UIDs. Raises as `read_file_meta` does.
    """
    values, position, _ = _group_2(_Head(file))
    return _required(values, _TRANSFER_SYNTAX_UID, "Transfer Syntax UID", "(0002,0010)"), position


def _group_2(head: _Head) -> tuple[dict[int, str], int, str | None]:
    """The UIDs of the File Meta Information, the position behind it, and a fault that was worked around."""
    position = _start(head)
    values = dict[int, str]()
    while (found := _meta_element(head, position)) is not None:
        element, value, end = found
        if element in (_MEDIA_STORAGE_SOP_CLASS_UID, _MEDIA_STORAGE_SOP_INSTANCE_UID, _TRANSFER_SYNTAX_UID):
            values[element] = unpadded_text(head.data[value:end])
        position = end
    warning = None
    if not values.get(_TRANSFER_SYNTAX_UID) and (shown := syntax_of_first_element(bytes(head.data[position:]))):
        values[_TRANSFER_SYNTAX_UID] = shown
        warning = f"missing Transfer Syntax UID (0002,0010); assuming {name_of(shown)}"
    return values, position, warning


def _start(head: _Head) -> int:
    """The position of the File Meta Information, or of the data set if the file has none."""
    if head.reach(132) and head.data[128:132] == _DICM:
        return 132
    if not head.data:
        raise NotDicom("not a DICOM file (it is empty)")
    head.reach(_READ_AHEAD)
    start = 4 if head.data[:4] == _DICM else 0
    if not begins_like_a_data_set(bytes(head.data[start:])):
        # A text with UIDs is a dump or JSON; a zip archive may begin with an uncompressed DICOM file.
        if _DICOM_UID in head.data and b"\0" in head.data and head.data[:2] != b"PK":
            raise DatasetError("no DICM at byte 128, but the file contains DICOM UIDs: it may be damaged")
        raise NotDicom("not a DICOM file (no DICM at byte 128)")
    return start


def _meta_element(head: _Head, position: int) -> tuple[int, int, int] | None:
    """The number of the element at `position`, and the start and end of its value; None in another group."""
    group = bytes(head.data[position : position + 2]) if head.reach(position + 8) else b""
    if group not in (_GROUP, _GROUP_BE):
        return None
    headers = BIG if group == _GROUP_BE else LITTLE
    _, element, vr, length = headers.short.unpack_from(head.data, position)
    value = position + 8
    if vr in LONG_VRS:
        value += 4
        head.demand(value)
        length = headers.long.unpack_from(head.data, position)[3]
    elif not (vr.isalpha() and vr.isupper()):
        length = LITTLE.plain.unpack_from(head.data, position)[2]
    head.demand(value + length)
    return element, value, value + length


def _prefer_dataset_uids(
    values: dict[int, str], head: _Head, position: int, transfer_syntax_uid: str
) -> ElementScanner:
    """Take the SOP UIDs from the data set; read further for them only if the File Meta Information has none."""
    scanner = ElementScanner(transfer_syntax_uid, wanted=(SOP_CLASS_UID, SOP_INSTANCE_UID))
    needed = not all(values.get(element) for element, _ in _COUNTERPARTS)
    with suppress(DatasetError):  # other faults are left to the receiver
        start, limit = position, position + (_MAX_SEARCH if needed else 0)
        while start < len(head.data) or (start < limit and head.reach(start + 1)):
            piece = head.data[start : start + _SEARCH_STEP]
            scanner.feed(piece)
            start += len(piece)
            if scanner.passed(SOP_INSTANCE_UID):
                break
    for element, tag in _COUNTERPARTS:
        found = scanner.text(tag)
        if found:
            values[element] = found
    return scanner


class _Head:
    """The beginning of a file, read as far as needed."""

    def __init__(self, file: Readable) -> None:
        self.data = bytearray()
        self._file = file

    def reach(self, size: int) -> bool:
        """Read until `size` bytes are buffered. Returns False at the end of the file."""
        if size > MAX_FILE_META:
            raise DatasetError(f"File Meta Information of more than {MAX_FILE_META} bytes")
        while len(self.data) < size:
            piece = self._file.read(max(_READ_AHEAD, size - len(self.data)))
            if not piece:
                return False
            self.data += piece
        return True

    def demand(self, size: int) -> None:
        if not self.reach(size):
            raise DatasetError("truncated in the File Meta Information")


def _required(values: dict[int, str], element: int, name: str, tag: str) -> str:
    value = values.get(element)
    if not value:
        raise DatasetError(f"missing {name} {tag}")
    return value
