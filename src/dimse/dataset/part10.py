"""File Meta Information of a DICOM file (PS3.10 7.1)."""

from __future__ import annotations

import struct
from contextlib import suppress
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from dimse.dataset.elements import SOP_CLASS_UID, SOP_INSTANCE_UID, Buffer, ElementScanner
from dimse.errors import DatasetError
from dimse.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

MAX_FILE_META: Final = 1024 * 1024
"""File Meta Information is some hundred bytes; private information (0002,0102) may make it more."""

_PREAMBLE: Final = bytes(128)
_DICM: Final = b"DICM"
_READ_AHEAD: Final = 1024
_LOOK: Final = 256
"""The SOP UIDs are among the first elements of a data set."""

_LONGEST: Final = 0xFFFE
"""With a length of 16 bits (PS3.5 7.1.2), which is even."""

_SHORT: Final = struct.Struct("<HH2sH")
_LONG: Final = struct.Struct("<HH2sxxL")
_LONG_VRS: Final = frozenset(b"OB OW OF OD OL OV SQ UC UR UT UN SV UV".split())

_MEDIA_STORAGE_SOP_CLASS_UID = 0x0002
_MEDIA_STORAGE_SOP_INSTANCE_UID = 0x0003
_TRANSFER_SYNTAX_UID = 0x0010


_SAME_IN_DATA_SET: Final = (
    (_MEDIA_STORAGE_SOP_CLASS_UID, SOP_CLASS_UID),
    (_MEDIA_STORAGE_SOP_INSTANCE_UID, SOP_INSTANCE_UID),
)


class Readable(Protocol):
    """A binary file, as far as reading from its beginning to its end goes."""

    def read(self, size: int, /) -> Buffer | None: ...


class FileMeta(NamedTuple):
    """What the beginning of a file says of its data set.

    The SOP UIDs are the data set's own; the File Meta Information's where the beginning does not have them. Some
    files differ, and a C-STORE that names what the data set is not would be refused (0xA900).
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    length: int
    """Bytes from the beginning of the preamble to the data set."""
    peeked: bytes
    """The beginning of the data set, which was read along with the meta and belongs before what is read next."""


def _element(element: int, vr: bytes, text: str, padding: bytes) -> bytes:
    if not text.isascii() or len(text) > _LONGEST:
        raise DatasetError(f"(0002,{element:04X}) cannot be written: not ASCII, or longer than {_LONGEST} characters")
    value = text.encode("ascii")
    if len(value) % 2:
        value += padding
    return _SHORT.pack(0x0002, element, vr, len(value)) + value


_BEGINNING: Final = _PREAMBLE + _DICM + _SHORT.pack(0x0002, 0x0000, b"UL", 4)
_VERSION = _LONG.pack(0x0002, 0x0001, b"OB", 2) + b"\x00\x01"
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
    """What is before and behind the SOP Instance UID: the same for all instances of a kind on an association."""
    before = _VERSION + _element(_MEDIA_STORAGE_SOP_CLASS_UID, b"UI", sop_class_uid, b"\0")
    after = _element(_TRANSFER_SYNTAX_UID, b"UI", transfer_syntax_uid, b"\0") + _IMPLEMENTATION
    for element, title in ((0x0016, source_ae_title), (0x0017, sending_ae_title), (0x0018, receiving_ae_title)):
        if title:
            after += _element(element, b"AE", title.encode("ascii", "replace").decode(), b" ")
    return before, after


def read_file_meta(file: Readable) -> FileMeta:
    """Read the File Meta Information from where `file` is, and at most a kilobyte beyond: see `peeked`.

    The end is found by the first tag of another group, as group lengths are wrong or missing in the wild. The
    caller adds the file's name to a `DatasetError`.
    """
    head = _Head(file)
    if not head.reach(132) or head.data[128:132] != _DICM:
        raise DatasetError("not a DICOM file (no DICM at byte 128)")
    position, values = 132, dict[int, str]()
    while head.reach(position + 8):
        group, element, vr, length = _SHORT.unpack_from(head.data, position)
        if group != 0x0002:
            break
        value = position + 8
        if vr in _LONG_VRS:
            value += 4
            head.demand(value)
            length = _LONG.unpack_from(head.data, position)[3]
        head.demand(value + length)
        position = value + length
        if element in (_MEDIA_STORAGE_SOP_CLASS_UID, _MEDIA_STORAGE_SOP_INSTANCE_UID, _TRANSFER_SYNTAX_UID):
            values[element] = head.data[value:position].decode("latin-1").strip(" \0")
    transfer_syntax_uid = _required(values, _TRANSFER_SYNTAX_UID, "Transfer Syntax UID", "(0002,0010)")
    peeked = bytes(head.data[position:])
    _prefer_the_data_sets(values, peeked, transfer_syntax_uid)
    return FileMeta(
        sop_class_uid=_required(values, _MEDIA_STORAGE_SOP_CLASS_UID, "SOP Class UID", "(0008,0016)"),
        sop_instance_uid=_required(values, _MEDIA_STORAGE_SOP_INSTANCE_UID, "SOP Instance UID", "(0008,0018)"),
        transfer_syntax_uid=transfer_syntax_uid,
        length=position,
        peeked=peeked,
    )


def _prefer_the_data_sets(values: dict[int, str], beginning: bytes, transfer_syntax_uid: str) -> None:
    scanner = ElementScanner(transfer_syntax_uid, wanted=(SOP_CLASS_UID, SOP_INSTANCE_UID))
    with suppress(DatasetError):  # what cannot be read is for the receiver to judge
        for start in range(0, len(beginning), _LOOK):
            scanner.feed(beginning[start : start + _LOOK])
            if scanner.passed(SOP_INSTANCE_UID):
                break
    for element, tag in _SAME_IN_DATA_SET:
        found = scanner.text(tag)
        if found:
            values[element] = found


class _Head:
    """The beginning of a file, as far as it was needed."""

    def __init__(self, file: Readable) -> None:
        self.data = bytearray()
        self._file = file

    def reach(self, size: int) -> bool:
        """Have `size` bytes, if the file does."""
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
            raise DatasetError("ends within the File Meta Information")


def _required(values: dict[int, str], element: int, name: str, tag: str) -> str:
    value = values.get(element)
    if not value:
        raise DatasetError(f"has no {name}, {tag}")
    return value
