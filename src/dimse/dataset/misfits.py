"""Elements whose VR differs from the dictionary: receivers would misread them in Implicit VR (PS3.5 7.1.3, A.1)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from pydicom.datadict import dictionary_VR, private_dictionary_VR

from dimse.dataset.encoding import ITEM_TAG, SPECIFIC_CHARACTER_SET, tag_name, unpadded_text
from dimse.dataset.scanner import NAMING_TAGS
from dimse.errors import DatasetError

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.tag import BaseTag

logger = logging.getLogger("dimse.storage")

_TEXT: Final = "AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT"
_BYTES: Final = "OB OD OF OL OV OW"
_NUMBERS: Final = "AT FD FL SL SS SV UL US UV"
_KINDS: Final = {
    **dict.fromkeys(_TEXT.split(), "text"),
    **dict.fromkeys(_BYTES.split(), "bytes"),
    **{vr: vr for vr in [*_NUMBERS.split(), "SQ"]},
}
"""Kinds of VR whose values have the same encoding except for padding (PS3.5 6.2)."""
_OTHER_SIGN: Final = {"US": "SS", "SS": "US", "UL": "SL", "SL": "UL", "UV": "SV", "SV": "UV"}
_WORDS: Final = {
    "OW": {"US", "SS"},
    "OL": {"UL", "SL"},
    "OV": {"UV", "SV"},
    "OF": {"FL"},
    "OD": {"FD"},
}
"""Numbers with the same encoding as words: palettes were US before they became OW."""
_WIDTHS: Final = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "UV": 8, "SV": 8}

_IMAGE_PIXEL: Final = 0x0028
_NEEDED: Final = NAMING_TAGS | {SPECIFIC_CHARACTER_SET}
"""Elements that must not be omitted, in addition to group 0028: they identify the instance or its text encoding."""


class Misfit(NamedTuple):
    """An element that cannot be represented in Implicit VR."""

    tag: int
    vr: str
    read_as: str

    def __str__(self) -> str:
        return f"{tag_name(self.tag)} is {self.vr} and would be read as {self.read_as}"


def leave_out(misfits: Sequence[Misfit], name: str) -> None:
    """Log that these elements are omitted. Raises `DatasetError` if the rest could not be read without one."""
    for misfit in misfits:
        if misfit.tag >> 16 == _IMAGE_PIXEL or misfit.tag in _NEEDED:
            raise DatasetError(f"cannot be sent in Implicit VR: {misfit}")
    if misfits:
        logger.warning("%s: omitted in Implicit VR: %s", name, "; ".join(dict.fromkeys(map(str, misfits))))


def dictionary_vr(dataset: Dataset, tag: BaseTag) -> str | None:
    """The VRs of an element of `dataset` in the dictionary, such as "US or SS"; None if it is unknown."""
    try:
        if not tag.is_private:
            return dictionary_VR(tag)
        return "LO" if tag.is_private_creator else private_dictionary_VR(tag, _creator_of(dataset, tag))  # PS3.5 7.8.1
    except KeyError:
        return None


def _creator_of(dataset: Dataset, tag: BaseTag) -> str:
    creator = dataset.get_item(tag.group << 16 | tag.element >> 8) if tag.element >> 8 else None
    value = creator.value if creator is not None else b""
    return unpadded_text(value) if isinstance(value, bytes) else str(value)


def is_misread(value: bytes, vr: str, read_as: str) -> bool:
    """Whether an encoded value of one VR changes its meaning if it is read with those of the dictionary."""
    known = read_as.split(" or ")
    if not value or vr in known or "UN" in known:
        return False
    if vr not in _KINDS:
        # UN has the encoding of Implicit VR (PS3.5 6.2.2 note 2). Invalid VRs are assumed to have it too.
        return read_as == "SQ" and value[:4] != ITEM_TAG
    if _OTHER_SIGN.get(vr) in known:
        return any(byte & 0x80 for byte in value[_WIDTHS[vr] - 1 :: _WIDTHS[vr]])
    return not any(
        _KINDS.get(other) == _KINDS[vr] or vr in _WORDS.get(other, ()) or other in _WORDS.get(vr, ()) for other in known
    )


def may_be_misread(dataset: Dataset) -> bool:
    """Whether an element at any level might be misread, judged by its VR without its value."""
    for tag in dataset.keys():  # noqa: SIM118 it yields elements
        vr = dataset.get_item(tag).VR
        read_as = dictionary_vr(dataset, tag)
        if vr is not None and read_as is not None and vr != read_as and is_misread(b"\xff" * 8, vr, read_as):
            return True
        if vr == "SQ" and any(map(may_be_misread, dataset[tag].value or ())):
            return True
    return False
