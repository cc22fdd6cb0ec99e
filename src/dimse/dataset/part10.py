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
"""File Meta Information is some hundred bytes; private information (0002,0102) may make it more."""

_PREAMBLE: Final = bytes(128)
_DICM: Final = b"DICM"
_DICOM_UID: Final = b"1.2.840.10008.5.1.4."
_READ_AHEAD: Final = 1024
_LOOK: Final = 256
"""The SOP UIDs are among the first elements of a data set."""

_LOOK_FAR: Final = 64 * 1024
"""How far they are looked for where nothing else has them."""

_LONGEST: Final = 0xFFFE
"""With a length of 16 bits (PS3.5 7.1.2), which is even."""

_GROUP: Final = b"\x02\x00"
_GROUP_BE: Final = b"\x00\x02"

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
    is_mislabelled: bool
    """Whether the data set is in Implicit VR where its transfer syntax, which says more than that, has Explicit."""
    warning: str | None
    """What was read in another way than it says, or does not say."""
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
    return LITTLE.short.pack(0x0002, element, vr, len(value)) + value


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
    """What is before and behind the SOP Instance UID: the same for all instances of a kind on an association."""
    before = _VERSION + _element(_MEDIA_STORAGE_SOP_CLASS_UID, b"UI", sop_class_uid, b"\0")
    after = _element(_TRANSFER_SYNTAX_UID, b"UI", transfer_syntax_uid, b"\0") + _IMPLEMENTATION
    for element, title in ((0x0016, source_ae_title), (0x0017, sending_ae_title), (0x0018, receiving_ae_title)):
        if title:
            after += _element(element, b"AE", title.encode("ascii", "replace").decode(), b" ")
    return before, after


def read_file_meta(file: Readable) -> FileMeta:
    """Read the File Meta Information from where `file` is, and at most a kilobyte beyond: see `peeked`.

    The end is found by the first tag of another group, as group lengths are wrong or missing in the wild; so are
    preambles, and all of it. A group 0002 in Implicit VR or Big Endian is read too. The caller adds the file's name to
    a `DatasetError`. What cannot be a DICOM file at all is `NotDicom`.
    """
    head = _Head(file)
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
        warning = f"names no transfer syntax; its first element shows {name_of(shown)}"
    transfer_syntax_uid = _required(values, _TRANSFER_SYNTAX_UID, "Transfer Syntax UID", "(0002,0010)")
    scanner = _prefer_the_data_sets(values, head, position, transfer_syntax_uid)
    peeked = bytes(head.data[position:])
    is_mislabelled = scanner.is_mislabelled and begins_like_a_data_set(peeked)
    if is_mislabelled:
        form = "Implicit" if scanner.implicit else "Explicit"
        warning = f"is in {form} VR, though it names {name_of(transfer_syntax_uid)}"
        if transfer_syntax_uid in LITTLE_ENDIAN:
            transfer_syntax_uid = IMPLICIT_VR_LITTLE_ENDIAN if scanner.implicit else EXPLICIT_VR_LITTLE_ENDIAN
    return FileMeta(
        sop_class_uid=_required(values, _MEDIA_STORAGE_SOP_CLASS_UID, "SOP Class UID", "(0008,0016)"),
        sop_instance_uid=_required(values, _MEDIA_STORAGE_SOP_INSTANCE_UID, "SOP Instance UID", "(0008,0018)"),
        transfer_syntax_uid=transfer_syntax_uid,
        is_mislabelled=is_mislabelled and transfer_syntax_uid not in LITTLE_ENDIAN,
        warning=warning,
        length=position,
        peeked=peeked,
    )


def _start(head: _Head) -> int:
    """Where the File Meta Information begins, or the data set of a file that has none."""
    if head.reach(132) and head.data[128:132] == _DICM:
        return 132
    head.reach(_READ_AHEAD)
    start = 4 if head.data[:4] == _DICM else 0
    if not begins_like_a_data_set(bytes(head.data[start:])):
        # Text with UIDs is a dump, or JSON; a zip archive may begin with a whole file.
        if _DICOM_UID in head.data and b"\0" in head.data and head.data[:2] != b"PK":
            raise DatasetError("no DICM at byte 128, though there are UIDs of DICOM: a damaged file?")
        raise NotDicom("not a DICOM file (no DICM at byte 128)")
    return start


def _meta_element(head: _Head, position: int) -> tuple[int, int, int] | None:
    """The number of the element at `position`, and where its value begins and ends; None in another group."""
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


def _prefer_the_data_sets(
    values: dict[int, str], head: _Head, position: int, transfer_syntax_uid: str
) -> ElementScanner:
    """Take the SOP UIDs from the data set, as far as it has been read; further where nothing else has them."""
    scanner = ElementScanner(transfer_syntax_uid, wanted=(SOP_CLASS_UID, SOP_INSTANCE_UID))
    needed = not all(values.get(element) for element, _ in _SAME_IN_DATA_SET)
    with suppress(DatasetError):  # what cannot be read is for the receiver to judge
        start, limit = position, position + (_LOOK_FAR if needed else 0)
        while start < len(head.data) or (start < limit and head.reach(start + 1)):
            piece = head.data[start : start + _LOOK]
            scanner.feed(piece)
            start += len(piece)
            if scanner.passed(SOP_INSTANCE_UID):
                break
    for element, tag in _SAME_IN_DATA_SET:
        found = scanner.text(tag)
        if found:
            values[element] = found
    return scanner


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
            raise DatasetError("truncated in the File Meta Information")


def _required(values: dict[int, str], element: int, name: str, tag: str) -> str:
    value = values.get(element)
    if not value:
        raise DatasetError(f"has no {name}, {tag}")
    return value
