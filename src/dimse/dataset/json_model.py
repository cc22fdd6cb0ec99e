"""Data sets as JSON: in the DICOM JSON Model (PS3.18 F), or flat; including invalid values."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from pydicom import Dataset

from dimse.dataset.encoding import SPECIFIC_CHARACTER_SET
from dimse.dataset.pydicom_names import keyword_for_tag
from dimse.dataset.texts import TEXT_VRS, Texts, character_sets_of, vr_of

_INTEGER: Final = re.compile(r"[+-]?\d{1,11}")
_DECIMAL: Final = re.compile(r"(?=.{1,16}$)[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


def json_model(dataset: Dataset, texts: Texts, outer: Sequence[str] = ()) -> dict[str, Any]:
    """The data set as an argument for `json.dumps`. `outer` are the character sets of an enclosing data set."""
    character_sets = character_sets_of(dataset, outer)
    return {
        f"{tag:08X}": {"vr": "CS", "Value": ["ISO_IR 192"]}  # JSON is always UTF-8 (F.2)
        if tag == SPECIFIC_CHARACTER_SET
        else _attribute(dataset, tag, texts, character_sets)
        for tag in sorted(dataset.keys())
        if tag & 0xFFFF  # without group lengths (F.2.2)
    }


def _attribute(dataset: Dataset, tag: int, texts: Texts, character_sets: Sequence[str]) -> dict[str, Any]:
    raw = dataset.get_item(tag).value
    try:
        vr = vr_of(dataset, tag)
        if vr in TEXT_VRS:
            values = [_JSON_VALUES.get(vr, _text)(text) for text in texts.of(dataset, tag, character_sets)]
            return {"vr": vr, "Value": values} if values else {"vr": vr}
        element = dataset[tag]
        if element.VR == "SQ":
            items = [json_model(item, texts, character_sets) for item in element.value or ()]
            return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
        model: dict[str, Any] = element.to_json_dict(None, 0)
    except Exception:  # noqa: BLE001 - pydicom may raise anything for a value that breaks its VR
        return {"vr": "UN", "InlineBinary": base64.b64encode(raw).decode()} if isinstance(raw, bytes) else {"vr": "UN"}
    if "Value" in model:
        model["Value"] = [_finite(each) for each in model["Value"]]
    return model


def flat_model(dataset: Dataset, texts: Texts, outer: Sequence[str] = ()) -> dict[str, Any]:
    """The data set as an object of keywords and plain values, for programs that read JSON and know no DICOM.

    Several values are a list, a sequence is a list of objects, an absent value is null; dates and times are in the
    form of ISO 8601.
    """
    character_sets = character_sets_of(dataset, outer)
    return {
        keyword_for_tag(tag) or f"{tag:08X}": _flat(dataset, tag, texts, character_sets)
        for tag in sorted(dataset.keys())
        if tag & 0xFFFF and tag != SPECIFIC_CHARACTER_SET
    }


def _flat(dataset: Dataset, tag: int, texts: Texts, character_sets: Sequence[str]) -> Any:
    try:
        vr = vr_of(dataset, tag)
        if vr == "SQ":
            return [flat_model(item, texts, character_sets) for item in dataset[tag].value or ()]
        if vr in TEXT_VRS:
            values = [_FLAT_VALUES.get(vr, _text)(text) for text in texts.of(dataset, tag, character_sets)]
        else:
            values = _attribute(dataset, tag, texts, character_sets).get("Value", [])
    except Exception:  # noqa: BLE001 - pydicom may raise anything for a value that breaks its VR
        return None
    return values if len(values) > 1 else values[0] if values else None


def _date(text: str) -> str | None:
    return re.sub(r"^(\d{4})\.?(\d\d)\.?(\d\d)$", r"\1-\2-\3", text) or None


def _time(text: str) -> str | None:
    return re.sub(r"^(\d\d)(\d\d)(\d\d(\.\d+)?)$", r"\1:\2:\3", text) or None


def _finite(value: object) -> object:
    """`value`; as a string if it is infinite or not a number, which JSON cannot represent."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _text(text: str) -> str | None:
    return text or None


def _name(text: str) -> dict[str, str] | None:
    return {group: part for group, part in zip(_GROUPS, text.split("="), strict=False) if part} or None


def _integer(text: str) -> int | str | None:
    """An integer, or the invalid text: F.2.3 allows both."""
    return int(text) if _INTEGER.fullmatch(text) else text or None


def _decimal(text: str) -> float | str | None:
    number = float(text) if _DECIMAL.fullmatch(text) else math.inf
    return number if math.isfinite(number) else text or None


_JSON_VALUES: Final[dict[str, Callable[[str], Any]]] = {"PN": _name, "IS": _integer, "DS": _decimal}
_FLAT_VALUES: Final[dict[str, Callable[[str], Any]]] = {"IS": _integer, "DS": _decimal, "DA": _date, "TM": _time}
