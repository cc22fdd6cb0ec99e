"""Re-encoding between Explicit and Implicit VR Little Endian without decoding values (PS3.5 7.1, A.1, A.2).

pydicom would decode each value and encode it again: slower, not always to the same bytes, and with a warning that
contains the value if it violates a rule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from io import BytesIO
from typing import TYPE_CHECKING, Final

from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_data_element

from dimse.dataset.codec import PYDICOM_ERRORS, pydicom_failed
from dimse.dataset.encoding import ITEM_TAG, LITTLE, PLAIN_SIZE, SHORT_VRS, item_header
from dimse.dataset.misfits import Misfit, dictionary_vr, is_misread, leave_out

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import BaseTag

_SHORT_VRS: Final = frozenset(vr.decode("ascii") for vr in SHORT_VRS)

_PADDED_WITH_SPACE: Final = frozenset(
    "AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT".split()  # noqa: SIM905 as PS3.5 6.2 has it
)


def rewrite(
    encoded: bytes, *, implicit: bool, to_implicit: bool, name: str = "a data set", without: Collection[int] = ()
) -> bytes:
    """Re-encode elements from Implicit (`implicit`) or Explicit VR Little Endian to either of the two.

    Values of odd length are padded (PS3.5 7.1.1). Elements that a receiver would misread in Implicit VR are omitted
    with a warning about `name`, or raise a `DatasetError`.
    """
    try:
        dataset = read_dataset(BytesIO(encoded), implicit, True)
        for tag in without:
            dataset.pop(tag, None)
        return encode_as_read(dataset, implicit=to_implicit, name=name)
    except PYDICOM_ERRORS as error:
        raise pydicom_failed("the data set cannot be re-encoded", error) from None


def encode_as_read(dataset: Dataset, *, implicit: bool, name: str) -> bytes:
    """Encode a data set that was read in little endian.

    Elements that were changed after reading are encoded by pydicom. Raises the exceptions of pydicom.
    """
    misfits: list[Misfit] = []
    encoded = _encode(dataset, implicit, False, misfits)
    leave_out(misfits, name)
    return encoded


def _encode(dataset: Dataset, implicit: bool, signed: bool, misfits: list[Misfit]) -> bytes:
    """`signed` is the Pixel Representation of the enclosing data set."""
    if "PixelRepresentation" in dataset:
        signed = dataset.PixelRepresentation == 1
    parts: list[bytes] = []
    for tag in sorted(dataset.keys()):
        if tag.element == 0:
            continue  # a group length, which would be wrong now (PS3.5 7.2)
        element = dataset.get_item(tag)
        vr = element.VR or _vr_of(dataset, tag, signed)
        if implicit and vr == "UN":
            vr = _revealed_vr(dataset, element)
        value = _encode_items(dataset[tag].value or (), implicit, signed, misfits) if vr == "SQ" else _value_of(element)
        if implicit and (read_as := dictionary_vr(dataset, tag)) is not None and is_misread(value, vr, read_as):
            misfits.append(Misfit(tag, vr, read_as))
            continue
        value = _padded(value, vr)
        parts.append(_header(tag, vr, len(value), implicit) + value)
    return b"".join(parts)


def _revealed_vr(dataset: Dataset, unknown: DataElement | RawDataElement) -> str:
    """SQ if an element of VR UN is a sequence in the dictionary and begins with an item, otherwise UN."""
    # The items may be in Explicit VR, in violation of PS3.5 6.2.2 note 2.
    is_sequence = dictionary_vr(dataset, unknown.tag) == "SQ" and (unknown.value or b"")[:4] == ITEM_TAG
    return "SQ" if is_sequence else "UN"


def _encode_items(items: Iterable[Dataset], implicit: bool, signed: bool, misfits: list[Misfit]) -> bytes:
    encoded = [_encode(item, implicit, signed, misfits) for item in items]
    return b"".join(item_header(len(item)) + item for item in encoded)


def _value_of(element: DataElement | RawDataElement) -> bytes:
    """The value of an element as it was read; encoded by pydicom if it was decoded."""
    if element.is_raw:
        return element.value or b""
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, True
    write_data_element(file, element)
    return file.getvalue()[PLAIN_SIZE:]


def _padded(value: bytes, vr: str) -> bytes:
    """The value with an even length (PS3.5 6.2, 7.1.1)."""
    if len(value) % 2 == 0:
        return value
    return value + (b" " if vr in _PADDED_WITH_SPACE else b"\0")


def _header(tag: BaseTag, vr: str, length: int, implicit: bool) -> bytes:
    if implicit:
        return LITTLE.plain.pack(tag.group, tag.element, length)
    if vr in _SHORT_VRS and length <= 0xFFFF:
        return LITTLE.short.pack(tag.group, tag.element, vr.encode("ascii"), length)
    # A value too long for a 16-bit length is sent as UN (PS3.5 6.2.2 note 3).
    name = b"UN" if vr in _SHORT_VRS else vr.encode("ascii")
    return LITTLE.long.pack(tag.group, tag.element, name, length)


def _vr_of(dataset: Dataset, tag: BaseTag, signed: bool) -> str:
    """The VR of an element in Implicit VR, from the data dictionary (PS3.5 A.1, PS3.6)."""
    vr = dictionary_vr(dataset, tag) or "UN"
    if vr == "US or SS":
        return "SS" if signed else "US"
    # OW is always valid where it is a choice, and pydicom chooses it too.
    return "OW" if vr.endswith(" or OW") else vr
