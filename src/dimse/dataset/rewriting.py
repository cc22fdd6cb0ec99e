"""Elements as they were read, under the headers of Explicit or Implicit VR Little Endian (PS3.5 7.1, A.1, A.2).

pydicom would decode each value and encode it again: slower, with a warning that holds the value for each one that
breaks a rule, and not always to the same bytes. Here values pass as they are.
"""

from __future__ import annotations

from io import BytesIO
from struct import Struct
from typing import TYPE_CHECKING, Final

from pydicom.datadict import dictionary_VR, private_dictionary_VR
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_data_element

from dimse.dataset.identifiers import PYDICOM_ERRORS, pydicom_failed

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.tag import BaseTag

_EXPLICIT: Final = Struct("<HH2sH")
_EXPLICIT_LONG: Final = Struct("<HH2sxxL")
_IMPLICIT: Final = Struct("<HHL")
_SHORT_VRS: Final = frozenset(
    "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()  # noqa: SIM905 as PS3.5 has it
)

_PADDED_WITH_SPACE: Final = frozenset(
    "AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT".split()  # noqa: SIM905 as PS3.5 6.2 has it
)


def rewrite(encoded: bytes, *, implicit: bool, to_implicit: bool) -> bytes:
    """Turn elements in Implicit VR Little Endian (`implicit`) or Explicit into the one or the other.

    Values of odd length get their padding, also where the syntax stays (PS3.5 7.1.1).
    """
    try:
        return encode_as_read(read_dataset(BytesIO(encoded), implicit, True), implicit=to_implicit)
    except PYDICOM_ERRORS as error:
        raise pydicom_failed("cannot be re-encoded", error) from None


def encode_as_read(dataset: Dataset, *, implicit: bool, signed: bool = False) -> bytes:
    """Encode a data set that was read in little endian. `signed` is what the data set around this one says.

    Elements that were changed since go through pydicom. Raises what pydicom raises.
    """
    if "PixelRepresentation" in dataset:
        signed = dataset.PixelRepresentation == 1
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, implicit
    for tag in sorted(dataset.keys()):
        if tag.element == 0:
            continue  # retired group lengths (PS3.5 7.2), which would be wrong now
        element = dataset.get_item(tag)
        vr = element.VR or _vr_of(dataset, tag, signed)
        if vr == "SQ":
            items = [encode_as_read(item, implicit=implicit, signed=signed) for item in dataset[tag].value or ()]
            value = b"".join(_IMPLICIT.pack(0xFFFE, 0xE000, len(item)) + item for item in items)
        elif element.is_raw:
            value = element.value or b""
        else:
            write_data_element(file, element)
            continue
        if len(value) % 2:
            value += b" " if vr in _PADDED_WITH_SPACE else b"\0"
        file.write(_header(tag, vr, len(value), implicit) + value)
    return file.getvalue()


def _header(tag: BaseTag, vr: str, length: int, implicit: bool) -> bytes:
    if implicit:
        return _IMPLICIT.pack(tag.group, tag.element, length)
    if vr in _SHORT_VRS and length <= 0xFFFF:
        return _EXPLICIT.pack(tag.group, tag.element, vr.encode("ascii"), length)
    # What a 16-bit length cannot say goes out as UN (PS3.5 6.2.2 note 3).
    name = b"UN" if vr in _SHORT_VRS else vr.encode("ascii")
    return _EXPLICIT_LONG.pack(tag.group, tag.element, name, length)


def _vr_of(dataset: Dataset, tag: BaseTag, signed: bool) -> str:
    """The VR that Implicit VR leaves to the dictionary (PS3.5 A.1, PS3.6)."""
    if tag.is_private:
        return _private_vr_of(dataset, tag)
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    if vr == "US or SS":
        return "SS" if signed else "US"
    # Of the choices that have it OW is the one that is always legal, and what pydicom chooses.
    return "OW" if vr.endswith(" or OW") else vr


def _private_vr_of(dataset: Dataset, tag: BaseTag) -> str:
    if tag.is_private_creator:
        return "LO"  # PS3.5 7.8.1
    creator = dataset.get_item(tag.group << 16 | tag.element >> 8) if tag.element >> 8 else None
    try:
        value = creator.value if creator is not None else b""
        name = value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else str(value)
        return private_dictionary_VR(tag, name)
    except KeyError:
        return "UN"
