"""An archive for the demo: a folder, and a server that finds, gives and moves what is in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dimse.services.query import QueryRetrieveLevel
from dimse.services.query_request import QueryRequest
from dimse.services.server import Server

_UNIQUE_KEY: Final = {
    QueryRetrieveLevel.PATIENT: "PatientID",
    QueryRetrieveLevel.STUDY: "StudyInstanceUID",
    QueryRetrieveLevel.SERIES: "SeriesInstanceUID",
    QueryRetrieveLevel.IMAGE: "SOPInstanceUID",
}
_LEVEL: Final = "QueryRetrieveLevel"
_COUNTED: Final = {
    "NumberOfStudyRelatedInstances": "SOPInstanceUID",
    "NumberOfSeriesRelatedInstances": "SOPInstanceUID",
    "NumberOfStudyRelatedSeries": "SeriesInstanceUID",
}


def archive(folder: Path, destinations: Mapping[str, str]) -> Server:
    """A server on a free port, over the files below `folder`."""
    instances = {path: dcmread(path, stop_before_pixels=True) for path in sorted(folder.rglob("*.dcm"))}
    server = Server("ARCHIVE", port=0)

    @server.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        entities: dict[Any, list[Dataset]] = {}
        for instance in instances.values():
            if _matches(request.identifier, instance):
                entities.setdefault(instance.get(_UNIQUE_KEY[request.level]), []).append(instance)
        for members in entities.values():
            yield _answer(request.identifier, members)

    @server.on_c_get()
    @server.on_c_move(destinations)
    async def retrieve(request: QueryRequest) -> AsyncIterator[Path]:
        for path, instance in instances.items():
            if _matches(request.identifier, instance):
                yield path

    return server


def _matches(identifier: Dataset, instance: Dataset) -> bool:
    """Single values, lists of them and wild cards (PS3.4 C.2.2.2); no ranges, and nothing within sequences."""
    for element in identifier:
        if element.keyword in (_LEVEL, "SpecificCharacterSet") or element.VR == "SQ" or not element.value:
            continue
        wanted, there = _several(element.value), _several(_value(element.keyword, [instance]))
        if not any(fnmatchcase(str(value), str(one)) for one in wanted for value in there):
            return False
    return True


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | MultiValue) else [value]


def _answer(identifier: Dataset, members: list[Dataset]) -> Dataset:
    """The keys that were asked for, of one patient, study, series or instance."""
    answer = Dataset()
    answer.SpecificCharacterSet = members[0].get("SpecificCharacterSet")
    for element in identifier:
        if element.keyword not in (_LEVEL, "SpecificCharacterSet"):
            answer.add_new(element.tag, element.VR, _value(element.keyword, members))
    return answer


def _value(keyword: str, members: list[Dataset]) -> Any:
    if keyword == "ModalitiesInStudy":
        return sorted({member.get("Modality") or "OT" for member in members})
    if keyword in _COUNTED:
        return len({member.get(_COUNTED[keyword]) for member in members})
    return members[0].get(keyword)
