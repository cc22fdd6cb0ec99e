"""The series that a procedure step has made: items of Performed Series Sequence (0040,0340), from their instances."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from dimse.dataset.character_sets import DELIMITERS, decode_text
from dimse.dataset.codec import text_of
from dimse.dataset.encoding import SERIES_INSTANCE_UID, SPECIFIC_CHARACTER_SET, unpadded_text
from dimse.dataset.pydicom_names import IGNORE, DataElement, Dataset, dictionary_VR
from dimse.dataset.scanner import ElementScanner
from dimse.dataset.sources import DatasetSource
from dimse.errors import DatasetError
from dimse.services.collecting import SendResult, look_at
from dimse.services.given import Source, each
from dimse.services.procedure_step import SERIES, set_values
from dimse.services.query_keys import tag_of
from dimse.uids import name_of, new_uid

_TEXTS: Final = ("PerformingPhysicianName", "ProtocolName", "OperatorsName", "SeriesDescription", "RetrieveAETitle")
_KEYWORDS: Final = (*_TEXTS, "Modality", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
_WANTED: Final = (SPECIFIC_CHARACTER_SET, *map(tag_of, _KEYWORDS))
_PIECE: Final = 64 * 1024
_IMAGES: Final = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.6.2",  # Enhanced US Volume
        "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
        "1.2.840.10008.5.1.4.1.1.77.1.5.8",  # Ophthalmic OCT B-scan Volume Analysis
        "1.2.840.10008.5.1.4.1.1.81.1",  # Ophthalmic Thickness Map
        "1.2.840.10008.5.1.4.1.1.82.1",  # Corneal Topography Map
        "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose
    }
)
"""Storage classes of images (PS3.3 Table A.1-1) that are not called so."""


@dataclass(eq=False, slots=True)
class _Series:
    texts: dict[str, str]
    instances: dict[str, str] = field(default_factory=dict)
    """SOP Instance UIDs, and the SOP class of each."""


class PerformedSeries:
    """Collects the instances of a procedure step, and makes the items of Performed Series Sequence of them.

    An instance counts once. The attributes of a series are those of its first instance; Protocol Name, which must not
    be empty, is else its description or its modality. A step without instances has one series that has none, as PS3.4
    F.7.2.1 wants it.

    >>> series, instance = PerformedSeries(), Dataset()
    >>> instance.SOPClassUID, instance.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.3"
    >>> instance.SeriesInstanceUID = "1.2"
    >>> series.add(instance)
    >>> [item.SeriesInstanceUID for item in series.items()]
    ['1.2']
    """

    def __init__(self) -> None:
        self._series: dict[str, _Series] = {}
        self._empty_uid = new_uid()

    def __len__(self) -> int:
        return sum(len(series.instances) for series in self._series.values())

    def add(self, *instances: Dataset) -> None:
        """Add instances by their attributes; pixel data is not needed. Raises `DatasetError` if one has no UIDs."""
        for instance in instances:
            self._add({keyword: text_of(instance, tag_of(keyword)) for keyword in _KEYWORDS}, "an instance")

    async def add_files(self, sources: Iterable[Source] | Source) -> None:
        """Add files, folders and whatever else `dimse.send` takes; what is no DICOM in a folder is skipped.

        Only their first elements are read. Raises `DatasetError` or `OSError` for what cannot be read.
        """
        async for found in look_at(each(sources)):
            if not isinstance(found, SendResult):
                self._add(await _attributes_of(found), found.name)
            elif found.error is not None and not found.skipped:
                raise found.error

    def _add(self, values: dict[str, str], name: str) -> None:
        uid, sop_class, instance = (values[key] for key in ("SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID"))
        if not (uid and sop_class and instance):
            raise DatasetError(f"{name}: has no Series Instance UID, SOP Class UID or SOP Instance UID")
        texts = {keyword: values[keyword] for keyword in _TEXTS}
        texts["ProtocolName"] = values["ProtocolName"] or values["SeriesDescription"] or values["Modality"] or "UNKNOWN"
        self._series.setdefault(uid, _Series(texts)).instances[instance] = sop_class

    def items(self) -> list[Dataset]:
        """The items of Performed Series Sequence."""
        series = self._series or {self._empty_uid: _Series(dict.fromkeys(_TEXTS, "") | {"ProtocolName": "UNKNOWN"})}
        return [_item(uid, each) for uid, each in series.items()]


def _item(uid: str, series: _Series) -> Dataset:
    item = Dataset()
    for keyword in SERIES:
        tag = tag_of(keyword)
        value = [] if dictionary_VR(tag) == "SQ" else series.texts.get(keyword, "").split("\\")
        item.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE))
    item.SeriesInstanceUID = uid
    for instance, sop_class in series.instances.items():
        is_image = sop_class in _IMAGES or "Image Storage" in name_of(sop_class)
        references = item.ReferencedImageSequence if is_image else item.ReferencedNonImageCompositeSOPInstanceSequence
        reference = Dataset()
        set_values(reference, {"ReferencedSOPClassUID": sop_class, "ReferencedSOPInstanceUID": instance})
        references.append(reference)
    return item


async def _attributes_of(source: DatasetSource) -> dict[str, str]:
    """The wanted attributes at the beginning of an encoded instance."""
    scanner, reader = ElementScanner(source.transfer_syntax_uid, wanted=_WANTED), source.open()
    buffer = memoryview(bytearray(_PIECE))
    try:
        while scanner.bulk is None and not scanner.passed(SERIES_INSTANCE_UID):
            count = await reader.read_into(buffer)
            if not count:
                break
            scanner.feed(buffer[:count])
    finally:
        reader.close()
    terms = [term.strip(" ") for term in (scanner.text(SPECIFIC_CHARACTER_SET) or "").split("\\")]
    values = {}
    for keyword in _KEYWORDS:
        tag = tag_of(keyword)
        vr, value = dictionary_VR(tag), scanner.find(tag) or b""
        values[keyword] = decode_text(value, terms, vr).strip(" \0") if vr in DELIMITERS else unpadded_text(value)
    return values | {"SOPClassUID": source.sop_class_uid, "SOPInstanceUID": source.sop_instance_uid or ""}
