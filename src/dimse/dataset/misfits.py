"""Elements whose VR is not the dictionary's: in Implicit VR a receiver would misread them (PS3.5 7.1.3, A.1)."""

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
"""Values of one kind are the same in all VRs of it, but for their padding (PS3.5 6.2)."""
_OTHER_SIGN: Final = {"US": "SS", "SS": "US", "UL": "SL", "SL": "UL", "UV": "SV", "SV": "UV"}
_WORDS: Final = {
    "OW": {"US", "SS"},
    "OL": {"UL", "SL"},
    "OV": {"UV", "SV"},
    "OF": {"FL"},
    "OD": {"FD"},
}
"""Numbers that are the same bytes: palettes were US before they were OW."""
_WIDTHS: Final = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "UV": 8, "SV": 8}

_IMAGE_PIXEL: Final = 0x0028
_NEEDED: Final = NAMING_TAGS | {SPECIFIC_CHARACTER_SET}
"""What every instance has, and what its texts are read with; so is all of group 0028 for pixels."""


class Misfit(NamedTuple):
    """An element that Implicit VR cannot hold."""

    tag: int
    vr: str
    read_as: str

    def __str__(self) -> str:
        return f"{tag_name(self.tag)} is {self.vr} and would be read as {self.read_as}"


def leave_out(misfits: Sequence[Misfit], name: str) -> None:
    """Say that these do not go out. Raises `DatasetError` for one without which the rest could not be read."""
    for misfit in misfits:
        if misfit.tag >> 16 == _IMAGE_PIXEL or misfit.tag in _NEEDED:
            raise DatasetError(f"cannot go out in Implicit VR: {misfit}")
    if misfits:
        logger.warning("%s: left out in Implicit VR: %s", name, "; ".join(dict.fromkeys(map(str, misfits))))


def dictionary_vr(dataset: Dataset, tag: BaseTag) -> str | None:
    """The VRs that the dictionary has for an element of `dataset`, as in "US or SS"; None if it does not know it."""
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
    """Whether an encoded value of one VR is something else, or nothing, in those that the dictionary has."""
    known = read_as.split(" or ")
    if not value or vr in known or "UN" in known:
        return False
    if vr not in _KINDS:
        # UN holds what Implicit VR would (PS3.5 6.2.2 note 2), and so does what is no VR, as far as one can tell.
        return read_as == "SQ" and value[:4] != ITEM_TAG
    if _OTHER_SIGN.get(vr) in known:
        return any(byte & 0x80 for byte in value[_WIDTHS[vr] - 1 :: _WIDTHS[vr]])
    return not any(
        _KINDS.get(other) == _KINDS[vr] or vr in _WORDS.get(other, ()) or other in _WORDS.get(vr, ()) for other in known
    )


def may_be_misread(dataset: Dataset) -> bool:
    """Whether the VRs alone, also those within its sequences, show one that is not the dictionary's."""
    for tag in dataset.keys():  # noqa: SIM118 it yields elements
        vr = dataset.get_item(tag).VR
        read_as = dictionary_vr(dataset, tag)
        if vr is not None and read_as is not None and vr != read_as and is_misread(b"\xff" * 8, vr, read_as):
            return True
        if vr == "SQ" and any(map(may_be_misread, dataset[tag].value or ())):
            return True
    return False
